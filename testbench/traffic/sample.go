package traffic

import (
	"math"
	"math/rand/v2"
	"sort"
)

// draw returns a whole number of the distribution, at most limit: larger ones
// are cut to it, as the bounds of the detection notes are caps.
func (p Pareto) draw(rng *rand.Rand, limit int) int {
	x := p.Min * math.Pow(1-rng.Float64(), -1/p.Alpha)
	if p.Max > 0 {
		x = math.Min(x, p.Max)
	}
	return int(math.Min(x, float64(limit)))
}

// zipf draws ranks 0 … n−1, rank r with a weight of (r+1)^-s, for any s ≥ 0
// (the standard library's needs s > 1).
type zipf struct{ cumulative []float64 }

func newZipf(n int, s float64) zipf {
	z := zipf{make([]float64, n)}
	sum := 0.0
	for r := range z.cumulative {
		sum += math.Pow(float64(r+1), -s)
		z.cumulative[r] = sum
	}
	return z
}

func (z zipf) draw(rng *rand.Rand) int {
	last := len(z.cumulative) - 1
	x := rng.Float64() * z.cumulative[last]
	return min(sort.SearchFloat64s(z.cumulative, x), last)
}

// sample draws n different hosts in random order; pick must be able to give
// that many.
func sample(n int, pick func() uint32) []uint32 {
	seen := make(map[uint32]bool, n)
	hosts := make([]uint32, 0, n)
	for len(hosts) < n {
		if h := pick(); !seen[h] {
			seen[h] = true
			hosts = append(hosts, h)
		}
	}
	return hosts
}
