package core

import (
	"math"
	"math/rand/v2"
	"runtime"
	"slices"

	"github.com/flowhound/flowhound/detector/graph"
	"github.com/flowhound/flowhound/internal/huge"
	"github.com/flowhound/flowhound/internal/parallel"
)

// nullCores returns the largest core of the null graph at each cap: 1 where there
// are links, but no ring of them.
func nullCores(g rows, seed uint64, caps []uint16, workers int) []uint16 {
	null := newNull(g, seed, workers)
	runtime.GC() // the shuffled ends are as large as the graph
	largest := make([]uint16, len(caps))
	linked := null.leastLinked(uint32(caps[0]))
	for i, limit := range caps {
		if uint32(limit) >= linked {
			largest[i] = 1
		}
	}
	cores(null, caps, func(k uint16, hosts []graph.Vertex, least []uint16) {
		first := len(caps)
		for _, x := range hosts {
			first = min(first, int(least[x]))
		}
		for i := range largest[first:] {
			largest[first+i] = k
		}
	})
	return largest
}

// newNull returns a random undirected simple graph whose degrees are those of g,
// but for the few links that would have been loops or doubles: the links' ends
// are shuffled and paired (configuration model).
func newNull(g rows, seed uint64, workers int) rows {
	ends, n := shuffledEnds(g, seed), g.hosts()
	half := len(ends) / 2
	null := rows{graph.Rows{Start: huge.Make[uint32](n + 1), Peers: huge.Make[graph.Peer](len(ends))}}
	copy(null.Start, g.Start)
	parallel.Ranges(n, n/workers+1, workers, func(lo, hi int) {
		null.fill(ends[:half], ends[half:], graph.Vertex(lo), graph.Vertex(hi))
		null.fill(ends[half:], ends[:half], graph.Vertex(lo), graph.Vertex(hi))
		begin := g.Start[lo]
		for _, end := range null.Start[lo:hi] {
			slices.Sort(null.Peers[begin:end])
			begin = end
		}
	})
	null.simplify()
	return null
}

// ahead is how many random places are read ahead of their use.
const ahead = 256

// shuffledEnds returns each host as often as it has peers, in random order: that
// of rand.Shuffle, whose places are drawn ahead.
func shuffledEnds(g rows, seed uint64) []graph.Vertex {
	ends := huge.Make[graph.Vertex](len(g.Peers))
	for x := range graph.Vertex(g.hosts()) {
		for i := g.Start[x]; i < g.Start[x+1]; i++ {
			ends[i] = x
		}
	}
	rng := rand.New(rand.NewPCG(seed, 0x6e756c6c))
	var room [ahead]uint32
	for n := len(ends); n > 1; n -= min(n-1, ahead) {
		places := room[:min(n-1, ahead)]
		for i := range places {
			places[i] = uint32(rng.Uint64N(uint64(n - i)))
		}
		touch(ends, places)
		for i, j := range places {
			last := n - 1 - i
			ends[last], ends[j] = ends[j], ends[last]
		}
	}
	return ends
}

// fill adds peers[i] to the row of hosts[i], for the hosts lo ≤ x < hi, whose
// starts move to the ends of their rows.
func (r rows) fill(hosts, peers []graph.Vertex, lo, hi graph.Vertex) {
	var to, added [ahead]graph.Vertex
	n := 0
	for i, x := range hosts {
		to[n], added[n] = x, peers[i]
		if x-lo < hi-lo {
			n++
		}
		if n == ahead {
			r.add(to[:], added[:])
			n = 0
		}
	}
	r.add(to[:n], added[:n])
}

func (r rows) add(hosts, peers []graph.Vertex) {
	touch(r.Start, hosts)
	for i, x := range hosts {
		r.Peers[r.Start[x]] = graph.Mutual(peers[i])
		r.Start[x]++
	}
}

// simplify drops loops and doubles from sorted rows whose starts are their ends,
// and puts the starts right.
func (r *rows) simplify() {
	from, to := uint32(0), uint32(0)
	for x := range graph.Vertex(r.hosts()) {
		end := r.Start[x]
		r.Start[x] = to
		for _, p := range r.Peers[from:end] {
			if p.Vertex() == x || to > r.Start[x] && r.Peers[to-1] == p {
				continue
			}
			r.Peers[to] = p
			to++
		}
		from = end
	}
	r.Start[r.hosts()] = to
	r.Peers = r.Peers[:to]
}

// leastLinked returns the least cap at which a link remains, or enough if it is
// no more than that.
func (r rows) leastLinked(enough uint32) uint32 {
	least := uint32(math.MaxUint32)
	for x := range graph.Vertex(r.hosts()) {
		for _, p := range r.Of(x) {
			y := p.Vertex()
			if least = min(least, max(r.Degree(x), r.Degree(y))); least <= enough {
				return enough
			}
		}
	}
	return least
}
