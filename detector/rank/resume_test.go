package rank

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/flowhound/flowhound/detector/graph"
)

// exact returns rankings by the definition, up to rounding.
func exact(v *graph.View, p Params) []Result {
	p.Iterations = int(math.Ceil(math.Log(1e-17)/math.Log(p.Damping))) + 2
	return Reference(v, p)
}

func cloneResult(r Result) Result {
	r.Client, r.Server = slices.Clone(r.Client), slices.Clone(r.Server)
	return r
}

func mustResume(t testing.TB, v *graph.View, starts []Result, p Params) []Result {
	t.Helper()
	rs, err := Resume(v, starts, p)
	if err != nil {
		t.Fatal(err)
	}
	return rs
}

// leafyLinks returns links of which many lead to hosts with no other: leaves
// that answer or not, pairs of hosts that talk to each other alone, and hosts
// that nobody talks to.
func leafyLinks(rng *rand.Rand, n int) (src, dst []uint32) {
	core := 1 + n/3
	src, dst = randomLinks(rng, core, 3*core)
	for x := core; x < n; x++ {
		y := rng.IntN(core)
		if rng.IntN(4) == 0 && x > core {
			y = x - 1
		}
		kind := rng.IntN(7) // 0 is no link
		if kind%3 != 0 || kind == 6 {
			src, dst = append(src, uint32(x)), append(dst, uint32(y))
		}
		if kind >= 3 {
			src, dst = append(src, uint32(y)), append(dst, uint32(x))
		}
	}
	name := rng.Perm(n)
	for i := range src {
		src[i], dst[i] = uint32(name[src[i]]), uint32(name[dst[i]])
	}
	return src, dst
}

// The error of every resumed ranking, against the definition, is within the
// bound that it states and within the one that its tolerance promises. Its
// ranks sum to 1, and it has the same bits alone and beside other weights, for
// any number of goroutines.
func TestResumeKeepsItsBound(t *testing.T) {
	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 6))
		n := 2 + rng.IntN(400)
		src, dst := leafyLinks(rng, n)
		old := graph.FromLinks(n, src, dst)
		for i := range src { // a tenth of the links change
			if rng.IntN(10) == 0 {
				dst[i] = uint32(rng.IntN(n))
			}
		}
		v := graph.FromLinks(n, src, dst)
		seeds := []graph.Vertex{graph.Vertex(rng.IntN(n)), graph.Vertex(rng.IntN(n)), 0}
		p := Params{
			Damping: []float64{0.5, 0.5, 0.85, 0.3}[seed%4], Tolerance: math.Pow(10, -1-float64(rng.IntN(11))),
			Weights: []Weight{{}, {seeds, rng.Float64()}}, DanglingW: seed%3 == 0, Workers: 1,
		}
		starts := Carry(v, old, exact(old, p))
		switch seed % 5 {
		case 0: // any start will do
			for x := range n {
				starts[0].Server[x], starts[1].Client[x] = rng.Float64(), rng.Float64()
			}
		case 1: // there was no seed
			starts[1] = Carry(v, old, make([]Result, 1))[0]
		}
		again := []Result{cloneResult(starts[0]), cloneResult(starts[1])}
		want := exact(v, p)
		got := mustResume(t, v, starts, p)
		alone := p
		alone.Workers, alone.Memory = 5, new(Memory)
		for w, r := range got {
			q := p.Damping / (1 - p.Damping)
			if e := Distance(r, want[w]); e > r.Delta*q+1e-14 {
				t.Errorf("seed %d weight %d d %v: error %g exceeds its bound %g", seed, w, p.Damping, e, r.Delta*q)
			}
			if r.Delta > p.Tolerance {
				t.Errorf("seed %d weight %d d %v: got delta %g after %d sweeps, want at most %g", seed, w, p.Damping, r.Delta, r.Supersteps, p.Tolerance)
			}
			if s, c := sum(r.Server), sum(r.Client); math.Abs(s-1) > 1e-13 || math.Abs(c-1) > 1e-13 {
				t.Errorf("seed %d weight %d: sums are 1%+g and 1%+g", seed, w, s-1, c-1)
			}
			alone.Weights = p.Weights[w : w+1]
			if !same(mustResume(t, v, again[w:w+1], alone)[0], r) {
				t.Errorf("seed %d weight %d: ranks differ alone, with 5 goroutines and a memory", seed, w)
			}
		}
	}
}

// Sums by chunk leave no trace of the goroutines either when there are many.
func TestResumeAgreesWithRun(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 6))
	src, dst := leafyLinks(rng, 60_000)
	old := graph.FromLinks(60_000, src, dst)
	src, dst = changeLinks(60_000, src, dst)
	v := graph.FromLinks(60_000, src, dst)
	p := DefaultParams()
	full, start := mustRun(t, v, p), Carry(v, old, mustRunAll(t, old, p))[0]
	var first Result
	for workers := range 4 {
		p.Workers = workers
		got := mustResume(t, v, []Result{cloneResult(start)}, p)[0]
		if d := Distance(got, full); d > 2*p.Tolerance {
			t.Errorf("a full ranking differs by %g, want at most %g", d, 2*p.Tolerance)
		}
		if workers == 0 {
			first = got
		} else if !slices.Equal(got.Client, first.Client) || !slices.Equal(got.Server, first.Server) {
			t.Errorf("ranks of %d goroutines differ", workers)
		}
		if got.Supersteps >= full.Supersteps {
			t.Errorf("%d sweeps, where %d supersteps rank from nothing", got.Supersteps, full.Supersteps)
		}
	}
}

func TestResumeRefuses(t *testing.T) {
	v := graph.FromLinks(3, []uint32{0}, []uint32{1})
	start := mustRunAll(t, v, DefaultParams())
	f := func(starts []Result, change func(*Params)) {
		t.Helper()
		p := DefaultParams()
		change(&p)
		if _, err := Resume(v, starts, p); err == nil {
			t.Errorf("%+v: got no error", p)
		} else {
			t.Log(err)
		}
	}
	f(nil, func(*Params) {})
	f(make([]Result, 1), func(*Params) {})
	f(start, func(p *Params) { p.Weights = make([]Weight, 2) })
	f(start, func(p *Params) { p.Weights = []Weight{{Seeds: []graph.Vertex{3}}} })
	f(start, func(p *Params) { p.Iterations = 4 })
	f(start, func(p *Params) { p.Undirected = true })
	f(start, func(p *Params) { p.Damping = 2 })
	if r, err := Resume(graph.FromLinks(0, nil, nil), make([]Result, 1), DefaultParams()); err != nil || r[0].Hosts != 0 {
		t.Errorf("empty view: got %+v, %v", r, err)
	}
}
