package testbench

import (
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/flowhound/flowhound/detector/graph"
)

// baseline is what everybody would write: PageRank of one direction pulled
// over compressed rows, in float32, all cores, as GAPBS's pr_spmv does
// (Beamer et al. 2015). It stands beside the engine's superstep, which
// computes two ranks.
type baseline struct {
	in           graph.Rows
	outDegree    []uint32
	rank, shares []float32
}

const (
	baselineDamping = 0.5
	baselineChunk   = 1 << 14
)

func newBaseline(v *graph.View) *baseline {
	n := v.Len()
	b := &baseline{in: v.In, outDegree: make([]uint32, n), rank: make([]float32, n), shares: make([]float32, n)}
	for x := range n {
		b.outDegree[x] = max(1, v.Out.Degree(graph.Vertex(x)))
		b.rank[x] = 1 / float32(n)
	}
	return b
}

// superstep computes every rank anew.
func (b *baseline) superstep() {
	n := len(b.rank)
	chunks(n, func(lo, hi int) {
		for x := lo; x < hi; x++ {
			b.shares[x] = b.rank[x] / float32(b.outDegree[x])
		}
	})
	base := float32(1-baselineDamping) / float32(n)
	chunks(n, func(lo, hi int) {
		begin := b.in.Start[lo]
		for x := lo; x < hi; x++ {
			end := b.in.Start[x+1]
			sum := float32(0)
			for _, y := range b.in.Col[begin:end] {
				sum += b.shares[y]
			}
			b.rank[x] = base + baselineDamping*sum
			begin = end
		}
	})
}

// chunks calls f for ranges that cover 0 ≤ x < n, from all cores.
func chunks(n int, f func(lo, hi int)) {
	var next atomic.Int64
	var wait sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wait.Go(func() {
			for {
				hi := int(next.Add(baselineChunk))
				lo := hi - baselineChunk
				if lo >= n {
					return
				}
				f(lo, min(hi, n))
			}
		})
	}
	wait.Wait()
}
