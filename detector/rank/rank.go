// Package rank computes the client rank and the server rank of every host, in
// one superstep per iteration and for several weights W at once, as specified in
// BotCloud (François et al. 2011) §IV-B, equations 2 and 3.
//
// The server rank flows along the links, the client rank against them; the
// paper calls them authority and hub rank. Every sum has a canonical order (a
// row's in the order of the view, a reduction's by block, then by shard), so
// ranks are the same to the last bit for any number of nodes and goroutines.
package rank

import (
	"fmt"
	"math"

	"github.com/flowhound/flowhound/detector/graph"
	"github.com/flowhound/flowhound/internal/flow"
)

// Precision says how the shares that vertices read from each other are kept.
type Precision uint8

// Precisions. Ranks and sums are float64 in both.
const (
	Double Precision = iota // float64 shares: the verification mode
	Single                  // float32 shares: half the memory traffic
)

// Params are the parameters of a ranking.
type Params struct {
	Damping    float64 // d, 0 ≤ d < 1
	Iterations int     // exactly so many supersteps; 0 means until Tolerance
	// Tolerance ends the ranking when the L1 change of each rank is below. In
	// any case it ends when d^t shows that nothing more can change.
	Tolerance float64
	// Weights has a W for each pair of ranks to compute; nil means one, uniform.
	Weights   []Weight
	DanglingW bool // dangling mass follows W instead of being uniform
	// Undirected means that directions of links do not count. The client and the
	// server rank are then the same, and computed once.
	Undirected bool
	Precision  Precision
	Workers    int // goroutines of a superstep; 0 means GOMAXPROCS
	// Memory, if set, is used again instead of allocating. Rankings of one view
	// after the other then share the preparation.
	Memory *Memory
	// Progress, if set, is called by Run after each superstep.
	Progress func(superstep int)
}

// DefaultParams returns BotCloud's parameters: d = 0.5, a uniform W, and a
// tolerance of 1e-9.
func DefaultParams() Params { return Params{Damping: 0.5, Tolerance: 1e-9} }

// Validate reports a parameter out of its range.
func (p Params) Validate() error {
	switch {
	case !(p.Damping >= 0 && p.Damping < 1):
		return fmt.Errorf("rank: damping %v: want 0 ≤ d < 1", p.Damping)
	case p.Iterations < 0:
		return fmt.Errorf("rank: iterations %d: want 0 or more", p.Iterations)
	case p.Iterations == 0 && !(p.Tolerance > 0):
		return fmt.Errorf("rank: tolerance %v: want more than 0", p.Tolerance)
	case p.Precision > Single:
		return fmt.Errorf("rank: precision %d: want Double or Single", p.Precision)
	}
	for _, w := range p.Weights {
		if !(w.Lambda >= 0 && w.Lambda <= 1) {
			return fmt.Errorf("rank: lambda %v: want 0 to 1", w.Lambda)
		}
	}
	return nil
}

// checkFor reports a parameter out of its range for a view.
func (p Params) checkFor(v *graph.View) error {
	for _, w := range p.Weights {
		for _, x := range w.Seeds {
			if int(x) >= v.Len() {
				return fmt.Errorf("rank: seed %d: the view has %d vertices", x, v.Len())
			}
		}
	}
	return p.Validate()
}

// limit returns the superstep at which a ranking ends at the latest: the L1
// distance from the fixed point is at most 2·d^t, and below 1e-17 it no longer
// shows in a float64.
func (p Params) limit() int {
	if p.Iterations > 0 {
		return p.Iterations
	}
	if p.Damping == 0 {
		return 1
	}
	return int(math.Ceil(math.Log(1e-17/2)/math.Log(p.Damping))) + 1
}

// Result is a finished ranking by one weight. Each rank sums to 1 over the owned
// vertices of all nodes; foreign vertices have 0. Multiply by Hosts to get
// multiples of the average.
type Result struct {
	Client, Server []float64 // by vertex of the view; one slice if Undirected
	Hosts          int       // n, over all nodes
	Supersteps     int
	Delta          float64 // L1 change of the last superstep, the larger of the two
}

// Run ranks a view whose node owns every shard. The results, by weight, are those
// of a run for each weight alone.
func Run(v *graph.View, p Params) ([]Result, error) {
	for s := range flow.Shards {
		if !v.Owned(flow.Shard(s)) {
			return nil, fmt.Errorf("rank: shard %d of the view is another node's", s)
		}
	}
	m, err := NewMachine(v, Config{Params: p})
	if err != nil {
		return nil, err
	}
	for {
		ready, err := m.Step(Event{})
		if err != nil {
			return nil, err
		}
		if p.Progress != nil && ready.Superstep > 0 {
			p.Progress(ready.Superstep)
		}
		if ready.Done {
			return m.Results(), nil
		}
	}
}
