package rank

import (
	"runtime"
	"slices"

	"github.com/flowhound/flowhound/detector/graph"
	"github.com/flowhound/flowhound/internal/parallel"
)

// Baseline computes the server rank alone, as a plain pull over the in-rows
// with float32 contributions on all processors: what pr_spmv of the GAP
// Benchmark Suite (Beamer, Asanović and Patterson 2015) does, and what everybody
// would write. Supersteps, which compute two ranks, are measured against it. It
// calls after after every superstep.
func Baseline(v *graph.View, damping float32, supersteps int, after func()) []float32 {
	const step = 1 << 14
	n := v.Len()
	ranks, shares := make([]float32, n), make([]float32, n)
	for x := range ranks {
		ranks[x] = 1 / float32(n)
	}
	in, degrees := plainRows(v)
	each := func(f func(lo, hi graph.Vertex)) {
		parallel.For((n+step-1)/step, runtime.GOMAXPROCS(0), func(_, i int) {
			f(graph.Vertex(i*step), graph.Vertex(min(n, (i+1)*step)))
		})
	}
	for range supersteps {
		each(func(lo, hi graph.Vertex) {
			shares, ranks, degrees := shares, ranks, degrees
			for x := lo; x < hi; x++ {
				shares[x] = ranks[x] / float32(degrees[x])
			}
		})
		base := (1 - damping) / float32(n)
		each(func(lo, hi graph.Vertex) {
			shares, ranks, begin := shares, ranks, in.start[lo]
			for x := lo; x < hi; x++ {
				end, sum := in.start[x+1], float32(0)
				for _, y := range in.col[begin:end] {
					sum += shares[y]
				}
				ranks[x] = base + damping*sum
				begin = end
			}
		})
		after()
	}
	return ranks
}

// plain is a compressed sparse matrix: col[start[x]:start[x+1]] are the columns
// of row x.
type plain struct {
	start []uint32
	col   []graph.Vertex
}

// plainRows returns the links of a view by where they lead, and the numbers of
// those that leave each vertex.
func plainRows(v *graph.View) (in plain, degrees []uint32) {
	in = plain{make([]uint32, v.Len()+1), make([]graph.Vertex, 0, v.Links())}
	degrees = make([]uint32, v.Len())
	for x := range graph.Vertex(v.Len()) {
		degrees[x], _ = v.Degrees(x)
		in.col = slices.AppendSeq(in.col, v.In(x))
		in.start[x+1] = uint32(len(in.col))
	}
	return in, degrees
}
