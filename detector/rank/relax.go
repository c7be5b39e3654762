package rank

import (
	"math"

	"github.com/flowhound/flowhound/detector/graph"
	"github.com/flowhound/flowhound/internal/parallel"
)

// relaxation solves z = b + d·G·z for one of the two ranks by one weight, where z
// is n·rank, b is (1-d)·n·W, and G carries ranks over links and deals out what
// dangles: no column of it sums to more than 1. It works in float32 and proves its result
// in float64, as iterative refinement does (Wilkinson 1963):
//
//	z = x + δ,  δ = r + d·G·δ,  r = b + d·G·x - x
//
// The correction δ is kept as float32 shares, and is by definition exactly
// degree·share: carrying shares and adding them up in float64 loses nothing.
// What is lost when a new share is rounded is counted. When that is much of what
// still moves, fold adds δ to x and begins the next, far smaller correction.
type relaxation struct {
	plan    *plan
	weight  *weight
	bins    *bins
	workers int
	senders int
	degrees []uint32

	damping, omega float64
	right          [2]float64 // b of other hosts and of seeds
	dangles        [2]float64 // d·G's part of the dangling mass that they get

	shares, values []float32
	rest           []float64                   // r, by vertex
	x              []float64                   // by vertex
	sum            float64                     // of x
	tileSum        [][1 << maxTileBits]float64 // by worker: a tile's sums of the shares received
	tallies        []tally                     // by tile
	last           tally                       // over all tiles, of the last pass
}

// tally is a tile's part of the reductions over a correction.
type tally struct {
	sum, dangling float64 // of δ, and of δ where no link leaves
	moved, lost   float64 // L1 norms of the change of δ, and of what rounding took
}

// groups is how many parts of the tiles see each other's new shares within a
// sweep. Tiles of one group are worked on at once. Twice as many need one pass
// less of fifteen, and leave each group too few tiles for many processors. Bits
// depend on it, and on the tiles.
const groups = 32

// overRelaxation returns ω. Young's optimum for mutual links, whose eigenvalues
// are real, is 2/(1+√(1-d²)): 1.07 for d = 0.5. This is a little less, and
// converges for every graph and d: see contraction.
func overRelaxation(d float64) float64 { return 1 + d*d*(1-d)/2 }

// contraction returns by how much a sweep at least shrinks the error, whatever
// the graph. If the share l of a column leads to parts that are swept later, and
// u ≤ 1-l to others, then Σ|error|·(1-ω·d·l) shrinks by the greatest of
// (ω-1+ω·d·u) / (1-ω·d·l), which is that of l = 0, and below 1 as d²·(1+d) < 2.
func contraction(d float64) float64 { return overRelaxation(d)*(1+d) - 1 }

func newRelaxation(v *graph.View, p *plan, cfg *Config, w *weight, which int) *relaxation {
	m, n, d := cfg.Memory, float64(v.Len()), cfg.Damping
	m.prepare(v, p, cfg.Workers)
	m.single = grow(m.single, m.links()) // the ranks by all weights have their turns
	m.shares, m.rest = grow(m.shares, v.Len()+1<<maxTileBits), grow(m.rest, v.Len())
	s := &relaxation{
		plan: p, weight: w, bins: &m.bins[which], workers: cfg.Workers, senders: p.senders(v.Len()),
		degrees: m.degrees[which], damping: d, omega: overRelaxation(d),
		shares: m.shares, values: m.single, rest: m.rest,
		tileSum: make([][1 << maxTileBits]float64, cfg.Workers), tallies: make([]tally, len(p.tiles)),
	}
	for seed, part := range w.parts(v.Len()) {
		s.right[seed] = (1 - d) * part * n
		s.dangles[seed] = d / n
		if cfg.DanglingW {
			s.dangles[seed] = d * part
		}
	}
	return s
}

// solve improves ranks until their error, in L1, is at most goal, or limit
// passes over the links are done. It returns a bound of the error.
//
// What a sweep leaves of the residual r of x + δ is d·G applied to what moved
// after its share was read, and what over-relaxing and rounding put beside the
// sums:
//
//	‖r‖₁ ≤ d·moved + (1-1/ω)·(moved+lost) + lost
//
// The error is Σ (d·G)^k·r, so its norm is at most ‖r‖₁/(1-d). To divide ranks by
// their sum adds no more than the sum is wrong by.
func (s *relaxation) solve(ranks []float64, goal float64, limit int) (bound float64, passes int) {
	n, beside := float64(len(ranks)), 1-1/s.omega
	s.begin(ranks)
	for {
		s.sweep()
		passes++
		moving, lost := (s.damping+beside)*s.last.moved, (1+beside)*s.last.lost
		sum := s.sum + s.last.sum
		bound = ((moving+lost)/(1-s.damping) + math.Abs(sum-n)) / sum
		if bound <= goal || passes >= limit {
			s.finish(sum)
			return bound, passes
		}
		if moving < 16*lost { // soon only rounding would move shares
			s.fold()
			passes++
		}
	}
}

