package graph

import (
	"slices"

	"github.com/flowhound/flowhound/internal/flow"
	"github.com/flowhound/flowhound/internal/huge"
)

// Every pair waits in the list of one slice, its due slice, which is no newer
// than any of its live directions. When the slice expires, the pair moves on
// to the oldest slice in which it was seen since, or goes. So the cost follows
// the links that change, and a refresh costs nothing.

// Expire forgets every direction of every link that was last seen before the
// slice oldest, and the hosts that have no link left. A call with an older
// slice than before does nothing. While more than MaxLinks remain, and more
// than one slice, it goes on with the next slice. When a great part of the
// graph has gone since its peak, memory goes back.
func (g *Graph) Expire(oldest flow.Slice) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.expire(oldest, &g.stats.Expired)
	for g.cfg.MaxLinks > 0 && g.stats.Links > g.cfg.MaxLinks && g.oldest < g.newest {
		g.expire(g.oldest+1, &g.stats.Drops[LinkLimit])
	}
	g.shrink()
	g.join()
}

// join puts what contacts are looked up in into huge pages, also where arrays
// grew since the last slice.
func (g *Graph) join() {
	for s := range flow.Shards {
		hs, ps := &g.hosts[s], &g.pairs[s]
		huge.Join(hs.slots)
		huge.Join(hs.entries)
		huge.Join(ps.slots)
		huge.Join(ps.entries)
	}
}

// expire moves the window on and counts the links that go.
func (g *Graph) expire(oldest flow.Slice, counter *uint64) {
	if g.started && oldest <= g.oldest {
		return
	}
	g.started = true
	var over []flow.Slice
	for s := range g.due {
		if s < oldest {
			over = append(over, s)
		}
	}
	slices.Sort(over)
	for _, s := range over {
		refs := g.due[s]
		delete(g.due, s)
		for _, r := range refs {
			if p := g.pairEntry(r); p.bits&liveBits != 0 && p.due == uint16(s) {
				g.age(r, oldest, counter)
			}
		}
	}
	g.oldest = oldest
	g.newest = max(g.newest, oldest)
}

// age takes the directions last seen before oldest from a pair whose due slice
// has expired, and makes it wait for the next.
func (g *Graph) age(r ref, oldest flow.Slice, counter *uint64) {
	next := flow.Slice(1<<32 - 1)
	for dir := forward; dir <= backward; dir++ {
		p := g.pairEntry(r)
		if !p.live(dir) {
			continue
		}
		if seen := wide(g.oldest, p.seen[dir]); seen >= oldest {
			next = min(next, seen)
		} else {
			*counter++
			g.unlink(r, dir)
		}
	}
	if p := g.pairEntry(r); p.bits&liveBits != 0 {
		p.due = uint16(next)
		g.due[next] = append(grow(g.due[next]), r)
	}
}

// unlink takes one live direction from a pair, and drops the pair if it was
// the last.
func (g *Graph) unlink(r ref, dir int) {
	p := g.pairEntry(r)
	source := p.source(dir)
	g.touch(r, p)
	p.bits &^= 1 << dir
	g.hostEntry(source).out--
	g.stats.Links--
	if len(g.capped) > 0 {
		delete(g.capped, source)
	}
	if p.bits&liveBits == 0 {
		g.dropPair(r)
	}
}
