package graph

import (
	"encoding/binary"
	"unsafe"

	"github.com/flowhound/flowhound/internal/flow"
	"github.com/flowhound/flowhound/internal/huge"
	"github.com/flowhound/flowhound/internal/prefetch"
)

// hostEntry is a host of the store. Only hosts with pairs > 0 exist; the others
// wait in the free list.
type hostEntry struct {
	key   flow.Pseudonym
	out   uint32 // live links that start here
	pairs uint32 // pairs with a live link in either direction
	gen   flow.Generation
	// fresh says that the place has no vertex in the last view: its host
	// appeared, perhaps not for the first time, since.
	fresh bool
}

// hosts is the dictionary of one shard, owned or foreign.
type hosts struct {
	index
	entries []hostEntry
	free    []uint32
	// number holds, by place, the vertex in the last view; added are the places
	// that became fresh since, and gone the vertices whose hosts went.
	number []Vertex
	added  []uint32
	gone   []Vertex
}

func (g *Graph) hashHost(p *flow.Pseudonym) uint32 {
	return mix(binary.LittleEndian.Uint64(p[:8])^g.cfg.Seed, binary.LittleEndian.Uint64(p[8:]))
}

// find returns the place of a pseudonym.
func (hs *hosts) find(h uint32, p *flow.Pseudonym) (local uint32, ok bool) {
	local = hs.index.find(h, func(local uint32) bool { return hs.entries[local].key == *p })
	return local, local != absent
}

// fetchKey asks for the key at a place, which may be absent.
func (hs *hosts) fetchKey(local uint32) {
	if local != absent {
		prefetch.Value(&hs.entries[local].key)
	}
}

// hold returns the place of h in the store, creating it if needed, for one pair
// more. ok is false if the shard has no number left.
func (g *Graph) hold(h *flow.Host, gen flow.Generation) (r ref, ok bool) {
	hs := &g.hosts[h.Shard]
	hash := g.hashHost(&h.Pseudonym)
	if local, ok := hs.find(hash, &h.Pseudonym); ok {
		hs.entries[local].pairs++
		return makeRef(h.Shard, local), true
	}
	if hs.full() {
		hs.rehash(g)
	}
	var local uint32
	if n := len(hs.free); n > 0 {
		local = hs.free[n-1]
		hs.free = hs.free[:n-1]
	} else if len(hs.entries) == localMax {
		return 0, false
	} else {
		local = uint32(len(hs.entries))
		hs.entries = append(grow(hs.entries), hostEntry{})
	}
	e := &hs.entries[local]
	if g.changes.noted && !e.fresh {
		hs.added = append(hs.added, local)
	}
	*e = hostEntry{key: h.Pseudonym, pairs: 1, gen: gen, fresh: g.changes.noted}
	hs.insert(hash, local)
	g.stats.Hosts++
	return makeRef(h.Shard, local), true
}

// release takes one pair from a host and forgets the host with its last one.
func (g *Graph) release(r ref) {
	hs := &g.hosts[r.shard()]
	local := r.local()
	e := &hs.entries[local]
	if e.pairs--; e.pairs > 0 {
		return
	}
	hs.remove(g.hashHost(&e.key), local, func(local uint32) uint32 { return g.hashHost(&hs.entries[local].key) })
	if g.changes.noted && !e.fresh {
		hs.gone = append(hs.gone, hs.number[local])
	}
	hs.free = append(hs.free, local)
	g.stats.Hosts--
}

// rehash builds an index with room for more.
func (hs *hosts) rehash(g *Graph) {
	hs.reset(hs.used)
	for local := range hs.entries {
		if e := &hs.entries[local]; e.pairs > 0 {
			hs.insert(g.hashHost(&e.key), uint32(local))
		}
	}
}

// bytes returns the memory of the shard's dictionary.
func (hs *hosts) bytes() uint64 {
	return uint64(cap(hs.entries))*uint64(unsafe.Sizeof(hostEntry{})) +
		4*uint64(cap(hs.slots)+cap(hs.free)+cap(hs.number)+cap(hs.added)+cap(hs.gone))
}

// grow makes room for one more element in steps of an eighth: the arrays are
// large and many, and append's quarter would waste twice as much.
func grow[T any](s []T) []T {
	if len(s) < cap(s) {
		return s
	}
	t := huge.Advise(make([]T, len(s), len(s)+len(s)/8+8))
	copy(t, s)
	return t
}
