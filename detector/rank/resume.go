package rank

import (
	"errors"
	"fmt"
	"math"
	"runtime"

	"github.com/flowhound/flowhound/detector/graph"
	"github.com/flowhound/flowhound/internal/flow"
	"github.com/flowhound/flowhound/internal/parallel"
)

// Carry maps rankings of an older view to the hosts of v, for Resume to begin
// with. Hosts that are new get the average, and so do all hosts of a ranking that
// has no ranks.
func Carry(v, old *graph.View, last []Result) []Result {
	const step = 1 << 14
	n, match, workers := v.Len(), v.Match(old), runtime.GOMAXPROCS(0)
	average, ratio := 1/float64(n), float64(old.Len())/float64(max(1, n))
	carry := func(ranks []float64) []float64 {
		carried := make([]float64, n)
		parallel.Ranges(n, step, workers, func(lo, hi int) {
			for x := range carried[lo:hi] {
				carried[lo+x] = average
			}
		})
		parallel.Ranges(len(ranks), step, workers, func(lo, hi int) {
			for x, to := range match[lo:hi] {
				if to != graph.None {
					carried[to] = ranks[lo+x] * ratio
				}
			}
		})
		return carried
	}
	results := make([]Result, len(last))
	for w, r := range last {
		results[w] = Result{Client: carry(r.Client), Server: carry(r.Server), Hosts: n}
	}
	return results
}

// Resume ranks a view from ranks that are near, by weight: mostly those of the
// last epoch through Carry. It overwrites their arrays with the new ranks; where
// there is nothing to start from, any ranks will do. Supersteps counts the passes
// over the links, with float32 shares, of the slower rank.
//
// The ranks are within Tolerance·d/(1-d) of the exact ones in L1, as stopping
// Run by Tolerance guarantees, down to what float64 can show; Delta is what was
// reached in the same measure: the error is at most Delta·d/(1-d). Bits depend
// on the view, the weight and its start alone, not on other weights, on Workers,
// nor on the Precision, which Resume does not need.
func Resume(v *graph.View, starts []Result, p Params) ([]Result, error) {
	if err := checkResume(v, starts, p); err != nil {
		return nil, err
	}
	if p.Damping == 0 || v.Len() == 0 {
		return Run(v, p) // there is nothing to solve
	}
	cfg := Config{Params: p, Owner: new([flow.Shards]int)}
	cfg.defaults()
	plan := newPlan(v, &cfg)
	q := p.Damping / (1 - p.Damping)
	limit := Params{Damping: contraction(p.Damping)}.limit()
	results := make([]Result, len(starts))
	for w, start := range starts {
		r := Result{Client: start.Client, Server: start.Server, Hosts: v.Len()}
		for which, ranks := range [2][]float64{server: r.Server, client: r.Client} {
			bound, passes := newRelaxation(v, &plan, &cfg, &plan.weights[w], which).solve(ranks, p.Tolerance*q, limit)
			r.Delta, r.Supersteps = max(r.Delta, bound/q), max(r.Supersteps, passes)
		}
		results[w] = r
	}
	return results, nil
}

func checkResume(v *graph.View, starts []Result, p Params) error {
	for s := range flow.Shards {
		if !v.Owned(flow.Shard(s)) {
			return fmt.Errorf("rank: shard %d of the view is another node's", s)
		}
	}
	if p.Undirected {
		return errors.New("rank: resume an undirected ranking: it always starts from nothing")
	}
	if p.Iterations > 0 {
		return fmt.Errorf("rank: resume for %d iterations: want a tolerance", p.Iterations)
	}
	if got, want := len(starts), len(p.weights()); got != want {
		return fmt.Errorf("rank: resume from %d results for %d weights", got, want)
	}
	for _, r := range starts {
		if len(r.Server) != v.Len() || len(r.Client) != v.Len() {
			return fmt.Errorf("rank: resume from %d and %d ranks: the view has %d vertices", len(r.Server), len(r.Client), v.Len())
		}
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
