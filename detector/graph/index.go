package graph

import (
	"math/bits"

	"github.com/flowhound/flowhound/internal/huge"
	"github.com/flowhound/flowhound/internal/prefetch"
)

// index is a flat hash table with linear probing. A slot is 0, or an 8-bit tag
// of the hash above place+1; the keys are in the array that the places number.
// A hash's upper part chooses the slot and its low byte is the tag, so both
// may come from one 32-bit value. There is always an empty slot.
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

// reset empties the index and makes it large enough for n entries and a
// quarter more.
func (x *index) reset(n int) {
	x.slots = huge.Make[uint32](max(minSlots, (n*5/4+1)*loadDen/loadNum))
	x.used = 0
}

// full reports whether one more entry needs a larger table.
func (x *index) full() bool { return (x.used+1)*loadDen > len(x.slots)*loadNum }

// home returns the slot where the search for hash h begins.
func (x *index) home(h uint32) uint32 {
	return uint32(uint64(h) * uint64(len(x.slots)) >> 32)
}

// next returns the slot after slot i.
func (x *index) next(i uint32) uint32 {
	if i++; i == uint32(len(x.slots)) {
		return 0
	}
	return i
}

// fetch asks for the first slot of a search.
func (x *index) fetch(h uint32) { prefetch.Value(&x.slots[x.home(h)]) }

// absent is the place of what the index does not have.
const absent = 1<<32 - 1

// candidate returns the first place whose tag is h's, without looking at its
// key, whose memory can then be asked for. Without one h's key is not there.
func (x *index) candidate(h uint32) (local uint32) {
	tag := h << localBits
	for i := x.home(h); x.slots[i] != 0; i = x.next(i) {
		if e := x.slots[i]; e&^localMax == tag {
			return e&localMax - 1
		}
	}
	return absent
}

// find returns the place of h's key, of which same tells, or absent.
func (x *index) find(h uint32, same func(local uint32) bool) (local uint32) {
	return x.slots[x.search(h, same)]&localMax - 1 // an empty slot's is absent
}

// search returns the slot of h's key, of whose place same tells, or the empty
// slot that ends the search.
func (x *index) search(h uint32, same func(local uint32) bool) (i uint32) {
	tag := h << localBits
	for i = x.home(h); x.slots[i] != 0; i = x.next(i) {
		if e := x.slots[i]; e&^localMax == tag && same(e&localMax-1) {
			break
		}
	}
	return i
}

// insert adds a place that is not in the index, which must not be full.
func (x *index) insert(h, local uint32) {
	i := x.search(h, func(uint32) bool { return false })
	x.slots[i] = h<<localBits | (local + 1)
	x.used++
}

// remove deletes the place of hash h, closing the gap so that no search that
// passed over it ends early (Knuth, TAOCP 3, §6.4, algorithm R). hashOf gives
// the hash of a place.
func (x *index) remove(h, local uint32, hashOf func(local uint32) uint32) {
	i := x.search(h, func(l uint32) bool { return l == local })
	if x.slots[i] == 0 {
		panic("BUG: a place is not in its index")
	}
	x.slots[i] = 0
	x.used--
	for j := x.next(i); x.slots[j] != 0; j = x.next(j) {
		home := x.home(hashOf(x.slots[j]&localMax - 1))
		// The entry at j may stay if its home lies cyclically in (i, j].
		if i <= j && i < home && home <= j || i > j && (i < home || home <= j) {
			continue
		}
		x.slots[i], x.slots[j] = x.slots[j], 0
		i = j
	}
}

// mix hashes 128 bits to 32 (the folded multiply of wyhash).
func mix(a, b uint64) uint32 {
	hi, lo := bits.Mul64(a^0x9e3779b97f4a7c15, b^0xe7037ed1a0b428db)
	h := hi ^ lo
	return uint32(h ^ h>>32)
}
