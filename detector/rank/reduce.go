package rank

import (
	"math"
	"math/bits"

	"github.com/flowhound/flowhound/detector/graph"
)

// reduced is the linear system of one direction without the leaves: hosts that
// talk to one other host, their hub. They are most of an operator's hosts, and
// their equations can be put into those of their hubs:
//
//	leaf  y_l = b_l + d·[h→l]·y_h/deg_h
//	hub   y_h·(1 - d²·m_h/deg_h) = b_h + d·Σ_{l→h} b_l + d·Σ_{core j→h} y_j/deg_j
//
// with m_h the leaves that both get from the hub and give to it.
type reduced struct {
	core   *core
	in     graph.Rows // by which the rank comes to a vertex, of the whole view
	out    graph.Rows // by which it leaves
	chunks []rows     // by chunk: rows of its core vertices, by core number
	degree []float64  // at least 1, by core number
	diag   []float64  // 1 - d²·m/deg, by core number
	even   []float64  // right side for b = 1-d
	d      float64
}

// rows are a chunk's sparse rows.
type rows struct{ start, col []uint32 }

// core numbers the vertices that are not leaves, in canonical order.
type core struct {
	vertices int
	// A bit per vertex: whether it is in the core, and of leaves, whether the
	// hub both gets from it and gives to it.
	in, mutual []uint64
	before     []uint32 // by word: the number of core vertices before it, and the end
	workers    int
}

// chunkSize is a multiple of 64. Chunks are units of work, and sums are first
// added up by chunk: changing it changes the last bits of ranks.
const chunkSize = 1 << 12

func newCore(v *graph.View, workers int) *core {
	words := (v.Len() + 63) / 64
	c := &core{v.Len(), make([]uint64, words), make([]uint64, words), make([]uint32, words+1), workers}
	single := make([]uint64, words) // has one neighbour
	c.each(func(_, lo, hi int) {
		for x := lo; x < hi; x++ {
			out, in := v.Out.Of(graph.Vertex(x)), v.In.Of(graph.Vertex(x))
			bit := uint64(1) << (x % 64)
			if len(out) == 1 && len(in) == 1 && in[0] == out[0] {
				single[x/64] |= bit
				c.mutual[x/64] |= bit
			} else if len(out)+len(in) == 1 {
				single[x/64] |= bit
			}
		}
	})
	c.each(func(_, lo, hi int) {
		for x := lo; x < hi; x++ {
			if !has(single, uint32(x)) || c.isFirst(v, graph.Vertex(x), single) {
				c.in[x/64] |= 1 << (x % 64)
			}
		}
	})
	for i, word := range c.in {
		c.before[i+1] = c.before[i] + uint32(bits.OnesCount64(word))
	}
	return c
}

// isFirst reports whether the only neighbour of x has none but x, and comes
// after it: of two hosts that talk to each other alone, the first is the hub.
func (c *core) isFirst(v *graph.View, x graph.Vertex, single []uint64) bool {
	row := v.Out.Of(x)
	if len(row) == 0 {
		row = v.In.Of(x)
	}
	return row[0] > x && has(single, uint32(row[0]))
}

func has(set []uint64, x uint32) bool { return set[x/64]>>(x%64)&1 != 0 }

func (c *core) len() int { return int(c.before[len(c.before)-1]) }

// number returns the number of a core vertex.
func (c *core) number(x graph.Vertex) uint32 {
	return c.before[x/64] + uint32(bits.OnesCount64(c.in[x/64]&(1<<(x%64)-1)))
}

func (c *core) chunks() int { return (c.vertices + chunkSize - 1) / chunkSize }

// each calls f with every chunk and its vertices.
func (c *core) each(f func(i, lo, hi int)) {
	parallel(c.chunks(), c.workers, func(_, i int) { f(i, i*chunkSize, min(c.vertices, (i+1)*chunkSize)) })
}

// numbers returns the core numbers of a chunk's vertices.
func (c *core) numbers(i int) (lo, hi uint32) {
	return c.before[i*chunkSize/64], c.before[min(len(c.before)-1, (i+1)*chunkSize/64)]
}

// sum adds f over all chunks.
func (c *core) sum(f func(i, lo, hi int) float64) (sum float64) {
	parts := make([]float64, c.chunks())
	c.each(func(i, lo, hi int) { parts[i] = f(i, lo, hi) })
	for _, part := range parts {
		sum += part
	}
	return sum
}

// reduce makes the system of one rank.
func (c *core) reduce(v *graph.View, which int, d float64) *reduced {
	r := &reduced{
		core: c, in: leaving(v, 1-which), out: leaving(v, which), d: d,
		chunks: make([]rows, c.chunks()),
		degree: make([]float64, c.len()), diag: make([]float64, c.len()), even: make([]float64, c.len()),
	}
	c.each(func(i, lo, hi int) {
		number, end := c.numbers(i)
		col := make([]uint32, 0, r.in.Start[hi]-r.in.Start[lo])
		start := make([]uint32, 1, end-number+1)
		for x := graph.Vertex(lo); x < graph.Vertex(hi); x++ {
			if !has(c.in, uint32(x)) {
				continue
			}
			leaves, mutual := 0, 0
			for _, y := range r.in.Of(x) {
				word, bit := y/64, uint64(1)<<(y%64)
				if in := c.in[word]; in&bit != 0 {
					col = append(col, c.before[word]+uint32(bits.OnesCount64(in&(bit-1))))
				} else {
					leaves++
					mutual += int(c.mutual[word] >> (y % 64) & 1)
				}
			}
			start = append(start, uint32(len(col)))
			r.degree[number] = float64(max(1, r.out.Degree(x)))
			r.even[number] = (1 - d) * (1 + float64(d*float64(leaves)))
			r.diag[number] = 1 - float64(d*d*float64(mutual))/r.degree[number]
			number++
		}
		r.chunks[i] = rows{start, col}
	})
	return r
}

