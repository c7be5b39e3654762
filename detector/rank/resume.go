package rank

import (
	"fmt"
	"math"
	"runtime"
	"slices"

	"github.com/flowhound/flowhound/detector/graph"
	"github.com/flowhound/flowhound/internal/flow"
)

// Carry maps a ranking of an older view to the hosts of v, for Resume to begin
// with. A host whose number of neighbours changed keeps the share that each of
// them gets: a hub's rank grows with it. Hosts that are new get the average.
func Carry(v, old *graph.View, r Result) Result {
	match, ratio := v.Match(old), float64(old.Len())/float64(max(1, v.Len()))
	ranks := [2][]float64{server: r.Server, client: r.Client}
	var all [2][]float64
	parallel(len(all), runtime.GOMAXPROCS(0), func(_, which int) {
		carried := make([]float64, v.Len())
		for x := range carried {
			carried[x] = 1 / float64(len(carried))
		}
		out, was := leaving(v, which), leaving(old, which)
		for x, to := range match {
			if to == graph.None {
				continue
			}
			rank := ranks[which][x] * ratio
			if degree, before := out.Degree(to), was.Degree(graph.Vertex(x)); degree > 0 && before > 0 {
				rank *= float64(degree) / float64(before)
			}
			carried[to] = rank
		}
		all[which] = carried
	})
	return Result{Client: all[client], Server: all[server], Hosts: v.Len()}
}

// leaving are the rows over which a rank leaves its vertex.
func leaving(v *graph.View, which int) graph.Rows {
	return [2]graph.Rows{server: v.Out, client: v.In}[which]
}

// Resume ranks a view from ranks that are near, mostly those of the last epoch
// through Carry: plain, and with seeds also seeded. It overwrites their arrays
// with the new ranks and returns them; where there is nothing to start from,
// any ranks will do. Supersteps counts the sweeps of the slower rank, each over
// the links between hosts that are no leaves.
//
// The ranks are within Tolerance·d/(1-d) of the exact ones in L1, as stopping
// Run by Tolerance guarantees, down to what float64 can show; Delta is what
// was reached in the same measure: the error is at most Delta·d/(1-d). Bits
// depend on the arguments alone, not on Workers.
//
// Counted in averages, the ranks z = n·rank of equations (2) and (3), with W
// weighing hosts and D dangling mass, are
//
//	z = Y(W) + κ·Y(D),  Y(w) = (1-d)·n·w + d·Ã·Y(w),  κ = d·dangling(z) / ((1-d)·n)
//
// where Ã carries ranks over links and loses what dangles. If y's residual in
// Y's equation is r, then ‖y - Y‖₁ = ‖Σ (d·Ã)^k·r‖₁ ≤ ‖r‖₁/(1-d), as no column of
// Ã sums to more than 1.
func Resume(v *graph.View, plain, seeded Result, p Params) (newPlain, newSeeded Result, err error) {
	if err := checkResume(v, plain, seeded, p); err != nil {
		return Result{}, Result{}, err
	}
	if p.Workers <= 0 {
		p.Workers = runtime.GOMAXPROCS(0)
	}
	w, core := newWeights(v, p), newCore(v, p.Workers)
	newPlain = Result{Client: plain.Client, Server: plain.Server, Hosts: v.Len()}
	if len(p.Seeds) > 0 {
		newSeeded = Result{Client: seeded.Client, Server: seeded.Server, Hosts: v.Len()}
	}
	for which := range 2 {
		r := core.reduce(v, which, p.Damping)
		even := r.approximate(newPlain.of(which), nil, weights{rest: 1}, &p)
		if len(p.Seeds) > 0 {
			rest := &even
			if p.DanglingW {
				rest = nil
			}
			y := r.approximate(newSeeded.of(which), rest, w, &p)
			r.finish(&newSeeded, &y, rest)
		}
		r.finish(&newPlain, &even, nil)
	}
	return newPlain, newSeeded, nil
}

func (r Result) of(which int) []float64 {
	return [2][]float64{server: r.Server, client: r.Client}[which]
}

