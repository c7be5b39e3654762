package rank

import (
	"runtime"

	"github.com/flowhound/flowhound/detector/graph"
	"github.com/flowhound/flowhound/internal/parallel"
)

// Baseline computes the server rank alone, as a plain pull over the in-rows
// with float32 contributions on all processors: what pr_spmv of the GAP
// Benchmark Suite (Beamer, Asanović and Patterson 2015) does, and what everybody
// would write. Supersteps, which compute two ranks, are measured against it. It
// calls each after every superstep.
func Baseline(v *graph.View, damping float32, supersteps int, each func()) []float32 {
	const step = 1 << 14
	n := v.Len()
	ranks, shares := make([]float32, n), make([]float32, n)
	for x := range ranks {
		ranks[x] = 1 / float32(n)
	}
	rows := func(f func(lo, hi graph.Vertex)) {
		parallel.For((n+step-1)/step, runtime.GOMAXPROCS(0), func(_, i int) {
			f(graph.Vertex(i*step), graph.Vertex(min(n, (i+1)*step)))
		})
	}
	for range supersteps {
		rows(func(lo, hi graph.Vertex) {
			shares, ranks, begin := shares, ranks, v.Out.Start[lo]
			for x := lo; x < hi; x++ {
				end := v.Out.Start[x+1]
				shares[x] = ranks[x] / float32(end-begin)
				begin = end
			}
		})
		base := (1 - damping) / float32(n)
		rows(func(lo, hi graph.Vertex) {
			shares, ranks, begin := shares, ranks, v.In.Start[lo]
			for x := lo; x < hi; x++ {
				end, sum := v.In.Start[x+1], float32(0)
				for _, y := range v.In.Col[begin:end] {
					sum += shares[y]
				}
				ranks[x] = base + damping*sum
				begin = end
			}
		})
		each()
	}
	return ranks
}
