package rank

import (
	"encoding/binary"
	"math"

	"github.com/flowhound/flowhound/detector/graph"
	"github.com/flowhound/flowhound/internal/parallel"
)

// kernel holds the vectors of one node and computes supersteps. The numeric
// type of the shares is the difference between its two forms.
type kernel interface {
	// superstep goes on with the ranks by each weight whose update is not nil.
	superstep(updates []*update)
	sums() []ShardSums
	ranks(weight int) [2][]float64
	width() int // bytes of a value in a message
	// give and take deal with the listed vertices' shares by all weights.
	give(list []graph.Vertex, which int) []byte
	take(list []graph.Vertex, values []byte, which int)
}

// Memory keeps the large arrays of a ranking for the next one, and the order
// of the links as long as the view is the same. The zero value is empty. It
// serves one ranking at a time.
type Memory struct {
	view   *graph.View // whose links the bins hold
	bins   [2]bins
	single floats[float32]
	double floats[float64]
	rest   []float64 // of Resume
}

// prepare sorts the links of a view, unless that has been done.
func (m *Memory) prepare(v *graph.View, p *plan, workers int) {
	if m.view == v {
		return
	}
	m.view = nil
	for which := range m.bins {
		m.bins[which] = place(leaving(v, 1-which), p.tiles, p.senders(v.Len()), p.tileBits, workers, m.bins[which])
	}
	m.view = v
}

// floats are the arrays whose type is that of the shares.
type floats[T float32 | float64] struct {
	// shares is what the neighbours read, rank / degree, by weight, by vertex and
	// then up to a whole tile.
	shares [][2][]T
	values []T // by link, in the order of the bins; of one weight at a time
}

// fit makes room for the links and the vertices of a view.
func (f *floats[T]) fit(v *graph.View, weights int) {
	f.values = grow(f.values, max(len(v.In.Col), len(v.Out.Col)))
	f.shares = append(f.shares, make([][2][]T, max(0, weights-len(f.shares)))...)
	for w := range f.shares[:weights] {
		for which, s := range f.shares[w] {
			s = grow(s, v.Len()+1<<maxTileBits)
			clear(s) // foreign vertices whose share is never read keep 0
			f.shares[w][which] = s
		}
	}
}

// vectors implement kernel. Explicit float64 conversions around products keep
// compilers for other processors from fusing them with a sum, which would
// change the last bit.
type vectors[T float32 | float64] struct {
	*floats[T]
	plan    *plan
	bins    *[2]bins
	workers int
	senders int              // sending tiles
	starts  [2][]uint32      // of the rows by which a rank leaves a vertex
	rank    [][2][]float64   // by weight, by vertex; only owned vertices have one
	tileSum [][]float64      // by worker: a tile's sums of the shares received
	sumsOf  [][2][]blockSums // by weight, by block
}

// blockSums are a block's part of the reductions: the rank that its shares
// carry, the rank of vertices that have no link to carry it, and the L1
// change.
type blockSums struct{ mass, dangling, delta float64 }

func newKernel(v *graph.View, p *plan, cfg *Config) kernel {
	if cfg.Precision == Single {
		return newVectors(v, p, cfg, &cfg.Memory.single)
	}
	return newVectors(v, p, cfg, &cfg.Memory.double)
}

func newVectors[T float32 | float64](v *graph.View, p *plan, cfg *Config, f *floats[T]) kernel {
	k := &vectors[T]{
		floats: f, plan: p, bins: &cfg.Memory.bins, workers: cfg.Workers, senders: p.senders(v.Len()),
		starts: [2][]uint32{server: v.Out.Start, client: v.In.Start},
	}
	cfg.Memory.prepare(v, p, k.workers)
	f.fit(v, len(p.weights))
	k.rank, k.sumsOf = make([][2][]float64, len(p.weights)), make([][2][]blockSums, len(p.weights))
	for w := range k.rank {
		for which := range k.rank[w] {
			k.rank[w][which] = make([]float64, v.Len())
			k.sumsOf[w][which] = make([]blockSums, len(p.blocks))
		}
	}
	for range k.workers {
		k.tileSum = append(k.tileSum, make([]float64, 1<<maxTileBits))
	}
	return k
}

func (k *vectors[T]) ranks(weight int) [2][]float64 { return k.rank[weight] }

// superstep computes each owned vertex's new ranks from its neighbours' shares,
// by one weight and one rank after the other through the same values: to take
// all weights through a tile while it is in the caches was no faster, and needs
// values for each. In the first superstep, which has scale 0, no share is known
// and every rank is its base.
func (k *vectors[T]) superstep(updates []*update) {
	for which := range k.bins {
		for w, u := range updates {
			if u == nil {
				continue
			}
			if u.scale[which] != 0 {
				parallel.For(k.senders, k.workers, func(_, s int) { k.scatter(s, w, which) })
			}
			parallel.For(len(k.plan.tiles), k.workers, func(worker, i int) {
				k.receive(i, w, which, u, (*[1 << maxTileBits]float64)(k.tileSum[worker]))
			})
		}
	}
}