// weigh returns the right side for b = (1-d)·w.
func (r *reduced) weigh(w weights) []float64 {
	b := make([]float64, len(r.even))
	for i, even := range r.even {
		b[i] = w.rest * even
	}
	for _, x := range w.seeds {
		more := (1 - r.d) * (w.of - w.rest)
		if has(r.core.in, uint32(x)) {
			b[r.core.number(x)] += more
			continue
		}
		for _, hub := range r.out.Of(x) {
			b[r.core.number(hub)] += float64(r.d * more)
		}
	}
	return b
}

// solve improves y until its residual's norm is at most goal, or limit sweeps
// are over, and returns the norm and the number of sweeps. The residual is that
// in the leaves' and the core's equations: leaves follow from their hubs
// without one.
//
// It is Jacobi's iteration with Chebyshev's acceleration (Golub and Varga 1961)
// for eigenvalues in ±spread·d. Those of mutual links are real, those of other
// links may be complex within d of 0, which slows it down or, for a large d,
// lets it grow. Then it goes on without: each sweep takes the norm to d times itself or less,
// as the sum of a column with share f of its links to the core is at most
// d·f / (1 - d²·(1-f)) ≤ d.
func (r *reduced) solve(y, b []float64, w weights, goal float64, limit int) (norm float64, sweeps int) {
	n := r.core.len()
	x, last := make([]float64, n), make([]float64, n)
	shares, next := make([]float64, n), make([]float64, n)
	r.core.each(func(i, lo, hi int) {
		number, _ := r.core.numbers(i)
		for v := lo; v < hi; v++ {
			if has(r.core.in, uint32(v)) {
				x[number] = y[v]
				shares[number] = y[v] / r.degree[number]
				number++
			}
		}
	})
	square, omega, least := float64(spread*r.d*spread*r.d), 1.0, math.Inf(1)
	for {
		norm = r.core.sum(func(i, _, _ int) float64 {
			lo, hi := r.core.numbers(i)
			s := sweep{x[lo:hi], last[lo:hi], b[lo:hi], r.diag[lo:hi], r.degree[lo:hi], next[lo:hi]}
			return s.run(r.chunks[i], shares, r.d, omega)
		})
		if norm <= goal || sweeps == limit {
			break
		}
		if least = min(least, norm); norm > 2*least {
			square = 0
		}
		if sweeps++; sweeps == 1 {
			omega = 2 // so the first step of the recurrence is 1/(1-square/2)
		}
		omega = 1 / (1 - float64(square*omega/4))
		x, last = last, x
		shares, next = next, shares
	}
	r.expand(y, x, shares, w)
	return norm, sweeps
}

// spread is how much of ±d the eigenvalues fill: on an operator's graph without
// its leaves a norm falls by 4.6 per sweep with 0.8, by 3.6 with 1. Eigenvalues
// of ±d, those of hosts that two-colour, still fall by 2.4 for d = 0.5.
const spread = 0.8

// sweep is a chunk's part of the vectors of an iteration.
type sweep struct{ x, last, b, diag, degree, next []float64 }

// run overwrites the last solution with the next one and returns the norm of
// the present one's residual.
func (s sweep) run(r rows, shares []float64, d, omega float64) (norm float64) {
	begin := r.start[0]
	for i, x := range s.x {
		end := r.start[i+1]
		sum := 0.0
		for _, y := range r.col[begin:end] {
			sum += shares[y]
		}
		begin = end
		got := s.b[i] + float64(d*sum)
		norm += math.Abs(got - float64(s.diag[i]*x))
		next := s.last[i] + float64(omega*(got/s.diag[i]-s.last[i]))
		s.last[i] = next
		s.next[i] = next / s.degree[i]
	}
	return norm
}

// expand gives every vertex its value.
func (r *reduced) expand(y, x, shares []float64, w weights) {
	r.core.each(func(i, lo, hi int) {
		number, _ := r.core.numbers(i)
		for v := lo; v < hi; v++ {
			if has(r.core.in, uint32(v)) {
				y[v] = x[number]
				number++
				continue
			}
			y[v] = (1 - r.d) * w.at(graph.Vertex(v))
			for _, hub := range r.in.Of(graph.Vertex(v)) {
				y[v] += float64(r.d * shares[r.core.number(hub)])
			}
		}
	})
}

// dangling returns the sum over the vertices that the rank cannot leave.
func (r *reduced) dangling(y []float64) float64 {
	return r.core.sum(func(_, lo, hi int) (sum float64) {
		for x := lo; x < hi; x++ {
			sum += float64(y[x] * float64(1-int(min(1, r.out.Degree(graph.Vertex(x))))))
		}
		return sum
	})
}
