package core

import (
	"math"
	"math/rand/v2"
	"runtime"
	"slices"

	"github.com/flowhound/flowhound/detector/graph"
)

// DefaultCaps are the degree caps of MCNC.
var DefaultCaps = []uint32{6, 8, 11, 16, 23, 32, 45, 64, 90, 128, 181, 256, 362, 512, 1024, 2048}

// Params are the parameters of Contrast.
type Params struct {
	Caps []uint32 // none means DefaultCaps
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
	Cap   []uint32 // the least cap at which Score was reached, 0 if there is none
	Core  []uint32 // the vertex's core number at that cap
	Caps  []uint32 // ascending
	Null  []uint32 // per cap, the largest core of the null graph
}

// NullAt returns the largest core of the null graph at a cap of the result.
func (r *Result) NullAt(limit uint32) uint32 {
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
	rows := v.Rows
	nulls := make(chan uint32, len(r.Caps)) // descending, as hosts need them
	go nullCores(rows, n, p.Seed, r.Caps, p.Workers, nulls)
	r.Null = make([]uint32, len(r.Caps))
	hosts := newAscending(rows, n, slices.Max(r.Caps), p.Workers)
	best := make([]contrast, len(hosts.hosts))
	hosts.descend(r.Caps, func(i int, within []level) {
		r.Null[i] = <-nulls
		for x, l := range within {
			// Of equal ones the least cap counts, which comes last.
			if score := float64(l.core) / float64(r.Null[i]+1); l.core >= 2 && score >= best[x].score {
				best[x] = contrast{score, r.Caps[i], l.core}
			}
		}
	})
	r.Score, r.Cap, r.Core = make([]float64, n), make([]uint32, n), make([]uint32, n)
	for i, x := range hosts.hosts {
		r.Score[x], r.Cap[x], r.Core[x] = best[i].score, best[i].limit, best[i].core
	}
	for x, tie := range p.Tie {
		r.Score[x] += 1e-3 * tie / (1 + tie)
	}
	return r
}

// contrast is the best score of a host so far, and where it has it.
type contrast struct {
	score       float64
	limit, core uint32
}

// nullCores sends the largest core of the null graph at each cap, the largest cap
// first: 1 where there are links, but no ring of them.
func nullCores(rows graph.Rows, n int, seed uint64, caps []uint32, workers int, nulls chan<- uint32) {
	null := nullRows(rows, n, seed)
	linked := leastLinked(null, n, caps[0])
	newAscending(null, n, slices.Max(caps), workers).descend(caps, func(i int, within []level) {
		largest := uint32(0)
		for _, l := range within {
			largest = max(largest, l.core)
		}
		if caps[i] >= linked {
			largest = max(largest, 1)
		}
		nulls <- largest
	})
}

// nullRows returns a random undirected simple graph whose degrees are those of
// rows, but for the few links that would have been loops or doubles: the
// links' ends are shuffled and paired (configuration model).
func nullRows(rows graph.Rows, n int, seed uint64) graph.Rows {
	ends := make([]uint32, 0, len(rows.Peers))
	for x := range n {
		for range rows.Degree(graph.Vertex(x)) {
			ends = append(ends, uint32(x))
		}
	}
	rng := rand.New(rand.NewPCG(seed, 0x6e756c6c))
	rng.Shuffle(len(ends), func(i, j int) { ends[i], ends[j] = ends[j], ends[i] })
	half := len(ends) / 2
	return graph.NewRows(n, ends[:half], ends[half:2*half])
}

// leastLinked returns the least cap at which a link remains, or enough if it is
// no more than that.
func leastLinked(rows graph.Rows, n int, enough uint32) uint32 {
	least := uint32(math.MaxUint32)
	for x := range graph.Vertex(n) {
		for _, p := range rows.Of(x) {
			y := p.Vertex()
			if least = min(least, max(rows.Degree(x), rows.Degree(y))); least <= enough {
				return enough
			}
		}
	}
	return least
}
