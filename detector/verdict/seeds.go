package verdict

import (
	"slices"

	"github.com/flowhound/flowhound/detector/graph"
)

// reached returns the hosts that the seeds' rank singles out, and for each how
// many times its ordinary rank its rank from the seeds is.
//
// With all of W on the seeds (λ = 1) score flows from them along links. A host
// that only one bot ever called gets as much as a bot does, so the rank alone
// would accuse every bot's mail server. Hosts with fewer than SeedPeers peers
// among those singled out are therefore taken out until none is left to take:
// what remains is a core around the seeds. It is the first form of the
// seed-enriched core; detector/core will search for the best (cap, k).
func reached(in Input, cfg Config) map[graph.Vertex]float64 {
	if len(in.Seeds) == 0 || in.SeededClient == nil {
		return nil
	}
	ratio := make(map[graph.Vertex]float64)
	for x := range in.Client {
		r := max(quotient(in.SeededClient[x], in.Client[x]), quotient(in.SeededServer[x], in.Server[x]))
		if r >= cfg.SeedRatio {
			ratio[graph.Vertex(x)] = r
		}
	}
	prune(in, ratio, cfg.SeedPeers)
	return ratio
}

func quotient(a, b float64) float64 {
	if b <= 0 {
		return 0
	}
	return a / b
}

// prune takes out of ratio whatever has fewer than k peers in it or among the
// seeds, which stay.
func prune(in Input, ratio map[graph.Vertex]float64, k int) {
	left := make(map[graph.Vertex]int, len(ratio))
	var gone []graph.Vertex
	for x := range ratio {
		for _, p := range in.View.Of(x) {
			y := p.Vertex()
			if _, ok := ratio[y]; ok || in.isSeed(y) {
				left[x]++
			}
		}
		if left[x] < k && !in.isSeed(x) {
			gone = append(gone, x)
		}
	}
	for len(gone) > 0 {
		x := gone[len(gone)-1]
		gone = gone[:len(gone)-1]
		delete(ratio, x)
		for _, p := range in.View.Of(x) {
			y := p.Vertex()
			if _, ok := ratio[y]; ok {
				if left[y]--; left[y] == k-1 && !in.isSeed(y) {
					gone = append(gone, y)
				}
			}
		}
	}
}

// isSeed reports whether x is a known bot.
func (in Input) isSeed(x graph.Vertex) bool {
	_, ok := slices.BinarySearch(in.Seeds, x)
	return ok
}
