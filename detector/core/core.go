// Package core finds hosts that keep many peers within a group of hosts that
// do the same: k-cores, capped by degree and contrasted with a random graph of
// the same degrees (MCNC, docs/decisions/0006-contrast.md).
package core

import (
	"sort"

	"github.com/flowhound/flowhound/detector/graph"
	"github.com/flowhound/flowhound/internal/huge"
)

// Coreness returns the core number of each vertex of the undirected simple
// graph behind the view: the largest k such that the vertex belongs to a group
// in which everybody has k peers within the group.
func Coreness(v *graph.View) []uint32 {
	var p peeler
	return p.peel(v.Rows, v.Len())
}

// peeler takes vertices away until those that remain have enough peers. It asks
// the memory for one random word a link, which is what a large graph costs: the
// order by degree of Batagelj and Zaveršnik (2003) keeps four up to date.
type peeler struct {
	// degree is what remains of each vertex's degree, and in the end its core.
	degree []uint32
	// remain lists the vertices that nothing has yet been heard against, those
	// that went since the last call of least included.
	remain []graph.Vertex
	went   []graph.Vertex // whose peers do not know yet
}

// peel returns the core numbers of the first n vertices in the graph of these
// alone.
func (p *peeler) peel(rows graph.Rows, n int) []uint32 {
	p.begin(rows, n)
	for k := p.least(1); len(p.remain) > 0; k = p.least(k + 1) {
		p.strip(rows, k+1)
	}
	return p.degree
}

// begin admits the first n vertices. Rows ascend, so that their neighbours below
// n come first.
func (p *peeler) begin(rows graph.Rows, n int) {
	p.degree, p.remain = huge.Make[uint32](n), huge.Make[graph.Vertex](n)
	for x := range p.degree {
		row := rows.Of(graph.Vertex(x))
		p.degree[x] = uint32(len(row))
		if d := len(row); d > 0 && int(row[d-1].Vertex()) >= n {
			p.degree[x] = uint32(sort.Search(d, func(i int) bool { return int(row[i].Vertex()) >= n }))
		}
		p.remain[x] = graph.Vertex(x)
	}
}

// least forgets the vertices that went when all with fewer than k peers did, and
// returns the least degree of the others.
func (p *peeler) least(k uint32) (least uint32) {
	least = ^uint32(0)
	n := 0
	for _, x := range p.remain {
		if d := p.degree[x]; d >= k {
			p.remain[n], least = x, min(least, d)
			n++
		}
	}
	p.remain = p.remain[:n]
	return least
}

// strip takes away vertices with fewer than k peers until all that remain have
// k. Those that had k-1 or more when it began keep the degree k-1.
func (p *peeler) strip(rows graph.Rows, k uint32) {
	degree := p.degree
	for _, x := range p.remain {
		if degree[x] < k {
			p.went = append(p.went, x)
		}
	}
	for len(p.went) > 0 {
		x := p.went[len(p.went)-1]
		p.went = p.went[:len(p.went)-1]
		for _, q := range rows.Of(x) {
			y := q.Vertex()
			if int(y) >= len(degree) {
				break
			}
			if d := degree[y]; d >= k {
				degree[y] = d - 1
				if d == k {
					p.went = append(p.went, y)
				}
			}
		}
	}
}
