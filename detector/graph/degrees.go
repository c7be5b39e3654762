package graph

import "github.com/flowhound/flowhound/internal/flow"

// countDegrees counts the links and pairs of the hosts. A pair's greater host is
// in any shard: these hosts are first dealt by shard, so that what is counted at
// a time fits a cache.
func (g *Graph) countDegrees() {
	var dealt [flow.Shards]dealtHosts // by the pairs' shard
	parallel(flow.Shards, func(s int) {
		for i := range g.pairs[s].entries {
			p := &g.pairs[s].entries[i]
			g.hosts[s].entries[p.lo.local()].count(p.bits >> forward & 1)
		}
		dealt[s] = g.pairs[s].dealGreater()
	})
	parallel(flow.Shards, func(t int) {
		entries := g.hosts[t].entries
		for s := range dealt[:t+1] { // a pair's hi is in no lesser shard than its lo
			for _, h := range dealt[s].of(t) {
				entries[h>>1].count(uint8(h & 1))
			}
		}
	})
}

// count adds a pair and, if there is one, a link that starts here.
func (e *hostEntry) count(out uint8) {
	e.pairs++
	e.out += uint32(out)
}

// dealtHosts are the greater hosts of a shard's pairs by their own shard: their
// places, times two, plus one for a link that starts there.
type dealtHosts struct {
	list []uint32
	ends [flow.Shards]uint32
}

func (d *dealtHosts) of(shard int) []uint32 {
	if shard == 0 {
		return d.list[:d.ends[0]]
	}
	return d.list[d.ends[shard-1]:d.ends[shard]]
}

func (ps *pairs) dealGreater() (d dealtHosts) {
	for i := range ps.entries {
		d.ends[ps.entries[i].hi.shard()]++
	}
	at := uint32(0)
	for s, size := range d.ends {
		d.ends[s] = at
		at += size
	}
	d.list = make([]uint32, len(ps.entries))
	for i := range ps.entries {
		p := &ps.entries[i]
		end := &d.ends[p.hi.shard()]
		d.list[*end] = p.hi.local()<<1 | uint32(p.bits>>backward&1)
		*end++
	}
	return d
}
