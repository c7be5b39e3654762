package rank

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/flowhound/flowhound/detector/graph"
)

// randomLinks returns links with hubs, among n vertices some of which may have
// none.
func randomLinks(rng *rand.Rand, n, links int) (src, dst []uint32) {
	for range links {
		src = append(src, uint32(rng.IntN(n)))
		dst = append(dst, uint32(float64(n)*math.Pow(rng.Float64(), 3)))
		if rng.IntN(3) == 0 {
			src, dst = append(src, dst[len(dst)-1]), append(dst, src[len(src)-1])
		}
	}
	return src, dst
}

func mustRun(t testing.TB, v *graph.View, p Params) Result {
	t.Helper()
	return mustRunAll(t, v, p)[0]
}

func mustRunAll(t testing.TB, v *graph.View, p Params) []Result {
	t.Helper()
	rs, err := Run(v, p)
	if err != nil {
		t.Fatal(err)
	}
	if want := len(p.weights()); len(rs) != want {
		t.Fatalf("got %d results of %d weights", len(rs), want)
	}
	return rs
}

// same reports whether two results are equal to the last bit.
func same(a, b Result) bool {
	return slices.Equal(a.Client, b.Client) && slices.Equal(a.Server, b.Server) &&
		a.Hosts == b.Hosts && a.Supersteps == b.Supersteps && a.Delta == b.Delta
}

// distance returns the greatest relative difference of two vectors.
func distance(a, b []float64) (worst float64) {
	for i := range a {
		if a[i] != b[i] {
			worst = max(worst, math.Abs(a[i]-b[i])/math.Abs(b[i]))
		}
	}
	return worst
}

func l1(a, b []float64) (d float64) {
	for i := range a {
		d += math.Abs(a[i] - b[i])
	}
	return d
}

func sum(a []float64) (s float64) {
	for _, x := range a {
		s += x
	}
	return s
}

// variants are the parameters that change a ranking's formula.
func variants(seeds []graph.Vertex) (all []Params) {
	for _, lambda := range []float64{0, 0.3, 1} {
		for _, danglingW := range []bool{false, true} {
			for _, seeds := range [][]graph.Vertex{nil, seeds} {
				for _, stop := range []Params{{Iterations: 7}, {Tolerance: 1e-12}} {
					for _, precision := range []Precision{Double, Single} {
						stop.Damping, stop.DanglingW, stop.Precision = 0.5, danglingW, precision
						stop.Weights = []Weight{{seeds, lambda}}
						all = append(all, stop)
					}
				}
			}
		}
	}
	return all
}

// bound is the error that a precision may have per superstep: a float32 share
// is off by at most 2^-24 of its value, and what it becomes part of likewise.
func bound(p Params) float64 {
	if p.Precision == Single {
		return 1.0 / (1 << 24)
	}
	return 1e-15
}

// Run computes what the definition says, and its ranks sum to 1.
func TestRunAgainstDefinition(t *testing.T) {
	for seed := range uint64(10) {
		rng := rand.New(rand.NewPCG(seed, 1))
		n := 1 + rng.IntN(300)
		src, dst := randomLinks(rng, n, 3*n)
		v := graph.FromLinks(n, src, dst)
		for i, p := range variants([]graph.Vertex{graph.Vertex(rng.IntN(n)), 0, 0}) {
			got, want := mustRun(t, v, p), Reference(v, p)[0]
			client, server, most := distance(got.Client, want.Client), distance(got.Server, want.Server), 10*bound(p)
			if p.Iterations == 0 { // each stops where its own last change was small
				client, server, most = l1(got.Client, want.Client), l1(got.Server, want.Server), 2*p.Tolerance+3*bound(p)
			}
			if client > most || server > most {
				t.Errorf("seed %d variant %d: got errors %g and %g, want at most %g", seed, i, client, server, most)
			}
			if s, c := sum(got.Server), sum(got.Client); math.Abs(s-1) > 1e-12 || math.Abs(c-1) > 1e-12 {
				t.Errorf("seed %d variant %d: sums are 1%+g and 1%+g", seed, i, s-1, c-1)
			}
			if p.Iterations > 0 && got.Supersteps != p.Iterations {
				t.Errorf("seed %d variant %d: got %d supersteps, want %d", seed, i, got.Supersteps, p.Iterations)
			}
		}
	}
}

// Rankings by several weights are those by each alone, to the last bit, though
// they end at different supersteps.
func TestWeightsLeaveNoTrace(t *testing.T) {
	ends := map[bool]int{}
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 5))
		n := 2 + rng.IntN(20_000)
		src, dst := randomLinks(rng, n, 3*n)
		v := graph.FromLinks(n, src, dst)
		for _, p := range variants(nil)[:4] {
			p.Tolerance, p.Memory = p.Tolerance*1e3, new(Memory)
			seeds := []graph.Vertex{graph.Vertex(rng.IntN(n)), graph.Vertex(rng.IntN(n))}
			p.Weights = []Weight{{}, {seeds, 1}, {seeds[:1], rng.Float64()}, {seeds, 0}}
			all := mustRunAll(t, v, p)
			for w, alone := range p.Weights {
				p := p
				p.Weights = []Weight{alone}
				if want := mustRun(t, v, p); !same(all[w], want) {
					t.Fatalf("seed %d: ranks of weight %d, after %d supersteps, differ from those alone, after %d",
						seed, w, all[w].Supersteps, want.Supersteps)
				}
				ends[all[w].Supersteps == all[0].Supersteps]++
			}
		}
	}
	if ends[false] < 20 {
		t.Errorf("%d rankings ended at another superstep than the first of their run, want some", ends[false])
	}
}

