package graph

import (
	"unsafe"

	"github.com/flowhound/flowhound/internal/flow"
	"github.com/flowhound/flowhound/internal/prefetch"
)

// pair is all that is known of two hosts, lo < hi in canonical order. Slices
// are kept by their low 16 bits: all live ones lie within maxSpan slices from
// the oldest on. 28 bytes.
type pair struct {
	lo, hi   ref
	evidence [2]uint32 // see unpack
	seen     [2]uint16 // newest slice with traffic lo → hi, and hi → lo
	due      uint16    // the slice at whose expiry the pair is looked at again
	port     uint16
	proto    uint8
	bits     uint8
}

// Bits of pair.bits. The live bit of a direction is 1 << its number.
const (
	forward, backward = 0, 1 // directions: lo → hi, hi → lo

	liveBits    = 1<<forward | 1<<backward
	answeredBit = 1 << 2

	// frozenShift is where the directions stand that were live in the last
	// view; touchedBit marks places that are in changes.touched.
	frozenShift = 3
	frozenBits  = liveBits << frozenShift
	touchedBit  = 1 << 5
)

// maxSpan bounds the slices that a graph holds at once: 16384 slices of five
// minutes are 56 days. It leaves 16-bit slices unambiguous by far.
const maxSpan = 1 << 14

const (
	maxFlows = 1<<24 - 1
	maxBytes = 1<<40 - 1
)

// unpack returns the 24-bit flow and the 40-bit byte count.
func (p *pair) unpack() (flows uint32, bytes uint64) {
	return p.evidence[0] >> 8, uint64(p.evidence[0]&0xff)<<32 | uint64(p.evidence[1])
}

// add adds to the evidence, saturating.
func (p *pair) add(flows, bytes uint64) {
	f, b := p.unpack()
	p.pack(min(uint64(f)+min(flows, maxFlows), maxFlows), min(b+min(bytes, maxBytes), maxBytes))
}

func (p *pair) pack(flows, bytes uint64) {
	p.evidence = [2]uint32{uint32(flows)<<8 | uint32(bytes>>32), uint32(bytes)}
}

// source returns the host at which a direction starts.
func (p *pair) source(dir int) ref {
	if dir == forward {
		return p.lo
	}
	return p.hi
}

func (p *pair) live(dir int) bool { return p.bits&(1<<dir) != 0 }

// pairs is the store of the pairs of one shard.
type pairs struct {
	index
	entries []pair
	free    []uint32
}

func hashPair(lo, hi ref) uint32 { return mix(uint64(lo)<<32|uint64(hi), 0x8ebc6af09c88c6e3) }

// find returns the place of the pair lo, hi.
func (ps *pairs) find(h uint32, lo, hi ref) (local uint32, ok bool) {
	local = ps.index.find(h, func(local uint32) bool {
		p := &ps.entries[local]
		return p.hi == hi && p.lo == lo
	})
	return local, local != absent
}

// holds reports whether the pair lo, hi is at a place, which may be absent.
func (ps *pairs) holds(local uint32, lo, hi ref) bool {
	if local == absent {
		return false
	}
	p := &ps.entries[local]
	return p.hi == hi && p.lo == lo && p.bits&liveBits != 0
}

// fetchEntry asks for the entry at a place, which may be absent.
func (ps *pairs) fetchEntry(local uint32) {
	if local != absent {
		prefetch.Value(&ps.entries[local])
	}
}

// newPair adds a pair of held hosts without a live direction, which the caller
// sets at once. ok is false if the shard has no number left.
func (g *Graph) newPair(lo, hi ref) (r ref, ok bool) {
	ps := &g.pairs[lo.shard()]
	if ps.full() {
		ps.rehash()
	}
	var local uint32
	if n := len(ps.free); n > 0 {
		local = ps.free[n-1]
		ps.free = ps.free[:n-1]
	} else if len(ps.entries) == localMax {
		return 0, false
	} else {
		local = uint32(len(ps.entries))
		ps.entries = append(grow(ps.entries), pair{})
	}
	ps.entries[local] = pair{lo: lo, hi: hi, bits: ps.entries[local].bits & touchedBit}
	ps.insert(hashPair(lo, hi), local)
	g.stats.Pairs++
	return makeRef(lo.shard(), local), true
}

// dropPair forgets a pair without a live direction, and its hosts if that was
// their last one.
func (g *Graph) dropPair(r ref) {
	ps := &g.pairs[r.shard()]
	local := r.local()
	lo, hi := ps.entries[local].lo, ps.entries[local].hi
	ps.remove(hashPair(lo, hi), local, func(local uint32) uint32 {
		p := &ps.entries[local]
		return hashPair(p.lo, p.hi)
	})
	g.noteGone(&ps.entries[local])
	ps.free = append(ps.free, local)
	g.stats.Pairs--
	g.release(lo)
	g.release(hi)
	g.unlinks++
}

func (g *Graph) hostEntry(r ref) *hostEntry { return &g.hosts[r.shard()].entries[r.local()] }
func (g *Graph) pairEntry(r ref) *pair      { return &g.pairs[r.shard()].entries[r.local()] }

// rehash builds an index with room for more.
func (ps *pairs) rehash() {
	ps.reset(ps.used)
	for local := range ps.entries {
		if p := &ps.entries[local]; p.bits&liveBits != 0 {
			ps.insert(hashPair(p.lo, p.hi), uint32(local))
		}
	}
}

// bytes returns the memory of the shard's pairs.
func (ps *pairs) bytes() uint64 {
	return uint64(cap(ps.entries))*uint64(unsafe.Sizeof(pair{})) + 4*uint64(cap(ps.slots)+cap(ps.free))
}

// wide returns the slice whose low 16 bits are low, given the oldest one.
func wide(oldest flow.Slice, low uint16) flow.Slice {
	return oldest + flow.Slice(low-uint16(oldest))
}
