package core

import (
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"

	"github.com/flowhound/flowhound/detector/graph"
)

// DefaultCaps are the degree caps of MCNC.
var DefaultCaps = []uint32{6, 8, 11, 16, 23, 32, 45, 64, 90, 128, 181, 256, 362, 512, 1024, 2048}

// Params are the parameters of Contrast.
type Params struct {
	Caps []uint32 // ascending; nil means DefaultCaps
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
	r := Result{
		Score: make([]float64, n), Cap: make([]uint32, n), Core: make([]uint32, n),
		Caps: slices.Clone(p.Caps),
	}
	if p.Caps == nil {
		r.Caps = slices.Clone(DefaultCaps)
	}
	slices.Sort(r.Caps)
	if p.Workers <= 0 {
		p.Workers = runtime.GOMAXPROCS(0)
	}
	rows := v.Undirected().Out
	r.Null = make([]uint32, len(r.Caps))
	null := nullRows(rows, n, p.Seed)
	linked := leastLinked(null, n)
	newCapped(null, n).each(r.Caps, p.Workers, func(i int, _ []graph.Vertex, cores []uint32) {
		if r.Caps[i] >= linked {
			r.Null[i] = max(1, slices.Max(append(cores, 0)))
		}
	})
	newCapped(rows, n).each(r.Caps, p.Workers, func(i int, hosts []graph.Vertex, cores []uint32) {
		for at, k := range cores {
			x := hosts[at]
			if s := float64(k) / float64(r.Null[i]+1); k >= 2 && s > r.Score[x] {
				r.Score[x], r.Cap[x], r.Core[x] = s, r.Caps[i], k
			}
		}
	})
	for x, tie := range p.Tie {
		r.Score[x] += 1e-3 * tie / (1 + tie)
	}
	return r
}

// nullRows returns a random undirected simple graph whose degrees are those of
// rows, but for the few links that would have been loops or doubles: the
// links' ends are shuffled and paired (configuration model).
func nullRows(rows graph.Rows, n int, seed uint64) graph.Rows {
	ends := make([]uint32, 0, len(rows.Col))
	for x := range n {
		for range rows.Degree(graph.Vertex(x)) {
			ends = append(ends, uint32(x))
		}
	}
	rng := rand.New(rand.NewPCG(seed, 0x6e756c6c))
	rng.Shuffle(len(ends), func(i, j int) { ends[i], ends[j] = ends[j], ends[i] })
	half := len(ends) / 2
	src, dst := make([]uint32, 0, len(ends)), make([]uint32, 0, len(ends))
	src = append(append(src, ends[:half]...), ends[half:2*half]...)
	dst = append(append(dst, ends[half:2*half]...), ends[:half]...)
	return graph.NewRows(n, src, dst)
}

// leastLinked returns the least cap at which a link remains.
func leastLinked(rows graph.Rows, n int) uint32 {
	least := uint32(math.MaxUint32)
	for x := range graph.Vertex(n) {
		for _, y := range rows.Of(x) {
			least = min(least, max(rows.Degree(x), rows.Degree(y)))
		}
	}
	return least
}

// capped is an undirected graph reduced to its 2-core, with the degrees of the
// whole graph. A vertex outside of the 2-core has a core below 2 at every cap,
// and most hosts are such.
type capped struct {
	rows   graph.Rows
	hosts  []graph.Vertex // by vertex of rows: the vertex of the whole graph
	degree []uint32       // in the whole graph
}

func newCapped(rows graph.Rows, n int) *capped {
	var p peeler
	cores := p.peel(rows, n, nil, 0)
	c := &capped{}
	number := make([]graph.Vertex, n)
	links := 0
	for x, k := range cores {
		if k >= 2 {
			number[x] = graph.Vertex(len(c.hosts))
			c.hosts = append(c.hosts, graph.Vertex(x))
			c.degree = append(c.degree, rows.Degree(graph.Vertex(x)))
			links += len(rows.Of(graph.Vertex(x)))
		}
	}
	c.rows.Start = make([]uint32, 1, len(c.hosts)+1)
	c.rows.Col = make([]graph.Vertex, 0, links)
	for _, x := range c.hosts {
		for _, y := range rows.Of(x) {
			if cores[y] >= 2 {
				c.rows.Col = append(c.rows.Col, number[y])
			}
		}
		c.rows.Start = append(c.rows.Start, uint32(len(c.rows.Col)))
	}
	return c
}

// each peels the graph at every cap, several caps at once, and calls f with the
// core numbers for one cap after the other, in order.
func (c *capped) each(caps []uint32, workers int, f func(i int, hosts []graph.Vertex, cores []uint32)) {
	peelers := make([]peeler, min(workers, len(caps)))
	for first := 0; first < len(caps); first += len(peelers) {
		group := caps[first:min(len(caps), first+len(peelers))]
		var wait sync.WaitGroup
		for i, limit := range group {
			wait.Go(func() {
				peelers[i].peel(c.rows, len(c.hosts), c.degree, limit)
			})
		}
		wait.Wait()
		for i := range group {
			f(first+i, c.hosts, peelers[i].degree)
		}
	}
}
