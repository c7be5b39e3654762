package contact

import (
	"math/bits"

	"github.com/flowhound/flowhound/internal/flow"
	"github.com/flowhound/flowhound/internal/huge"
)

// table is an open-addressed hash table with linear probing. An eighth of it
// always stays free, so that a probe ends. Beside the slots it has a byte for
// each, which a cache close to the core holds: a search goes through these,
// and then misses the caches once, for the slot that it wants, however many
// it had to pass.
type table[K comparable] struct {
	slots []slot[K]
	tags  []uint8 // by slot: 0 for a free one, else a part of its hash
	shift uint    // of a hash, to get a slot's index
	used  int

	pend [wide]pending[K]
	n    int   // of pend
	sink uint8 // keeps the touching loads alive
}

// pending is a record between the passes.
type pending[K comparable] struct {
	key    K
	hash   uint64
	at     uint32 // the slot that is probably its own, or a free one
	record uint8  // its number among those of its pass
	from   uint8  // 0: the lower address sent, 1: the higher one
}

func (t *table[K]) init(n int) {
	log := bits.Len(uint(max(n, 256) - 1))
	t.slots = huge.Make[slot[K]](1 << log)
	t.tags = huge.Make[uint8](1 << log)
	t.shift = uint(64 - log)
}

// tagOf returns bits of a hash that do not choose the slot.
func tagOf(hash uint64) uint8 { return uint8(hash) | 1 }

// add counts the pending records and returns the set of those that began a
// contact, by their numbers. Each pass is as short as can be, because cache
// misses overlap only within the processor's window of some hundred
// instructions, and a branch that waits for one ends it.
func (t *table[K]) add(records []flow.Record, slices []flow.Slice, baseMS int64) (fresh uint64) {
	pend := t.pend[:t.n]
	t.n = 0
	for i := range pend {
		t.sink += t.tags[pend[i].hash>>t.shift]
	}
	for i := range pend {
		pend[i].at = t.search(pend[i].hash)
	}
	for i := range pend {
		t.sink += t.slots[pend[i].at].proto
	}
	for i := range pend {
		p := &pend[i]
		s := t.slot(p, slices[p.record])
		if s.add(&records[p.record], p.from, baseMS) {
			fresh |= 1 << p.record
		}
	}
	return fresh
}

// search returns the first slot that has the tag of a hash or is free.
func (t *table[K]) search(hash uint64) uint32 {
	mask, tag := uint64(len(t.tags)-1), tagOf(hash)
	i := hash >> t.shift
	for t.tags[i&mask] != 0 && t.tags[i&mask] != tag {
		i++
	}
	return uint32(i & mask)
}

// slot returns the slot of p's key and a slice, a free one marked with them if
// there was none. The caller adds at least one flow.
func (t *table[K]) slot(p *pending[K], slice flow.Slice) *slot[K] {
	mask, tag := uint64(len(t.tags)-1), tagOf(p.hash)
	for i := uint64(p.at); ; i++ {
		s, have := &t.slots[i&mask], &t.tags[i&mask]
		switch {
		case *have == 0:
			*have, s.key, s.slice = tag, p.key, slice
			t.used++
			return s
		case *have == tag && s.key == p.key && s.slice == slice:
			return s
		}
	}
}

// has reports whether a key and a slice have a slot.
func (t *table[K]) has(p *pending[K], slice flow.Slice) bool {
	mask, tag := uint64(len(t.tags)-1), tagOf(p.hash)
	for i := p.hash >> t.shift; t.tags[i&mask] != 0; i++ {
		s := &t.slots[i&mask]
		if t.tags[i&mask] == tag && s.key == p.key && s.slice == slice {
			return true
		}
	}
	return false
}

// room reports whether n more contacts fit.
func (t *table[K]) room(n int) bool { return t.used+n <= len(t.slots)/8*7 }

func (t *table[K]) full() bool { return t.used >= len(t.slots)/4*3 }

func (t *table[K]) fill() float64 { return float64(t.used) / float64(len(t.slots)) }
