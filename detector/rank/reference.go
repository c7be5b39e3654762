package rank

import (
	"iter"
	"math"
	"slices"

	"github.com/flowhound/flowhound/detector/graph"
)

// Reference computes the ranks as the definition says them, in float64 and on
// one processor, for checking Run:
//
//	s_i = (1-d)·W_i + d·(Σ_{j→i} s_j/dout_j + D_i·Σ_{dout_j=0} s_j)
//
// and c_i likewise over the reversed links, with D = 1/n, or W if DanglingW.
func Reference(v *graph.View, p Params) (results []Result) {
	for _, w := range p.weights() {
		results = append(results, p.reference(v, w))
	}
	return results
}

func (p Params) reference(v *graph.View, given Weight) Result {
	n := v.Len()
	w := make([]float64, n)
	isSeed := map[graph.Vertex]bool{}
	for _, x := range given.Seeds {
		isSeed[x] = true
	}
	for i := range w {
		switch {
		case len(isSeed) == 0:
			w[i] = 1 / float64(n)
		case isSeed[graph.Vertex(i)]:
			w[i] = (1-given.Lambda)/float64(n) + given.Lambda/float64(len(isSeed))
		default:
			w[i] = (1 - given.Lambda) / float64(n)
		}
	}
	r := Result{Hosts: n}
	along, against := v.Out, v.In
	if p.Undirected {
		along, against = v.Around, v.Around
	}
	r.Server, r.Supersteps, r.Delta = iterate(n, w, p, along)
	var delta float64
	r.Client, _, delta = iterate(n, w, p, against)
	r.Delta = math.Max(r.Delta, delta)
	return r
}

// iterate follows the links that successors lists until the count or the
// tolerance is reached.
func iterate(n int, w []float64, p Params, successors func(graph.Vertex) iter.Seq[graph.Vertex]) (rank []float64, steps int, delta float64) {
	rank = make([]float64, n)
	for i := range rank {
		rank[i] = 1 / float64(n)
	}
	for steps = 0; steps < p.limit() && n > 0; {
		next := make([]float64, n)
		dangling := 0.0
		for j := range rank {
			targets := slices.Collect(successors(graph.Vertex(j)))
			if len(targets) == 0 {
				dangling += rank[j]
			}
			for _, i := range targets {
				next[i] += rank[j] / float64(len(targets))
			}
		}
		delta = 0
		for i := range next {
			share := dangling / float64(n)
			if p.DanglingW {
				share = dangling * w[i]
			}
			next[i] = (1-p.Damping)*w[i] + p.Damping*(next[i]+share)
			delta += math.Abs(next[i] - rank[i])
		}
		rank = next
		if steps++; p.Iterations == 0 && delta < p.Tolerance {
			break
		}
	}
	return rank, steps, delta
}
