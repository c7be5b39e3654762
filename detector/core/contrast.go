package core

import (
	"runtime"
	"slices"
	"sync"

	"github.com/flowhound/flowhound/detector/graph"
	"github.com/flowhound/flowhound/internal/huge"
)

// DefaultCaps are the degree caps of MCNC.
var DefaultCaps = []uint16{6, 8, 11, 16, 23, 32, 45, 64, 90, 128, 181, 256, 362, 512, 1024, 2048}

// Params are the parameters of Contrast.
type Params struct {
	Caps []uint16 // none means DefaultCaps
	Seed uint64   // of the null graph
	// Tie orders hosts of equal contrast: n times the undirected rank of each
	// vertex, d = 0.5. Nil adds nothing.
	Tie     []float64
	Workers int // goroutines; 0 means GOMAXPROCS
}

// Result is the contrast of every vertex.
type Result struct {
	// Score is the largest core/(null+1) over the caps at which the vertex has
	// a core of at least 2, 0 if there is none; plus x/1000/(1+x) for x = Tie.
	Score []float64
	Cap   []uint16 // the least cap at which Score was reached, 0 if there is none
	Core  []uint16 // the vertex's core number at that cap
	Caps  []uint16 // ascending
	Null  []uint16 // per cap, the largest core of the null graph
}

// NullAt returns the largest core of the null graph at a cap of the result.
func (r *Result) NullAt(limit uint16) uint16 {
	if i := slices.Index(r.Caps, limit); i >= 0 {
		return r.Null[i]
	}
	return 0
}

// Contrast returns the multi-cap null-contrasted coreness of each vertex: at
// each cap, coreness among the hosts with no more neighbours than the cap,
// against the best that a random graph of the same degrees has to show. It is
// a function of the undirected graph, its canonical order and the seed.
func Contrast(v *graph.View, p Params) Result {
	n := v.Len()
	r := Result{Caps: slices.Clone(p.Caps)}
	if len(r.Caps) == 0 {
		r.Caps = slices.Clone(DefaultCaps)
	}
	slices.Sort(r.Caps)
	if p.Workers <= 0 {
		p.Workers = runtime.GOMAXPROCS(0)
	}
	g := rows{v.Rows}
	nulls := make(chan []uint16, 1)
	go func() { nulls <- nullCores(g, p.Seed, r.Caps, p.Workers) }()
	begin := sync.OnceFunc(func() {
		r.Null = <-nulls
		runtime.GC() // the result takes the null graph's place
		r.Score, r.Cap, r.Core = huge.Make[float64](n), huge.Make[uint16](n), huge.Make[uint16](n)
	})
	cores(g, r.Caps, func(k uint16, hosts []graph.Vertex, least []uint16) {
		begin()
		r.improve(k, hosts, least)
	})
	begin() // if there are no cores
	for x, tie := range p.Tie {
		r.Score[x] += 1e-3 * tie / (1 + tie)
	}
	return r
}

// improve compares the scores so far with those of the k-core, whose hosts have
// their best at the least cap, where the null graph's core is smallest. Of equal
// scores that of the smaller core was reached at the lesser cap.
func (r *Result) improve(k uint16, hosts []graph.Vertex, least []uint16) {
	for _, x := range hosts {
		i := least[x]
		if score := float64(k) / (float64(r.Null[i]) + 1); score > r.Score[x] {
			r.Score[x], r.Cap[x], r.Core[x] = score, r.Caps[i], k
		}
	}
}
