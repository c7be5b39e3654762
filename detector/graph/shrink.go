package graph

import (
	"github.com/flowhound/flowhound/internal/flow"
	"github.com/flowhound/flowhound/internal/huge"
)

// The arrays keep the places of what went for what comes. When three of four
// are free, a burst is over: what is left moves together, and the memory goes
// back. As that costs a pass over what is left, and three times as much must
// have expired before, it does not show in the cost of expiry.
const (
	shrinkBelow = 4       // shrink when places exceed so many times what lives
	shrinkFrom  = 1 << 15 // places that are not worth it
)

// shrink gives memory back if a great part of the places is free.
func (g *Graph) shrink() {
	var hosts, pairs int
	for s := range g.hosts {
		hosts += len(g.hosts[s].entries)
		pairs += len(g.pairs[s].entries)
	}
	wasteful := func(places int, live uint64) bool { return places > shrinkFrom && uint64(places) > shrinkBelow*live }
	if wasteful(hosts, g.stats.Hosts) || wasteful(pairs, g.stats.Pairs) {
		g.compact()
	}
}

// compact moves hosts and pairs to the first places of their shards. The next
// view is made from nothing.
func (g *Graph) compact() {
	g.changes = changes{}
	g.capped = map[ref]*cappedSource{} // built anew when a cap is reached
	g.unlinks++
	var moved [flow.Shards][]uint32 // by place of a host: its new place
	inParallel(flow.Shards, func(s int) { moved[s] = g.hosts[s].compact(g) })
	var due [flow.Shards]dealtDue
	inParallel(flow.Shards, func(s int) {
		g.pairs[s].compact(&moved)
		due[s] = g.pairs[s].dealDue(g.oldest)
	})
	g.due = map[flow.Slice][]ref{}
	g.gatherDue(&due)
}

// compact returns the new place of each host.
func (hs *hosts) compact(g *Graph) (moved []uint32) {
	moved = make([]uint32, len(hs.entries))
	kept := huge.Advise(make([]hostEntry, 0, hs.used+hs.used/8))
	for local := range hs.entries {
		if e := &hs.entries[local]; e.pairs > 0 {
			moved[local] = uint32(len(kept))
			kept = append(kept, *e)
		}
	}
	*hs = hosts{entries: kept}
	hs.used = len(kept)
	hs.rehash(g)
	return moved
}

func (ps *pairs) compact(moved *[flow.Shards][]uint32) {
	kept := huge.Advise(make([]pair, 0, ps.used+ps.used/8))
	for i := range ps.entries {
		p := ps.entries[i]
		if p.bits&liveBits == 0 {
			continue
		}
		p.lo = makeRef(p.lo.shard(), moved[p.lo.shard()][p.lo.local()])
		p.hi = makeRef(p.hi.shard(), moved[p.hi.shard()][p.hi.local()])
		kept = append(kept, p)
	}
	*ps = pairs{entries: kept}
	ps.used = len(kept)
	ps.rehash()
}
