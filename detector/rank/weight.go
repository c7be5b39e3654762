package rank

import (
	"slices"

	"github.com/flowhound/flowhound/detector/graph"
	"github.com/flowhound/flowhound/internal/flow"
)

// Weight is a W of equations 2 and 3: the share of every rank that each host gets
// without a link. The zero value is uniform, and so is one without seeds.
type Weight struct {
	Seeds  []graph.Vertex // known bots; vertices of the view, in any order
	Lambda float64        // what of W the seeds get, evenly, 0..1; all hosts get the rest
}

// weights returns one W at least.
func (p Params) weights() []Weight {
	if len(p.Weights) == 0 {
		return make([]Weight, 1)
	}
	return p.Weights
}

// weight is a W among the nodes.
type weight struct {
	lambda float64
	seed   []uint64         // a bit per vertex; nil if this node has no seed
	seeds  [flow.Shards]int // of the owned shards
	all    int              // seeds of the owned shards in round 0, then over all nodes
}

func newWeight(v *graph.View, given Weight) weight {
	w := weight{lambda: given.Lambda}
	seeds := slices.Clone(given.Seeds)
	slices.Sort(seeds)
	for _, x := range slices.Compact(seeds) {
		shard := v.ShardOf(x)
		if !v.Owned(shard) {
			continue
		}
		if w.seed == nil {
			w.seed = make([]uint64, v.Len()/64+1)
		}
		w.seed[x/64] |= 1 << (x % 64)
		w.seeds[shard]++
		w.all++
	}
	return w
}

// isSeed returns 1 of a seed and 0 of another host.
func (w *weight) isSeed(x graph.Vertex) int {
	if w.seed == nil {
		return 0
	}
	return int(w.seed[x/64] >> (x % 64) & 1)
}

// parts returns W of other hosts and of seeds, given the hosts of all nodes.
func (w *weight) parts(hosts int) (parts [2]float64) {
	n := float64(hosts)
	if w.all == 0 {
		return [2]float64{1 / n, 1 / n}
	}
	rest := (1 - w.lambda) / n
	return [2]float64{rest, rest + w.lambda/float64(w.all)}
}

// update is how a superstep makes new ranks by one weight: base + scale·sum of a
// row, by rank (server, client).
type update struct {
	scale [2]float64
	base  [2][2]float64 // for other hosts and for seeds
}

// update returns base = (1-d)·W + d·(dangling mass's part) and scale, which is
// d but for the mass that rounding shares to float32 took or added: correcting
// it keeps the sum of the ranks at 1, and ranks of 0 at 0.
func (w *weight) update(params *Params, hosts int, t WeightSums) *update {
	u := new(update)
	parts := w.parts(hosts)
	for which := range u.base {
		if t.Mass[which] > 0 {
			u.scale[which] = params.Damping * (1 - t.Dangling[which]) / t.Mass[which]
		}
		for seed, w := range parts {
			dangles := 1 / float64(hosts)
			if params.DanglingW {
				dangles = w
			}
			u.base[which][seed] = float64((1-params.Damping)*w) + float64(params.Damping*t.Dangling[which]*dangles)
		}
	}
	return u
}

// firstUpdate makes every rank the average.
func firstUpdate(hosts int) *update {
	each := [2]float64{1 / float64(hosts), 1 / float64(hosts)}
	return &update{base: [2][2]float64{each, each}}
}
