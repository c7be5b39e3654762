package rank

import (
	"fmt"
	"math"
	"runtime"

	"github.com/flowhound/flowhound/detector/graph"
	"github.com/flowhound/flowhound/internal/flow"
)

// Carry maps a ranking of an older view to the hosts of v, for Resume to begin
// with. Hosts that are new get the average.
func Carry(v, old *graph.View, r Result) Result {
	const step = 1 << 14
	n, match := v.Len(), v.Match(old)
	ratio := float64(old.Len()) / float64(max(1, n))
	carried := Result{Client: make([]float64, n), Server: make([]float64, n), Hosts: n}
	chunks := func(n int, f func(lo, hi int)) {
		parallel((n+step-1)/step, runtime.GOMAXPROCS(0), func(_, i int) { f(i*step, min(n, (i+1)*step)) })
	}
	chunks(n, func(lo, hi int) {
		for x := lo; x < hi; x++ {
			carried.Client[x], carried.Server[x] = 1/float64(n), 1/float64(n)
		}
	})
	chunks(len(match), func(lo, hi int) {
		for x := lo; x < hi; x++ {
			if to := match[x]; to != graph.None {
				carried.Client[to], carried.Server[to] = r.Client[x]*ratio, r.Server[x]*ratio
			}
		}
	})
	return carried
}

// leaving are the rows over which a rank leaves its vertex.
func leaving(v *graph.View, which int) graph.Rows {
	return [2]graph.Rows{server: v.Out, client: v.In}[which]
}

// Resume ranks a view from ranks that are near, mostly those of the last epoch
// through Carry. It overwrites their arrays with the new ranks; where there is
// nothing to start from, any ranks will do. Supersteps counts the passes over
// the links, with float32 shares, of the slower rank.
//
// The ranks are within Tolerance·d/(1-d) of the exact ones in L1, as stopping
// Run by Tolerance guarantees, down to what float64 can show; Delta is what was
// reached in the same measure: the error is at most Delta·d/(1-d). Bits depend
// on the arguments alone, not on Workers, nor on the Precision, which Resume
// does not need.
func Resume(v *graph.View, start Result, p Params) (Result, error) {
	if err := checkResume(v, start, p); err != nil {
		return Result{}, err
	}
	if p.Damping == 0 || v.Len() == 0 {
		return Run(v, p) // there is nothing to solve
	}
	cfg := Config{Params: p, Owner: new([flow.Shards]int)}
	cfg.defaults()
	plan := newPlan(v, &cfg)
	r := Result{Client: start.Client, Server: start.Server, Hosts: v.Len()}
	q := p.Damping / (1 - p.Damping)
	limit := Params{Damping: contraction(p.Damping)}.limit()
	for which, ranks := range [2][]float64{server: r.Server, client: r.Client} {
		bound, passes := newRelaxation(v, &plan, &cfg, which).solve(ranks, p.Tolerance*q, limit)
		r.Delta, r.Supersteps = max(r.Delta, bound/q), max(r.Supersteps, passes)
	}
	return r, nil
}

func checkResume(v *graph.View, start Result, p Params) error {
	for s := range flow.Shards {
		if !v.Owned(flow.Shard(s)) {
			return fmt.Errorf("rank: shard %d of the view is another node's", s)
		}
	}
	if p.Iterations > 0 {
		return fmt.Errorf("rank: resume for %d iterations: want a tolerance", p.Iterations)
	}
	if len(start.Server) != v.Len() || len(start.Client) != v.Len() {
		return fmt.Errorf("rank: resume from %d and %d ranks: the view has %d vertices", len(start.Server), len(start.Client), v.Len())
	}
	return p.checkFor(v)
}

// Distance returns the L1 distance of two results of one view, the larger one
// of the two ranks: what a resumed ranking and a full one must agree in, up to
// the sum of their error bounds, each Delta·d/(1-d).
func Distance(a, b Result) float64 {
	var client, server float64
	for x := range a.Client {
		client += math.Abs(a.Client[x] - b.Client[x])
		server += math.Abs(a.Server[x] - b.Server[x])
	}
	return max(client, server)
}
