package core

import (
	"github.com/flowhound/flowhound/detector/graph"
	"github.com/flowhound/flowhound/internal/huge"
)

// shrinking keeps the core numbers of the first n vertices of a graph while n
// becomes less, at a cost that follows the change. Core numbers are the largest
// ones of which each vertex with k has k neighbours with k or more (Lü et al.
// 2016): those from before are too large at most, and each vertex that lacks
// neighbours is lowered to what it has them for, until none lacks any.
type shrinking struct {
	rows    graph.Rows
	level   []level // by vertex
	lacking []graph.Vertex
	counts  []uint32 // by core number, for lower
}

// level is the core number of a vertex, and how many of its neighbours have that
// or more. It lacks neighbours if these are fewer than the core number.
type level struct{ core, support uint32 }

// newShrinking begins with n vertices, whose rows ascend.
func newShrinking(rows graph.Rows, n int) *shrinking {
	var p peeler
	s := &shrinking{rows: rows, level: huge.Make[level](n)}
	most := uint32(0)
	for x, core := range p.peel(rows, n) {
		s.level[x].core = core
		most = max(most, core)
	}
	s.counts = make([]uint32, most+1)
	for x := range s.level {
		own := &s.level[x]
		for _, p := range s.neighbours(graph.Vertex(x)) {
			y := p.Vertex()
			if s.level[y].core >= own.core {
				own.support++
			}
		}
	}
	return s
}

// neighbours returns those of the vertices that there are.
func (s *shrinking) neighbours(x graph.Vertex) []graph.Peer {
	row := s.rows.Of(x)
	n := len(row)
	for n > 0 && int(row[n-1].Vertex()) >= len(s.level) {
		n--
	}
	return row[:n]
}

// to takes away all vertices but the first n.
func (s *shrinking) to(n int) {
	for x := n; x < len(s.level); x++ {
		s.set(graph.Vertex(x), level{})
	}
	s.level = s.level[:n]
	for len(s.lacking) > 0 {
		x := s.lacking[len(s.lacking)-1]
		s.lacking = s.lacking[:len(s.lacking)-1]
		if int(x) < n {
			s.set(x, s.lower(x))
		}
	}
}

// set lowers a vertex, and notes which neighbours lack it.
func (s *shrinking) set(x graph.Vertex, to level) {
	from := s.level[x].core
	s.level[x] = to
	for _, p := range s.neighbours(x) {
		y := p.Vertex()
		if l := &s.level[y]; to.core < l.core && l.core <= from {
			l.support--
			if l.support == l.core-1 {
				s.lacking = append(s.lacking, y)
			}
		}
	}
}

// lower returns the level that a vertex has neighbours for.
func (s *shrinking) lower(x graph.Vertex) (l level) {
	most := s.level[x].core
	counts := s.counts[:most+1]
	clear(counts)
	for _, p := range s.neighbours(x) {
		y := p.Vertex()
		counts[min(most, s.level[y].core)]++
	}
	for l.core = most; l.core > 0; l.core-- {
		if l.support += counts[l.core]; l.support >= l.core {
			return l
		}
	}
	return level{}
}
