package collector

import (
	"cmp"
	"encoding/binary"
	"slices"

	"github.com/flowhound/flowhound/internal/flow"
)

// maxBatch is the number of contacts per batch: about half a megabyte.
const maxBatch = 8192

// batcher deals the two halves of each contact of a window to the shards of
// their ends. It keeps its memory between windows.
type batcher struct {
	counts [flow.Shards + 1]int
	halves []half
	batch  []flow.Contact
}

// half is one end's view of a contact: order holds the first bytes of that
// end's pseudonym, ref the contact's index and, in the lowest bit, whether the
// contact is to be flipped.
type half struct {
	order uint64
	ref   uint32
}

// deal calls emit for every batch, shards ascending, without the far halves
// that withheld marks (nil: none). Within a shard the halves
// are sorted by host, which saves space on the wire and hides the order of
// arrival. The contacts that emit gets are its own only during the call. It
// stops at the first error.
func (b *batcher) deal(contacts []flow.Contact, withheld []bool, emit func(flow.Shard, []flow.Contact) error) error {
	b.sort(contacts, withheld)
	for s := range flow.Shards {
		halves := b.halves[b.counts[s]:b.counts[s+1]]
		for len(halves) > 0 {
			n := min(len(halves), maxBatch)
			b.batch = b.batch[:0]
			for _, h := range halves[:n] {
				c := contacts[h.ref>>1]
				if h.ref&1 == 1 {
					c = c.Flip()
				}
				b.batch = append(b.batch, c)
			}
			if err := emit(flow.Shard(s), b.batch); err != nil {
				return err
			}
			halves = halves[n:]
		}
	}
	return nil
}

// sort fills halves by shard, so that those of shard s are
// halves[counts[s]:counts[s+1]].
func (b *batcher) sort(contacts []flow.Contact, withheld []bool) {
	var next [flow.Shards]int
	for i := range contacts {
		local, remote := told(contacts, withheld, i)
		next[contacts[i].Local.Shard] += local
		next[contacts[i].Remote.Shard] += remote
	}
	at := 0
	for s, n := range next {
		b.counts[s], next[s] = at, at
		at += n
	}
	b.counts[flow.Shards] = at
	b.halves = slices.Grow(b.halves[:0], at)[:at]
	for i := range contacts {
		local, remote := told(contacts, withheld, i)
		for flip, h := range [2]*flow.Host{&contacts[i].Local, &contacts[i].Remote} {
			if [2]int{local, remote}[flip] == 0 {
				continue
			}
			b.halves[next[h.Shard]] = half{
				order: binary.BigEndian.Uint64(h.Pseudonym[:]),
				ref:   uint32(i)<<1 | uint32(flip),
			}
			next[h.Shard]++
		}
	}
	for s := range flow.Shards {
		slices.SortFunc(b.halves[b.counts[s]:b.counts[s+1]], func(x, y half) int {
			return cmp.Or(cmp.Compare(x.order, y.order), cmp.Compare(x.ref, y.ref))
		})
	}
}

// told returns 1 for each half of contact i that is told, 0 for one that is
// withheld.
func told(contacts []flow.Contact, withheld []bool, i int) (local, remote int) {
	if withheld == nil || !withheld[i] {
		return 1, 1
	}
	if isFar(&contacts[i]) {
		return 0, 1
	}
	return 1, 0
}