// scatter carries the shares of a sending tile over its links.
func (k *vectors[T]) scatter(s, w, which int) {
	shares := (*[1 << maxTileBits]T)(k.shares[w][which][s<<k.plan.tileBits:])
	scatter(&k.bins[which], s, k.senders, len(k.plan.tiles), shares, k.values)
}

// receive makes the new ranks of a tile of what its links carried.
func (k *vectors[T]) receive(i, w, which int, u *update, sums *[1 << maxTileBits]float64) {
	t := k.plan.tiles[i]
	clear(sums[:t.hi-t.lo])
	if u.scale[which] != 0 {
		gather(&k.bins[which], i, k.senders, k.values, sums)
	}
	for j := t.first; j < t.last; j++ {
		block := k.plan.blocks[j]
		k.sumsOf[w][which][j] = k.apply(block, w, which, u, sums[block.lo-t.lo:block.hi-t.lo])
	}
}

// apply makes a block's new ranks and shares of its sums. It has no branch on
// the degree, which would be mispredicted every other time: a vertex without
// links gets a share that nobody reads, and a factor of 0 or 1 chooses the sum
// that its rank goes to.
func (k *vectors[T]) apply(b block, w, which int, u *update, sums []float64) (s blockSums) {
	seeds, scale, base := k.plan.weights[w].seed, u.scale[which], u.base[which]
	ranks, shares := k.rank[w][which][b.lo:b.hi][:len(sums)], k.shares[w][which][b.lo:b.hi][:len(sums)]
	starts := k.starts[which][b.lo : b.hi+1]
	begin := starts[0]
	starts = starts[1:][:len(sums)]
	for i, sum := range sums {
		degree := int64(starts[i] - begin)
		begin = starts[i]
		seed := 0
		if seeds != nil {
			x := b.lo + graph.Vertex(i)
			seed = int(seeds[x/64] >> (x % 64) & 1)
		}
		r := base[seed] + float64(scale*sum)
		s.delta += math.Abs(r - ranks[i])
		ranks[i] = r
		share := T(r / float64(max(degree, 1)))
		shares[i] = share
		s.mass += float64(float64(share) * float64(degree))
		s.dangling += float64(r * float64(1-min(degree, 1)))
	}
	return s
}

// sums returns the sums of the owned shards, each added up block by block.
func (k *vectors[T]) sums() []ShardSums {
	sums := make([]ShardSums, len(k.plan.shards))
	i := 0
	for at, shard := range k.plan.shards {
		sums[at] = ShardSums{Shard: shard, Weights: make([]WeightSums, len(k.sumsOf))}
		for ; i < len(k.plan.blocks) && k.plan.blocks[i].shard == shard; i++ {
			for w := range k.sumsOf {
				sums[at].Weights[w].addBlock(&k.sumsOf[w], i)
			}
		}
	}
	return sums
}

func (s *WeightSums) addBlock(blocks *[2][]blockSums, i int) {
	for which := range blocks {
		b := blocks[which][i]
		s.Mass[which] += b.mass
		s.Dangling[which] += b.dangling
		s.Delta[which] += b.delta
	}
}

func (k *vectors[T]) width() int {
	var zero T
	if _, single := any(zero).(float32); single {
		return 4
	}
	return 8
}

// give returns the shares of the listed vertices as bytes of a message.
func (k *vectors[T]) give(list []graph.Vertex, which int) []byte {
	width := k.width()
	b := make([]byte, 0, len(k.rank)*len(list)*width)
	for w := range k.rank {
		shares := k.shares[w][which]
		for _, x := range list {
			if width == 4 {
				b = binary.LittleEndian.AppendUint32(b, math.Float32bits(float32(shares[x])))
			} else {
				b = binary.LittleEndian.AppendUint64(b, math.Float64bits(float64(shares[x])))
			}
		}
	}
	return b
}

// take puts values of a message, whose length has been checked, into the
// mirrors.
func (k *vectors[T]) take(list []graph.Vertex, values []byte, which int) {
	width := k.width()
	for w := range k.rank {
		shares := k.shares[w][which]
		for _, x := range list {
			if width == 4 {
				shares[x] = T(math.Float32frombits(binary.LittleEndian.Uint32(values)))
			} else {
				shares[x] = T(math.Float64frombits(binary.LittleEndian.Uint64(values)))
			}
			values = values[width:]
		}
	}
}
