package core

import (
	"slices"
	"sort"

	"github.com/flowhound/flowhound/detector/graph"
	"github.com/flowhound/flowhound/internal/huge"
	"github.com/flowhound/flowhound/internal/parallel"
)

// ascending is the 2-core of an undirected graph, its hosts in the order of their
// degrees in the whole graph: at any cap, those within it come first, and so do
// their neighbours within it in their rows. A vertex outside of the 2-core has a
// core below 2 at every cap, and most hosts are such.
type ascending struct {
	rows   graph.Rows
	hosts  []graph.Vertex // by vertex of rows: the vertex of the whole graph
	degree []uint32       // in the whole graph
}

// chunk is the number of hosts that one goroutine takes at a time.
const chunk = 1 << 12

// newAscending leaves out hosts with more neighbours than most.
func newAscending(rows graph.Rows, n int, most uint32, workers int) *ascending {
	var p peeler
	p.begin(rows, n)
	p.strip(rows, 2)
	p.least(2)
	a := &ascending{hosts: byDegree(p.remain, rows, min(most, uint32(n)))}
	number := huge.Make[graph.Vertex](n)
	for x := range number {
		number[x] = graph.None
	}
	a.degree = make([]uint32, len(a.hosts))
	for i, x := range a.hosts {
		a.degree[i], number[x] = rows.Degree(x), graph.Vertex(i)
	}
	a.connect(rows, number, workers)
	return a
}

// connect makes the rows of those of the whole graph, given the new numbers of
// its vertices.
func (a *ascending) connect(rows graph.Rows, number []graph.Vertex, workers int) {
	a.rows.Start = huge.Make[uint32](len(a.hosts) + 1)
	each := func(f func(i int, row []graph.Peer)) {
		parallel.Ranges(len(a.hosts), chunk, workers, func(lo, hi int) {
			for i := lo; i < hi; i++ {
				f(i, rows.Of(a.hosts[i]))
			}
		})
	}
	each(func(i int, row []graph.Peer) {
		for _, p := range row {
			if number[p.Vertex()] != graph.None {
				a.rows.Start[i+1]++
			}
		}
	})
	for i := range a.hosts {
		a.rows.Start[i+1] += a.rows.Start[i]
	}
	a.rows.Peers = huge.Make[graph.Peer](int(a.rows.Start[len(a.hosts)]))
	each(func(i int, row []graph.Peer) {
		own := a.rows.Of(graph.Vertex(i))
		n := 0
		for _, p := range row {
			if y := number[p.Vertex()]; y != graph.None {
				own[n] = graph.Peer(y) << 2
				n++
			}
		}
		slices.Sort(own)
	})
}

// byDegree returns those hosts whose degree is at most most, by degree and then
// as they were.
func byDegree(hosts []graph.Vertex, rows graph.Rows, most uint32) []graph.Vertex {
	first := make([]int, most+2) // by degree, and in the end by the one before
	for _, x := range hosts {
		if d := rows.Degree(x); d <= most {
			first[d+1]++
		}
	}
	for d := range most + 1 {
		first[d+1] += first[d]
	}
	sorted := make([]graph.Vertex, first[most+1])
	for _, x := range hosts {
		if d := rows.Degree(x); d <= most {
			sorted[first[d]] = x
			first[d]++
		}
	}
	return sorted
}

// descend calls f with the levels of the hosts within each cap, the largest cap
// first. Caps ascend.
func (a *ascending) descend(caps []uint32, f func(i int, within []level)) {
	var s *shrinking
	for i, limit := range slices.Backward(caps) {
		n := sort.Search(len(a.degree), func(x int) bool { return a.degree[x] > limit })
		if s == nil {
			s = newShrinking(a.rows, n)
		}
		s.to(n)
		f(i, s.level)
	}
}
