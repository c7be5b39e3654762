package graph

import (
	"math/bits"

	"github.com/flowhound/flowhound/internal/flow"
	"github.com/flowhound/flowhound/internal/huge"
)

// ref numbers a host or a pair within the store: the shard in the upper 8
// bits, the place in that shard's array in the lower 24. A pair belongs to the
// shard of its lesser host.
type ref uint32

// localBits is the width of a place, and localMax the number of places of a
// shard: one less than fits, because a slot keeps place+1 (0 is an empty slot).
const (
	localBits = 24
	localMax  = 1<<localBits - 1
)

func makeRef(s flow.Shard, local uint32) ref { return ref(s)<<localBits | ref(local) }

func (r ref) shard() flow.Shard { return flow.Shard(r >> localBits) }
func (r ref) local() uint32     { return uint32(r) & (1<<localBits - 1) }

// index is a flat hash table with linear probing. A slot is 0, or an 8-bit tag
// of the hash above place+1; the keys are in the array that the places number.
// A hash's upper part chooses the slot and its low byte is the tag, so both
// may come from one 32-bit value.
type index struct {
	slots []uint32
	used  int
}

// Load limits: probes stay short up to 4/5; growing by 5/4 keeps the mean load
// near 0.72, which is 5.6 bytes per entry.
const (
	loadNum, loadDen = 4, 5
	minSlots         = 16
)

// home returns the slot where the search for hash h begins.
func (x *index) home(h uint32) uint32 {
	return uint32(uint64(h) * uint64(len(x.slots)) >> 32)
}

// peek reads the first slot of a search, only to bring it into the cache.
func (x *index) peek(h uint32) uint32 {
	if len(x.slots) == 0 {
		return 0
	}
	return x.slots[x.home(h)]
}

// absent is the place of what the index does not have.
const absent = 1<<32 - 1

// candidate returns the first place whose tag is h's, without looking at its
// key; its entry can then be brought into the cache. Without one h's key is not
// there.
func (x *index) candidate(h uint32) (local uint32) {
	if len(x.slots) == 0 {
		return absent
	}
	tag := h << localBits
	for i := x.home(h); x.slots[i] != 0; {
		if e := x.slots[i]; e&^localMax == tag {
			return e&localMax - 1
		}
		if i++; i == uint32(len(x.slots)) {
			i = 0
		}
	}
	return absent
}

// insert adds a place that is not in the index; grow must have made room.
func (x *index) insert(h, local uint32) {
	i := x.home(h)
	for x.slots[i] != 0 {
		if i++; i == uint32(len(x.slots)) {
			i = 0
		}
	}
	x.slots[i] = h<<localBits | (local + 1)
	x.used++
}

// full reports whether one more entry needs a larger table.
func (x *index) full() bool { return (x.used+1)*loadDen > len(x.slots)*loadNum }

// reset empties the index and makes it large enough for n entries and a
// quarter more.
func (x *index) reset(n int) {
	x.slots = huge.Make[uint32](max(minSlots, (n*5/4+1)*loadDen/loadNum))
	x.used = 0
}

// remove deletes the entry at slot i, closing the gap so that no search that
// passed over it ends early (Knuth, TAOCP 3, §6.4, algorithm R). hashOf gives
// the hash of a place.
func (x *index) remove(i uint32, hashOf func(local uint32) uint32) {
	n := uint32(len(x.slots))
	x.used--
	for j := i; ; {
		x.slots[i] = 0
		for {
			if j++; j == n {
				j = 0
			}
			if x.slots[j] == 0 {
				return
			}
			home := x.home(hashOf(x.slots[j]&localMax - 1))
			// The entry at j may stay if its home lies cyclically in (i, j].
			if i <= j && i < home && home <= j || i > j && (i < home || home <= j) {
				continue
			}
			break
		}
		x.slots[i] = x.slots[j]
		i = j
	}
}

// mix hashes 128 bits to 32 (the folded multiply of wyhash).
func mix(a, b uint64) uint32 {
	hi, lo := bits.Mul64(a^0x9e3779b97f4a7c15, b^0xe7037ed1a0b428db)
	h := hi ^ lo
	return uint32(h ^ h>>32)
}
