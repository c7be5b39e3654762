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
	v := &View{owned: Config{}.owned(), Rows: rowsOf(n, src, dst)}
	for s := range v.bounds {
		v.bounds[s] = Vertex(uint64(n) * uint64(s) / flow.Shards)
	}
	for _, p := range v.Peers {
		v.links += int(p >> forward & 1)
	}
	return v
}

// rowsOf returns the rows of n vertices with the links src[i] → dst[i], without
// self-links and duplicates. It panics if an end is not below n.
func rowsOf(n int, src, dst []uint32) Rows {
	if len(src) != len(dst) || n > maxVertices || len(src) > math.MaxUint32/2 {
		panic(fmt.Sprintf("BUG: rows of %d vertices from %d sources and %d destinations", n, len(src), len(dst)))
	}
	r := Rows{Start: make([]uint32, n+1)}
	for i, x := range src {
		r.Start[x]++
		r.Start[dst[i]]++
	}
	at := uint32(0)
	for x, degree := range r.Start {
		r.Start[x] = at
		at += degree
	}
	r.Peers = make([]Peer, at)
	put := func(x uint32, p Peer) {
		r.Peers[r.Start[x]] = p
		r.Start[x]++
	}
	for i, x := range src {
		put(x, newPeer(Vertex(dst[i]), 1<<forward))
		put(dst[i], newPeer(Vertex(x), 1<<backward))
	}
	r.sort(n)
	r.compact(n)
	return r
}

// sort sorts rows whose starts are their ends.
func (r *Rows) sort(n int) {
	const step = 1 << 12
	ends := r.Start[:n]
	inParallel((n+step-1)/step, func(i int) {
		begin := uint32(0)
		if i > 0 {
			begin = ends[i*step-1]
		}
		for _, end := range ends[i*step : min(n, (i+1)*step)] {
			sortRow(r.Peers[begin:end])
			begin = end
		}
	})
}

// compact drops self-links from sorted rows whose starts are their ends, makes
// one of a vertex's peers that are the same, and puts the starts right.
func (r *Rows) compact(n int) {
	from, to := uint32(0), uint32(0)
	for x := range n {
		end := r.Start[x]
		r.Start[x] = to
		for _, p := range r.Peers[from:end] {
			switch {
			case p.Vertex() == Vertex(x):
			case to > r.Start[x] && r.Peers[to-1].Vertex() == p.Vertex():
				r.Peers[to-1] |= p
			default:
				r.Peers[to] = p
				to++
			}
		}
		from = end
	}
	r.Start[n] = to
	r.Peers = r.Peers[:to]
}