// The one rank of an undirected ranking is both of those that are computed
// apart, to the last bit, and those of the definition.
func TestUndirectedRanksAreTheSame(t *testing.T) {
	for seed := range uint64(3) {
		rng := rand.New(rand.NewPCG(seed, 7))
		n := 1 + rng.IntN(3000)
		src, dst := randomLinks(rng, n, 3*n)
		v := graph.FromLinks(n, src, dst)
		u := v.Undirected()
		all := variants([]graph.Vertex{0, graph.Vertex(rng.IntN(n))})
		for i := int(seed); i < len(all); i += 3 {
			p := all[i]
			p.Memory, p.Undirected = new(Memory), true
			p.Weights = append(p.Weights, Weight{})
			once := append(mustRunAll(t, v, p), mustRunAll(t, u, p)...)
			p.Undirected = false
			apart := mustRunAll(t, u, p)
			for w, got := range once {
				if want := apart[w%len(apart)]; !same(got, want) {
					t.Fatalf("seed %d variant %d ranking %d: one rank, after %d supersteps, differs from both, after %d",
						seed, i, w, got.Supersteps, want.Supersteps)
				}
				if &got.Client[0] != &got.Server[0] {
					t.Fatalf("seed %d variant %d ranking %d: client and server rank are two slices", seed, i, w)
				}
			}
			p.Undirected = true
			if got, want := once[0], Reference(v, p)[0]; Distance(got, want) > 2*p.Tolerance+10*bound(p) {
				t.Errorf("seed %d variant %d: the error is %g", seed, i, Distance(got, want))
			}
		}
	}
}

// Reversing all links swaps the two ranks, to the last bit.
func TestReversalSwapsRanks(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	src, dst := randomLinks(rng, 20_000, 60_000)
	p := DefaultParams()
	a, b := mustRun(t, graph.FromLinks(20_000, src, dst), p), mustRun(t, graph.FromLinks(20_000, dst, src), p)
	if !slices.Equal(a.Client, b.Server) || !slices.Equal(a.Server, b.Client) {
		t.Error("ranks of the reversed graph are not the ranks swapped")
	}
}

// Renaming the hosts renames the ranks: what pseudonyms rely on.
func TestRelabellingPermutesRanks(t *testing.T) {
	for seed := range uint64(10) {
		rng := rand.New(rand.NewPCG(seed, 2))
		n := 2 + rng.IntN(500)
		src, dst := randomLinks(rng, n, 4*n)
		name := rng.Perm(n)
		renamed := func(xs []uint32) (ys []uint32) {
			for _, x := range xs {
				ys = append(ys, uint32(name[x]))
			}
			return ys
		}
		a, b := mustRun(t, graph.FromLinks(n, src, dst), DefaultParams()), mustRun(t, graph.FromLinks(n, renamed(src), renamed(dst)), DefaultParams())
		for x := range n {
			if d := math.Abs(a.Client[x]-b.Client[name[x]]) + math.Abs(a.Server[x]-b.Server[name[x]]); d > 1e-12 {
				t.Fatalf("seed %d vertex %d: got %g and %g, want %g and %g", seed, x, b.Client[name[x]], b.Server[name[x]], a.Client[x], a.Server[x])
			}
		}
	}
}

// The number of goroutines leaves no trace.
func TestWorkersLeaveNoTrace(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 1))
	src, dst := randomLinks(rng, 50_000, 150_000)
	v := graph.FromLinks(50_000, src, dst)
	for _, precision := range []Precision{Double, Single} {
		p := Params{Damping: 0.5, Tolerance: 1e-9, Precision: precision, Workers: 1}
		want := mustRun(t, v, p)
		p.Workers = 7
		got := mustRun(t, v, p)
		if !slices.Equal(got.Client, want.Client) || !slices.Equal(got.Server, want.Server) || got.Supersteps != want.Supersteps {
			t.Errorf("precision %d: ranks of 7 goroutines differ from those of 1", precision)
		}
	}
}

func TestEdgeCases(t *testing.T) {
	if r := mustRun(t, graph.FromLinks(0, nil, nil), DefaultParams()); r.Hosts != 0 || len(r.Client) != 0 {
		t.Errorf("empty view: got %+v", r)
	}
	r := mustRun(t, graph.FromLinks(3, nil, nil), DefaultParams())
	if !slices.Equal(r.Client, []float64{1. / 3, 1. / 3, 1. / 3}) {
		t.Errorf("no links: got %v, want a third each", r.Client)
	}
	f := func(change func(*Params)) {
		t.Helper()
		p := DefaultParams()
		change(&p)
		if _, err := Run(graph.FromLinks(3, nil, nil), p); err == nil {
			t.Errorf("%+v: got no error", p)
		} else {
			t.Log(err)
		}
	}
	f(func(p *Params) { p.Damping = 1 })
	f(func(p *Params) { p.Damping = math.NaN() })
	f(func(p *Params) { p.Weights = []Weight{{}, {Lambda: -1}} })
	f(func(p *Params) { p.Tolerance = 0 })
	f(func(p *Params) { p.Iterations = -1 })
	f(func(p *Params) { p.Weights = []Weight{{}, {Seeds: []graph.Vertex{3}}} })
}

// An unreachable tolerance ends at the bound of d^t.
func TestLimit(t *testing.T) {
	v := graph.FromLinks(2, []uint32{0}, []uint32{1})
	for _, d := range []float64{0, 0.5, 0.85} {
		r := mustRun(t, v, Params{Damping: d, Tolerance: 1e-300})
		if want := Reference(v, Params{Damping: d, Iterations: 2000})[0]; distance(r.Client, want.Client) > 1e-15 {
			t.Errorf("d %v: got %v after %d supersteps, want %v", d, r.Client, r.Supersteps, want.Client)
		}
	}
}
