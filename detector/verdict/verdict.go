// Package verdict turns the ranks and cores of an epoch into suspects: hosts
// that stand out, grouped into clusters, each with its evidence in words.
//
// A host is a suspect for one of three reasons:
//
//   - its contrast, the multi-cap null-contrasted coreness of package core, is
//     at least Config.Threshold: it keeps more peers within a group of its kind
//     than any host of a random graph with the same degrees does;
//   - its rank rises when all weight W is put on the seeds (BotCloud, François
//     et al. 2011, §IV-B) and it has peers for which that is true as well;
//   - it is a seed.
//
// The two ranks of BotCloud alone name nobody here. Measured on five
// synthetic ISP backgrounds they find 0 to 2 % of a botnet at a false positive
// rate of 0.1 %; they are shown as evidence.
//
// What this cannot do: it cannot tell a botnet from a benign peer-to-peer
// overlay (a DHT has the same shape); it cannot find a C&C client, which has
// one peer; with a constant-degree overlay such as Koorde it finds part of the
// bots without seeds and may find none where the background is dense; and the
// threshold is a convention, not a calibrated error rate: the null graph has no
// communities, and real traffic has some. The budget bounds the alarms then.
package verdict

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/flowhound/flowhound/detector/core"
	"github.com/flowhound/flowhound/detector/graph"
)

// Config says what stands out.
type Config struct {
	// Threshold is the least contrast of a suspect; default 1.5, the group
	// keeps half as many peers more than the null graph's best plus one. Lower
	// values find sparser overlays and more file sharers.
	Threshold float64 `yaml:"threshold"`
	// MinCore is the least number of peers that a suspect keeps within its
	// group; default 3, for in sparse graphs groups of 2 occur by chance.
	MinCore uint32 `yaml:"min_core"`
	// MaxSuspects is the alarm budget in hosts; default 10000. Above it the
	// lowest scores are left out, and counted.
	MaxSuspects int `yaml:"max_suspects"`
	// SeedRatio is how many times its ordinary rank a host's rank from the
	// seeds must be; default 4, at least 1.
	SeedRatio float64 `yaml:"seed_ratio"`
	// SeedPeers is how many peers with such a rank, or seeds, a host must have
	// among those that have as many; default 2, at least 1.
	SeedPeers int `yaml:"seed_peers"`
}

// DefaultConfig returns the defaults that Config documents.
func DefaultConfig() Config {
	return Config{Threshold: 1.5, MinCore: 3, MaxSuspects: 10_000, SeedRatio: 4, SeedPeers: 2}
}

// Validate reports a field out of its range.
func (c Config) Validate() error {
	switch {
	case !(c.Threshold > 0) || math.IsInf(c.Threshold, 0):
		return fmt.Errorf("threshold %v: want more than 0", c.Threshold)
	case c.MaxSuspects < 1:
		return fmt.Errorf("max suspects %d: want at least 1", c.MaxSuspects)
	case !(c.SeedRatio >= 1) || math.IsInf(c.SeedRatio, 0):
		return fmt.Errorf("seed ratio %v: want at least 1", c.SeedRatio)
	case c.SeedPeers < 1:
		return fmt.Errorf("seed peers %d: want at least 1", c.SeedPeers)
	}
	return nil
}

// Input is what an epoch knows. All slices over vertices have the view's
// length.
type Input struct {
	View *graph.View
	// Client and Server are the ranks with W uniform; each sums to 1.
	Client, Server []float64
	Contrast       core.Result
	// Seeds are the known bots in the view, ascending, without duplicates.
	Seeds []graph.Vertex
	// SeededClient and SeededServer are the ranks with W on the seeds; nil
	// when there are no seeds.
	SeededClient, SeededServer []float64
}

// Verdict is the judgement of one epoch.
type Verdict struct {
	// Suspects are ordered by score, highest first, then canonically.
	Suspects []Suspect
	// Clusters are ordered by number; Clusters[i].ID = i+1.
	Clusters []Cluster
	// Scores has the score of every vertex, suspect or not; ≥ 0.
	Scores []float64
	// LeftOut is the number of suspects beyond the budget.
	LeftOut int
}

// Suspect is a host that stands out, and why.
type Suspect struct {
	Vertex graph.Vertex
	// Score is the contrast, or what the rank from the seeds is worth if that
	// is more; see [Judge].
	Score float64
	// ClientRank and ServerRank are multiples of the average host's.
	ClientRank, ServerRank float64
	// Core is the number of peers that every member of the host's group keeps
	// within it, among hosts of at most Cap peers; 0 if it has no such group.
	Core, Cap uint16
	Cluster   int // number of a cluster, from 1
	Seed      bool
	Evidence  []string
}

// Cluster is a connected component of the links between suspects. Numbers are
// given by size, largest first, then by the first host in canonical order.
type Cluster struct {
	ID    int `json:"id"`
	Hosts int `json:"hosts"`
	Seeds int `json:"seeds"`
}

// Judge returns the verdict on an epoch; a function of its arguments alone.
//
// The score of a host is its contrast. A host that the seeds reach gets at
// least Threshold·(1 + log₂(r/SeedRatio)), where r ≥ SeedRatio is how many
// times its ordinary rank its rank from the seeds is, the larger of client and
// server; a seed gets at least Threshold. So every suspect, and but for MinCore
// and the budget nobody else, has a score of at least Threshold.
func Judge(in Input, cfg Config) Verdict {
	n := in.View.Len()
	v := Verdict{Scores: make([]float64, n)}
	copy(v.Scores, in.Contrast.Score)
	suspect := make([]bool, n)
	for x := range n {
		suspect[x] = in.Contrast.Score[x] >= cfg.Threshold && uint32(in.Contrast.Core[x]) >= cfg.MinCore
	}
	ratio := reached(in, cfg)
	for x, r := range ratio {
		suspect[x] = true
		v.Scores[x] = max(v.Scores[x], cfg.Threshold*(1+math.Log2(r/cfg.SeedRatio)))
	}
	for _, x := range in.Seeds {
		suspect[x] = true
		v.Scores[x] = max(v.Scores[x], cfg.Threshold)
	}
	order := v.strongest(suspect, cfg.MaxSuspects)
	cluster := v.group(in, order)
	v.describe(in, order, cluster, ratio)
	return v
}

// strongest returns the suspects in their order, at most limit of them, and
// takes the others out of the set.
func (v *Verdict) strongest(suspect []bool, limit int) []graph.Vertex {
	var order []graph.Vertex
	for x, is := range suspect {
		if is {
			order = append(order, graph.Vertex(x))
		}
	}
	slices.SortFunc(order, func(a, b graph.Vertex) int {
		return cmp.Or(cmp.Compare(v.Scores[b], v.Scores[a]), cmp.Compare(a, b))
	})
	if len(order) > limit {
		v.LeftOut = len(order) - limit
		order = order[:limit]
	}
	return order
}