func checkResume(v *graph.View, plain, seeded Result, p Params) error {
	for s := range flow.Shards {
		if !v.Owned(flow.Shard(s)) {
			return fmt.Errorf("rank: shard %d of the view is another node's", s)
		}
	}
	if p.Iterations > 0 {
		return fmt.Errorf("rank: resume for %d iterations: want a tolerance", p.Iterations)
	}
	fits := func(r Result) bool { return len(r.Server) == v.Len() && len(r.Client) == v.Len() }
	if !fits(plain) || len(p.Seeds) > 0 && !fits(seeded) {
		return fmt.Errorf("rank: resume from %d and %d ranks: the view has %d vertices", len(plain.Server), len(seeded.Server), v.Len())
	}
	for _, x := range p.Seeds {
		if int(x) >= v.Len() {
			return fmt.Errorf("rank: seed %d: the view has %d vertices", x, v.Len())
		}
	}
	return p.Validate()
}

// solution approximates Y(w).
type solution struct {
	y      []float64
	norm   float64 // ‖r‖₁
	sweeps int
}

// approximate makes y of ranks, in their place: n·ranks less what is dangling
// mass's, and solves from there. Rest is Y(D); nil means D = W.
func (r *reduced) approximate(ranks []float64, rest *solution, w weights, p *Params) solution {
	n := float64(len(ranks))
	kappa := r.d / (1 - r.d) * r.dangling(ranks)
	r.core.each(func(_, lo, hi int) {
		for x := lo; x < hi; x++ {
			if ranks[x] *= n; rest != nil {
				ranks[x] -= float64(kappa * rest.y[x])
			} else {
				ranks[x] /= 1 + kappa
			}
		}
	})
	// finish's bound is d·tolerance/(1-d) if all norms are at most this, as
	// κ ≤ d/(1-d), which is the case of all mass dangling.
	goal := r.d * (1 - r.d) * p.Tolerance * n / 2
	norm, sweeps := r.solve(ranks, r.weigh(w), w, goal, p.limit())
	return solution{ranks, norm, sweeps}
}

// finish makes ranks z/‖z‖₁ of z = y + κ·rest, in y's place. By the choice of κ,
// z's residual in the whole equation is the same sum of residuals. So z is wrong
// by at most e = (‖r‖₁ + κ·‖rest's r‖₁)/(1-d), its sum by no more, and z/‖z‖₁ by
// at most 2·e/n.
func (r *reduced) finish(result *Result, y, rest *solution) {
	if rest == nil {
		rest = y
	}
	n, q := float64(len(y.y)), r.d/(1-r.d)
	kappa := q * r.dangling(y.y) / (n - q*r.dangling(rest.y))
	sum := r.core.sum(func(_, lo, hi int) (sum float64) {
		for x := lo; x < hi; x++ {
			y.y[x] += float64(kappa * rest.y[x])
			sum += y.y[x]
		}
		return sum
	})
	r.core.each(func(_, lo, hi int) {
		for x := lo; x < hi; x++ {
			y.y[x] /= sum
		}
	})
	if r.d > 0 {
		bound := 2 * (y.norm + kappa*rest.norm) / ((1 - r.d) * n)
		result.Delta = max(result.Delta, bound/q)
	}
	result.Supersteps = max(result.Supersteps, y.sweeps, rest.sweeps)
}

// weights are n·W.
type weights struct {
	seeds    []graph.Vertex // ascending
	rest, of float64        // of another host, of a seed
}

func newWeights(v *graph.View, p Params) weights {
	w := weights{seeds: slices.Clone(p.Seeds), rest: 1 - p.Lambda}
	slices.Sort(w.seeds)
	w.seeds = slices.Compact(w.seeds)
	w.of = w.rest + float64(p.Lambda*float64(v.Len())/float64(max(1, len(w.seeds))))
	return w
}

func (w weights) at(x graph.Vertex) float64 {
	if len(w.seeds) > 0 {
		if _, ok := slices.BinarySearch(w.seeds, x); ok {
			return w.of
		}
	}
	return w.rest
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
