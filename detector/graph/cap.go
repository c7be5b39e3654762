package graph

import (
	"container/heap"
	"encoding/binary"

	"github.com/flowhound/flowhound/internal/flow"
)

// A source with more links than MaxOutDegree keeps those with the least
// priority numbers (a bottom-k sample): whatever the order in which a set of
// links arrives, the same ones stay.

// cappedSource orders the links of a source that has reached the cap. It is
// dropped when one of them expires, and built anew when the cap is reached
// again.
type cappedSource struct {
	links []cappedLink // a heap, the greatest priority first
}

// cappedLink is the direction dir of a pair.
type cappedLink struct {
	priority uint64
	pair     ref
	dir      uint8
}

func (c *cappedSource) Len() int           { return len(c.links) }
func (c *cappedSource) Less(i, j int) bool { return c.links[i].priority > c.links[j].priority }
func (c *cappedSource) Swap(i, j int)      { c.links[i], c.links[j] = c.links[j], c.links[i] }
func (c *cappedSource) Push(x any)         { c.links = append(c.links, x.(cappedLink)) }
func (c *cappedSource) Pop() any {
	last := c.links[len(c.links)-1]
	c.links = c.links[:len(c.links)-1]
	return last
}

func (c *cappedSource) bytes() uint64 { return 16 * uint64(cap(c.links)) }

// priority numbers a link independently of the store's layout and seed.
func priority(from, to *flow.Pseudonym) uint64 {
	word := binary.LittleEndian.Uint64
	a := mix(word(from[:8]), word(to[:8]))
	b := mix(word(from[8:])^uint64(a)<<32, word(to[8:]))
	return uint64(a)<<32 | uint64(b)
}

// admit returns which of the new directions of a contact may enter.
func (g *Graph) admit(l *lookup, dirs uint8) uint8 {
	for dir := forward; dir <= backward; dir++ {
		if dirs&(1<<dir) == 0 {
			continue
		}
		from, to, hash := l.lo, l.hi, l.hashLo
		if dir == backward {
			from, to, hash = l.hi, l.lo, l.hashHi
		}
		local, ok := g.hosts[from.Shard].find(hash, &from.Pseudonym)
		if !ok {
			continue
		}
		source := makeRef(from.Shard, local)
		if g.hostEntry(source).out < g.cfg.MaxOutDegree {
			continue
		}
		if c := g.cap(source); priority(&from.Pseudonym, &to.Pseudonym) >= c.links[0].priority {
			dirs &^= 1 << dir
			g.stats.Drops[DegreeCap]++
		}
	}
	return dirs
}

// cap returns the ordered links of a source that has reached the cap.
func (g *Graph) cap(source ref) *cappedSource {
	if c := g.capped[source]; c != nil {
		return c
	}
	c := &cappedSource{links: make([]cappedLink, 0, g.hostEntry(source).out+1)}
	for s := range g.pairs {
		for local := range g.pairs[s].entries {
			p := &g.pairs[s].entries[local]
			for dir := forward; dir <= backward; dir++ {
				if p.live(dir) && p.source(dir) == source {
					c.links = append(c.links, g.cappedLink(makeRef(flow.Shard(s), uint32(local)), dir))
				}
			}
		}
	}
	heap.Init(c)
	g.capped[source] = c
	return c
}

func (g *Graph) cappedLink(r ref, dir int) cappedLink {
	p := g.pairEntry(r)
	return cappedLink{
		priority(&g.hostEntry(p.source(dir)).key, &g.hostEntry(p.source(1-dir)).key), r, uint8(dir),
	}
}

// trim puts a link that admit let in above the cap among its source's ordered
// links, and takes out those of greatest priority until the cap holds.
func (g *Graph) trim(r ref, dir int) {
	source := g.pairEntry(r).source(dir)
	if g.hostEntry(source).out <= g.cfg.MaxOutDegree {
		return
	}
	c := g.capped[source]
	if c == nil {
		panic("BUG: a source above the degree cap has no ordered links")
	}
	heap.Push(c, g.cappedLink(r, dir))
	for g.hostEntry(source).out > g.cfg.MaxOutDegree {
		victim := heap.Pop(c).(cappedLink)
		g.unlink(victim.pair, int(victim.dir))
		g.stats.Drops[DegreeCap]++
	}
	g.capped[source] = c // unlink took it for stale
}