// begin takes ranks for n·δ and, from then on, their array for x, which is 0.
func (s *relaxation) begin(ranks []float64) {
	n := float64(len(ranks))
	s.x = ranks
	s.each(func(_, i int) (sums tally) {
		for y := s.plan.tiles[i].lo; y < s.plan.tiles[i].hi; y++ {
			sums.add(s.set(y, n*ranks[y]))
			s.x[y], s.rest[y] = 0, s.right[s.weight.isSeed(y)]
		}
		return sums
	})
	s.scatter(0, s.senders)
}

// sweep improves δ by Gauss and Seidel's method with over-relaxation (Young
// 1954): the groups of tiles see what it has made of the groups before them.
func (s *relaxation) sweep() {
	n, sent := len(s.plan.tiles), 0
	flows := s.flows()
	for g := range groups {
		first, end := g*n/groups, (g+1)*n/groups
		parallel.For(end-first, s.workers, func(worker, i int) {
			s.tallies[first+i] = s.relax(s.plan.tiles[first+i], s.gather(worker, first+i), flows)
		})
		ready := s.senders
		if end < n {
			ready = int(s.plan.tiles[end].lo) >> s.plan.tileBits
		}
		s.scatter(sent, ready)
		sent = ready
	}
	s.total()
}

// flows returns what other hosts and seeds get of the dangling mass.
func (s *relaxation) flows() [2]float64 {
	return [2]float64{s.dangles[0] * s.last.dangling, s.dangles[1] * s.last.dangling}
}

// relax makes a tile's new shares of the sums received. Explicit conversions
// keep products from being fused with sums, as in apply.
func (s *relaxation) relax(t tile, received []float64, flows [2]float64) tally {
	n := len(received)
	shares, rest, degrees := s.shares[t.lo:][:n], s.rest[t.lo:][:n], s.degrees[t.lo:][:n]
	seeds, d, omega := s.weight.seed, s.damping, s.omega
	var sum, dangling, moved, lost float64
	for i, got := range received {
		degree := degrees[i]
		flow := flows[0]
		if seeds != nil {
			y := t.lo + graph.Vertex(i)
			flow = flows[seeds[y/64]>>(y%64)&1]
		}
		carried := float64(max(degree, 1))
		old := float64(float64(shares[i]) * carried)
		next := old + float64(omega*(rest[i]+float64(d*got)+flow-old))
		share := float32(next / carried)
		shares[i] = share
		now := float64(float64(share) * carried)
		sum += now
		dangling += float64(now * float64(1-min(degree, 1)))
		moved += math.Abs(now - old)
		lost += math.Abs(now - next)
	}
	return tally{sum, dangling, moved, lost}
}

// fold adds δ to x and begins the next correction with a step of Jacobi's.
func (s *relaxation) fold() {
	s.sum += s.last.sum
	flows := s.flows()
	s.each(func(worker, i int) (sums tally) {
		for j, got := range s.gather(worker, i) {
			y := s.plan.tiles[i].lo + graph.Vertex(j)
			delta := s.delta(y)
			s.x[y] += delta
			s.rest[y] += float64(s.damping*got) + flows[s.weight.isSeed(y)] - delta
			sums.add(s.set(y, s.rest[y]))
		}
		return sums
	})
	s.scatter(0, s.senders)
}

// finish makes x + δ ranks, in x.
func (s *relaxation) finish(sum float64) {
	s.each(func(_, i int) (none tally) {
		for y := s.plan.tiles[i].lo; y < s.plan.tiles[i].hi; y++ {
			s.x[y] = (s.x[y] + s.delta(y)) / sum
		}
		return none
	})
}

// delta returns δ of a vertex: exactly, as its degree is below 2^29.
func (s *relaxation) delta(y graph.Vertex) float64 {
	return float64(float64(s.shares[y]) * float64(max(s.degrees[y], 1)))
}

// set rounds δ of a vertex to a share.
func (s *relaxation) set(y graph.Vertex, delta float64) tally {
	degree := s.degrees[y]
	s.shares[y] = float32(delta / float64(max(degree, 1)))
	delta = s.delta(y)
	return tally{sum: delta, dangling: float64(delta * float64(1-min(degree, 1)))}
}

// each calls f with every tile and adds up the tallies.
func (s *relaxation) each(f func(worker, i int) tally) {
	parallel.For(len(s.tallies), s.workers, func(worker, i int) { s.tallies[i] = f(worker, i) })
	s.total()
}

func (s *relaxation) total() {
	s.last = tally{}
	for _, t := range s.tallies {
		s.last.add(t)
	}
}

func (t *tally) add(o tally) {
	t.sum += o.sum
	t.dangling += o.dangling
	t.moved += o.moved
	t.lost += o.lost
}

// scatter writes the shares of some sending tiles to the values of their links.
func (s *relaxation) scatter(first, end int) {
	parallel.For(end-first, s.workers, func(_, i int) {
		shares := (*[1 << maxTileBits]float32)(s.shares[(first+i)<<s.plan.tileBits:])
		scatter(s.bins, first+i, s.senders, len(s.plan.tiles), shares, s.values)
	})
}

// gather returns the sums of the shares that a tile's vertices receive.
func (s *relaxation) gather(worker, i int) []float64 {
	sums := &s.tileSum[worker]
	n := s.plan.tiles[i].hi - s.plan.tiles[i].lo
	clear(sums[:n])
	gather(s.bins, i, s.senders, s.values, sums)
	return sums[:n]
}
