package core

import (
	"slices"
	"sort"
	"sync"

	"github.com/flowhound/flowhound/detector/graph"
	"github.com/flowhound/flowhound/internal/huge"
)

// cores calls f with each k-core, k ≥ 2, of the hosts that have no more peers
// than the largest cap, and with the least cap that each of these is in the
// k-core of: by vertex, and as a place in caps, which ascend. A k-core is within
// that of a larger cap, so that this says it for all caps. What f gets is valid
// until it returns.
func cores(g rows, caps []uint16, f func(k uint16, hosts []graph.Vertex, least []uint16)) {
	whole := peeler{rows: g, left: huge.Make[uint16](g.hosts())}
	hosts := whole.begin(caps[len(caps)-1])
	capped := peeler{rows: g, left: huge.Make[uint16](g.hosts()), when: huge.Make[uint16](g.hosts())}
	for k := uint16(2); len(hosts) > 0; k++ {
		for _, x := range hosts {
			capped.left[x], capped.when[x] = whole.left[x], 0
		}
		var next sync.WaitGroup
		next.Go(func() { whole.raise(k+1, hosts) })
		capped.descend(k, hosts, caps)
		f(k, hosts, capped.when)
		next.Wait()
		for _, x := range hosts {
			capped.left[x] = 0
		}
		hosts = slices.DeleteFunc(hosts, func(x graph.Vertex) bool { return whole.left[x] == 0 })
	}
}

// begin returns the 2-core of the hosts with at most most peers, by degree.
func (p *peeler) begin(most uint16) []graph.Vertex {
	for x := range graph.Vertex(p.hosts()) {
		p.left[x] = uint16(min(p.Degree(x), uint32(most)))
	}
	for x := range graph.Vertex(p.hosts()) {
		if d := p.Degree(x); d < 2 || d > uint32(most) {
			p.remove(x, 2)
		}
	}
	p.strip(2)
	return p.byDegree(most)
}

// raise goes from a core with these hosts to the k-core.
func (p *peeler) raise(k uint16, hosts []graph.Vertex) {
	for _, x := range hosts {
		if p.left[x] < k {
			p.remove(x, k)
		}
	}
	p.strip(k)
}

// byDegree returns the hosts that are there, by degree and then as they were.
func (p *peeler) byDegree(most uint16) []graph.Vertex {
	first := make([]uint32, int(most)+2) // by degree, and in the end by the one before
	for x, left := range p.left {
		if left > 0 {
			first[p.Degree(graph.Vertex(x))+1]++
		}
	}
	for d := range int(most) + 1 {
		first[d+1] += first[d]
	}
	sorted := make([]graph.Vertex, first[int(most)+1])
	for x, left := range p.left {
		if left > 0 {
			d := p.Degree(graph.Vertex(x))
			sorted[first[d]] = graph.Vertex(x)
			first[d]++
		}
	}
	return sorted
}

// descend goes from the k-core at the largest cap, whose hosts ascend by degree,
// to that at the least one, and notes the least cap of each host that goes.
func (p *peeler) descend(k uint16, hosts []graph.Vertex, caps []uint16) {
	within := len(hosts)
	for i := len(caps) - 2; i >= 0; i-- {
		p.now = uint16(i + 1)
		before := hosts[:within]
		within = sort.Search(within, func(j int) bool { return p.Degree(hosts[j]) > uint32(caps[i]) })
		if within <= int(k) { // too few for a k-core: all go
			for _, x := range before {
				if p.left[x] > 0 {
					p.when[x] = p.now
				}
			}
			return
		}
		for _, x := range before[within:] {
			p.remove(x, k)
		}
		p.strip(k)
	}
}
