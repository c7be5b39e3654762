package edgelist

import (
	"math/bits"
	"slices"
)

// interner numbers ids in the order in which they appear. Both of its tables
// hold numbers + 1: small has a place for each id below its length, slots is
// open addressing for the others, at most half full.
type interner struct {
	ids   []uint64
	small []uint32
	slots []uint32
	shift uint // of a 64-bit hash to a slot
	large int  // ids in slots
	// peeked keeps the compiler from dropping reads made only for the cache.
	peeked uint32
}

// maxSmall bounds small: most files number their hosts from 0 or 1 on.
const maxSmall = 1 << 24

// numbers replaces ids by their numbers. The first reads of all look-ups come
// before the rest, so that their cache misses overlap.
func (n *interner) numbers(to []uint32, ids []uint64) []uint32 {
	var touched uint32
	for _, id := range ids {
		if id < uint64(len(n.small)) {
			touched += n.small[id]
		} else if len(n.slots) > 0 {
			touched += n.slots[n.home(id)]
		}
	}
	n.peeked = touched
	for _, id := range ids {
		if id < uint64(len(n.small)) && n.small[id] != 0 {
			to = append(to, n.small[id]-1)
		} else {
			to = append(to, n.number(id))
		}
	}
	return to
}

// number returns the number of an id, a new one if it has none.
func (n *interner) number(id uint64) uint32 {
	if id >= maxSmall {
		return n.numberLarge(id)
	}
	if id >= uint64(len(n.small)) {
		size := 1 << bits.Len64(max(id, 1<<10))
		n.small = append(make([]uint32, 0, size), n.small...)[:size]
	}
	if n.small[id] == 0 {
		n.ids = append(n.ids, id)
		n.small[id] = uint32(len(n.ids))
	}
	return n.small[id] - 1
}

func (n *interner) numberLarge(id uint64) uint32 {
	if 2*n.large >= len(n.slots) {
		n.grow()
	}
	for i := n.home(id); ; i = (i + 1) & (len(n.slots) - 1) {
		s := n.slots[i]
		if s == 0 {
			n.large++
			n.ids = append(n.ids, id)
			n.slots[i] = uint32(len(n.ids))
			return uint32(len(n.ids) - 1)
		}
		if n.ids[s-1] == id {
			return s - 1
		}
	}
}

// home spreads ids by Fibonacci hashing (Knuth, TAOCP 3, §6.4), after folding
// so that the upper half counts too.
func (n *interner) home(id uint64) int {
	return int((id ^ id>>32) * 0x9e3779b97f4a7c15 >> n.shift)
}

func (n *interner) grow() {
	if n.shift == 0 {
		n.shift = 64 - 9
	}
	n.shift--
	n.slots = make([]uint32, 1<<(64-n.shift))
	for number, id := range n.ids {
		if id < maxSmall {
			continue
		}
		i := n.home(id)
		for n.slots[i] != 0 {
			i = (i + 1) & (len(n.slots) - 1)
		}
		n.slots[i] = uint32(number + 1)
	}
}

// order sorts the ids and returns the new number of each old one. No more ids
// can be numbered after it.
func (n *interner) order() []uint32 {
	position := make([]uint32, len(n.ids))
	sorted := make([]uint64, 0, len(n.ids))
	for id, number := range n.small {
		if number != 0 {
			position[number-1] = uint32(len(sorted))
			sorted = append(sorted, uint64(id))
		}
	}
	small := len(sorted)
	for _, id := range n.ids {
		if id >= maxSmall {
			sorted = append(sorted, id)
		}
	}
	slices.Sort(sorted[small:])
	for i, id := range sorted[small:] {
		position[n.numberLarge(id)] = uint32(small + i)
	}
	*n = interner{ids: sorted}
	return position
}
