package graph

import (
	"fmt"
	"math"

	"github.com/flowhound/flowhound/internal/flow"
)

// FromLinks returns the view of n vertices with the links src[i] → dst[i], in
// which vertex numbers are canonical order and the shards are equal ranges of
// it. Self-links and duplicates are dropped. Unlike in a frozen graph a vertex
// may have no link. It panics if an end is not below n.
func FromLinks(n int, src, dst []uint32) *View {
	if len(src) != len(dst) || n > math.MaxUint32 || len(src) > math.MaxUint32 {
		panic(fmt.Sprintf("BUG: view of %d vertices from %d sources and %d destinations", n, len(src), len(dst)))
	}
	v := &View{owned: Config{}.owned()}
	for s := range v.bounds {
		v.bounds[s] = Vertex(uint64(n) * uint64(s) / flow.Shards)
	}
	v.Out = NewRows(n, src, dst)
	v.In = v.Out.transpose(n)
	return v
}

// NewRows returns the rows of n vertices with the links src[i] → dst[i], without
// self-links and duplicates. Every end must be below n.
func NewRows(n int, src, dst []uint32) Rows {
	return rowsOf(n, [2][]uint32{src, dst})
}

// NewUndirectedRows returns the rows of n vertices with the links a[i] → b[i] and
// b[i] → a[i], without self-links and duplicates. Every end must be below n.
func NewUndirectedRows(n int, a, b []uint32) Rows {
	return rowsOf(n, [2][]uint32{a, b}, [2][]uint32{b, a})
}

// rowsOf returns the rows of several lists of sources and destinations.
func rowsOf(n int, lists ...[2][]uint32) Rows {
	r := Rows{Start: make([]uint32, n+1)}
	for _, list := range lists {
		for _, x := range list[0] {
			r.Start[x]++
		}
	}
	at := uint32(0)
	for i, degree := range r.Start {
		r.Start[i] = at
		at += degree
	}
	r.Col = make([]Vertex, at)
	for _, list := range lists {
		for i, x := range list[0] {
			r.Col[r.Start[x]] = Vertex(list[1][i])
			r.Start[x]++
		}
	}
	const step = 1 << 12
	ends := r.Start[:n] // each start has moved to its row's end
	inParallel((n+step-1)/step, func(i int) {
		begin := uint32(0)
		if i > 0 {
			begin = ends[i*step-1]
		}
		for _, end := range ends[i*step : min(n, (i+1)*step)] {
			sortRow(r.Col[begin:end])
			begin = end
		}
	})
	r.compact(n)
	return r
}

// compact drops self-links and duplicates from sorted rows whose starts are
// their ends, and puts the starts right.
func (r *Rows) compact(n int) {
	from, to := uint32(0), uint32(0)
	for x := range n {
		end := r.Start[x]
		r.Start[x] = to
		for i := from; i < end; i++ {
			w := r.Col[i]
			if w == Vertex(x) || to > r.Start[x] && r.Col[to-1] == w {
				continue
			}
			r.Col[to] = w
			to++
		}
		from = end
	}
	r.Start[n] = to
	r.Col = r.Col[:to]
}

// transpose returns the rows of the reverse links. Columns come in ascending
// order because rows are read in ascending order.
func (r Rows) transpose(n int) Rows {
	t := Rows{Start: make([]uint32, n+1), Col: make([]Vertex, len(r.Col))}
	for _, w := range r.Col {
		t.Start[w]++
	}
	at := uint32(0)
	for i, degree := range t.Start {
		t.Start[i] = at
		at += degree
	}
	for x := range n {
		for _, w := range r.Of(Vertex(x)) {
			t.Col[t.Start[w]] = Vertex(x)
			t.Start[w]++
		}
	}
	copy(t.Start[1:], t.Start[:n])
	t.Start[0] = 0
	return t
}

// union returns the rows whose columns are those of a or b.
func union(a, b Rows, n int) Rows {
	u := Rows{Start: make([]uint32, n+1)}
	const step = 1 << 12
	each := func(f func(x Vertex)) {
		inParallel((n+step-1)/step, func(i int) {
			for x := i * step; x < min(n, (i+1)*step); x++ {
				f(Vertex(x))
			}
		})
	}
	each(func(x Vertex) { u.Start[x+1] = mergeRows(nil, a.Of(x), b.Of(x)) })
	total := uint64(0)
	for i, degree := range u.Start {
		if total += uint64(degree); total > math.MaxUint32 {
			panic(fmt.Sprintf("BUG: undirected view of %d vertices: more links than 32 bits number", n))
		}
		u.Start[i] = uint32(total)
	}
	u.Col = make([]Vertex, total)
	each(func(x Vertex) { mergeRows(u.Of(x), a.Of(x), b.Of(x)) })
	return u
}

// mergeRows returns the size of the union of two sorted rows and writes it to
// to, unless to is nil.
func mergeRows(to, a, b []Vertex) (n uint32) {
	for len(a) > 0 || len(b) > 0 {
		var w Vertex
		switch {
		case len(b) == 0 || len(a) > 0 && a[0] < b[0]:
			w, a = a[0], a[1:]
		case len(a) == 0 || b[0] < a[0]:
			w, b = b[0], b[1:]
		default:
			w, a, b = a[0], a[1:], b[1:]
		}
		if to != nil {
			to[n] = w
		}
		n++
	}
	return n
}
