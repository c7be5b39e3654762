// Package core finds hosts that keep many peers within a group of hosts that
// do the same: k-cores by bucket peeling (Batagelj and Zaveršnik 2003), capped
// by degree and contrasted with a random graph of the same degrees (MCNC,
// docs/detection.md).
package core

import "github.com/flowhound/flowhound/detector/graph"

// Coreness returns the core number of each vertex of the undirected simple
// graph behind the view: the largest k such that the vertex belongs to a group
// in which everybody has k peers within the group.
func Coreness(v *graph.View) []uint32 {
	var p peeler
	return p.peel(v.Undirected().Out, v.Len(), nil, 0)
}

// peeler holds the arrays of one peeling for use by the next.
type peeler struct {
	// degree is what remains of each vertex's degree, and in the end its core.
	degree []uint32
	// order lists the vertices by remaining degree, place is the inverse, and
	// bin[d] is where those of degree d begin.
	order []graph.Vertex
	place []uint32
	bin   []uint32
}

// peel returns the core number of each of the n vertices in the subgraph of
// those whose weight is at most limit (nil weights admit all); the others get
// 0. The slice is valid until the next call. It takes away vertices in the order of their remaining
// degree, in time linear in the links.
func (p *peeler) peel(rows graph.Rows, n int, weight []uint32, limit uint32) []uint32 {
	p.fill(rows, n, weight, limit)
	for i := 0; i < len(p.order); i++ {
		x := p.order[i]
		k := p.degree[x]
		for _, y := range rows.Of(x) {
			if d := p.degree[y]; d > k && p.place[y] != out {
				p.lower(y, d)
			}
		}
	}
	return p.degree
}

// out marks the place of a vertex that is not in the subgraph.
const out = 1<<32 - 1

// fill sorts the admitted vertices by their degree in the subgraph.
func (p *peeler) fill(rows graph.Rows, n int, weight []uint32, limit uint32) {
	p.degree, p.place = resize(p.degree, n), resize(p.place, n)
	members, largest := 0, uint32(0)
	for i := range p.degree {
		x := graph.Vertex(i)
		if weight != nil && weight[x] > limit {
			p.degree[x], p.place[x] = 0, out
			continue
		}
		d := rows.Degree(x)
		if weight != nil {
			d = 0
			for _, y := range rows.Of(x) {
				if weight[y] <= limit {
					d++
				}
			}
		}
		p.degree[x], p.place[x] = d, 0
		members, largest = members+1, max(largest, d)
	}
	p.bin = resize(p.bin, int(largest)+2)
	clear(p.bin)
	for i, d := range p.degree {
		if p.place[i] != out {
			p.bin[d+1]++
		}
	}
	for d := 1; d < len(p.bin); d++ {
		p.bin[d] += p.bin[d-1]
	}
	p.order = resize(p.order, members)
	for i, d := range p.degree {
		if p.place[i] != out {
			p.place[i] = p.bin[d]
			p.order[p.bin[d]] = graph.Vertex(i)
			p.bin[d]++
		}
	}
	copy(p.bin[1:], p.bin) // each bin has moved to the next one's begin
	p.bin[0] = 0
}

// lower takes one from the degree d of y: it changes places with the first
// vertex of its bin, which then begins one later.
func (p *peeler) lower(y graph.Vertex, d uint32) {
	first := p.bin[d]
	z := p.order[first]
	at := p.place[y]
	p.order[first], p.order[at] = y, z
	p.place[y], p.place[z] = first, at
	p.bin[d]++
	p.degree[y]--
}

// resize returns a slice of length n with whatever content.
func resize[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	return s[:n]
}
