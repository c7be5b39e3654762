// Package rank computes the client rank and the server rank of every host, in
// one superstep per iteration, as specified in BotCloud (François et al. 2011)
// §IV-B, equations 2 and 3.
package rank

import "github.com/flowhound/flowhound/detector/graph"

// Precision says how the shares that vertices read from each other are kept.
type Precision uint8

// Precisions. Ranks and sums are float64 in both.
const (
	Double Precision = iota // float64 shares: the verification mode
	Single                  // float32 shares: half the memory traffic
)

// Params are the parameters of a ranking.
type Params struct {
	Damping    float64        // d, 0 ≤ d < 1
	Iterations int            // exactly so many supersteps; 0 means until Tolerance
	Tolerance  float64        // stop when the L1 change of both ranks is below
	Seeds      []graph.Vertex // known bots; vertices of the view
	Lambda     float64        // share of W that the seeds get evenly, 0..1
	DanglingW  bool           // dangling mass follows W instead of being uniform
	Precision  Precision
	Workers    int // goroutines of Run; 0 means GOMAXPROCS
	// Progress, if set, is called after each superstep.
	Progress func(superstep int, delta float64)
}

// DefaultParams returns BotCloud's parameters: d = 0.5, W uniform, and a
// tolerance of 1e-9.
func DefaultParams() Params { return Params{Damping: 0.5, Tolerance: 1e-9, Lambda: 1} }

// Validate reports a parameter out of its range.
func (p Params) Validate() error { return nil }

// Result is a finished ranking. Each rank sums to 1 over the owned vertices of
// all nodes; foreign vertices have 0. Multiply by the number of hosts to get
// multiples of the average.
type Result struct {
	Client, Server []float64 // by vertex of the view
	Hosts          int       // n, over all nodes
	Supersteps     int
	Delta          float64 // L1 change of the last superstep, the larger of the two
}

// Run ranks a view whose node owns every shard.
func Run(v *graph.View, p Params) (Result, error) { panic("BUG: not written") }
