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
	view  *graph.View // whose links the bins and the degrees are of
	ranks int         // that they are for: 1 if undirected, else 2
	bins  [2]bins
	// degrees count the links by which a rank leaves a vertex, by vertex. A foreign
	// vertex has 0 here, for its share is made where its rank is.
	degrees [2][]uint32
	// Values by link, in the order of the bins; of one rank by one weight at a time.
	single []float32
	double []float64
	shares []float32 // of Resume, by vertex and then up to a whole tile
	rest   []float64 // of Resume, by vertex
}

// prepare sorts and counts the links of a view, unless that has been done.
func (m *Memory) prepare(v *graph.View, p *plan, workers int) {
	if m.view == v && m.ranks == p.ranks {
		return
	}
	m.view = nil
	for which := range p.ranks {
		m.bins[which] = place(v.Rows, p.entering(which), p.tiles, p.senders(v.Len()), p.tileBits, workers, m.bins[which])
		m.degrees[which] = count(v.Rows, p.leaving(which), p.tiles, workers, m.degrees[which])
	}
	m.view, m.ranks = v, p.ranks
}

// count returns the degrees of the vertices in the tiles, and 0 of others. It
// overwrites old.
func count(rows graph.Rows, leaving graph.Peer, tiles []tile, workers int, old []uint32) []uint32 {
	degrees := grow(old, len(rows.Start)-1)
	clear(degrees)
	parallel.For(len(tiles), workers, func(_, i int) {
		for x := tiles[i].lo; x < tiles[i].hi; x++ {
			for _, p := range rows.Of(x) {
				if p.Has(leaving) {
					degrees[x]++
				}
			}
		}
	})
	return degrees
}

// links returns how many links the bins of a rank hold at most.
func (m *Memory) links() int { return max(len(m.bins[server].from), len(m.bins[client].from)) }

// vectors implement kernel. Explicit float64 conversions around products keep
// compilers for other processors from fusing them with a sum, which would
// change the last bit.
//
// What the neighbours read, rank / degree, is not kept: a division takes no more
// time than to write and read it. A foreign vertex has no rank here. The share
// that another node sent is in its place, and comes out as it is, for it is
// divided by 1.
type vectors[T float32 | float64] struct {
	plan    *plan
	bins    *[2]bins
	degrees *[2][]uint32
	values  []T
	workers int
	senders int                         // sending tiles
	rank    [][2][]float64              // by weight, by vertex; one slice if undirected
	shares  [][1 << maxTileBits]T       // by worker: those that a tile sends
	tileSum [][1 << maxTileBits]float64 // by worker: a tile's sums of the shares received
	sumsOf  [][2][]blockSums            // by weight, by block; 0 of a rank that is not computed
}

// blockSums are a block's part of the reductions: the rank that its shares
// carry, the rank of vertices that have no link to carry it, and the L1
// change.
type blockSums struct{ mass, dangling, delta float64 }

func newKernel(v *graph.View, p *plan, cfg *Config) kernel {
	m := cfg.Memory
	m.prepare(v, p, cfg.Workers)
	if cfg.Precision == Single {
		m.single = grow(m.single, m.links())
		return newVectors(v, p, cfg, m.single)
	}
	m.double = grow(m.double, m.links())
	return newVectors(v, p, cfg, m.double)
}

func newVectors[T float32 | float64](v *graph.View, p *plan, cfg *Config, values []T) kernel {
	k := &vectors[T]{
		plan: p, bins: &cfg.Memory.bins, degrees: &cfg.Memory.degrees, values: values,
		workers: cfg.Workers, senders: p.senders(v.Len()),
		rank: make([][2][]float64, len(p.weights)), sumsOf: make([][2][]blockSums, len(p.weights)),
		shares: make([][1 << maxTileBits]T, cfg.Workers), tileSum: make([][1 << maxTileBits]float64, cfg.Workers),
	}
	for w := range k.rank {
		for which := range k.rank[w] {
			k.rank[w][which] = k.rank[w][server]
			if which < p.ranks {
				k.rank[w][which] = make([]float64, v.Len())
			}
			k.sumsOf[w][which] = make([]blockSums, len(p.blocks))
		}
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
	for which := range k.plan.ranks {
		for w, u := range updates {
			if u == nil {
				continue
			}
			if u.scale[which] != 0 {
				parallel.For(k.senders, k.workers, func(worker, s int) { k.scatter(s, w, which, &k.shares[worker]) })
			}
			parallel.For(len(k.plan.tiles), k.workers, func(worker, i int) { k.receive(i, w, which, u, &k.tileSum[worker]) })
		}
	}
}

// scatter makes the shares of a sending tile and carries them over its links.
func (k *vectors[T]) scatter(s, w, which int, shares *[1 << maxTileBits]T) {
	lo, hi := s<<k.plan.tileBits, (s+1)<<k.plan.tileBits
	ranks := k.rank[w][which]
	ranks = ranks[lo:min(hi, len(ranks))]
	degrees, out := k.degrees[which][lo:][:len(ranks)], shares[:len(ranks)]
	for i, r := range ranks {
		out[i] = share[T](r, degrees[i])
	}
	scatter(&k.bins[which], s, k.senders, len(k.plan.tiles), shares, k.values)
}

// share returns what each neighbour reads of a vertex that has one.
func share[T float32 | float64](rank float64, degree uint32) T {
	return T(rank / float64(max(degree, 1)))
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

// apply makes a block's new ranks of its sums. It has no branch on the degree,
// which would be mispredicted every other time: a vertex without links gets a
// share that nobody reads, and a factor of 0 or 1 chooses the sum that its rank
// goes to.
func (k *vectors[T]) apply(b block, w, which int, u *update, sums []float64) (s blockSums) {
	seeds, scale, base := k.plan.weights[w].seed, u.scale[which], u.base[which]
	ranks, degrees := k.rank[w][which][b.lo:b.hi][:len(sums)], k.degrees[which][b.lo:b.hi][:len(sums)]
	for i, sum := range sums {
		seed := 0
		if seeds != nil {
			x := b.lo + graph.Vertex(i)
			seed = int(seeds[x/64] >> (x % 64) & 1)
		}
		r := base[seed] + float64(scale*sum)
		s.delta += math.Abs(r - ranks[i])
		ranks[i] = r
		degree := degrees[i]
		s.mass += float64(float64(share[T](r, degree)) * float64(degree))
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
		ranks, degrees := k.rank[w][which], k.degrees[which]
		for _, x := range list {
			share := share[T](ranks[x], degrees[x])
			if width == 4 {
				b = binary.LittleEndian.AppendUint32(b, math.Float32bits(float32(share)))
			} else {
				b = binary.LittleEndian.AppendUint64(b, math.Float64bits(float64(share)))
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
		ranks := k.rank[w][which]
		for _, x := range list {
			if width == 4 {
				ranks[x] = float64(math.Float32frombits(binary.LittleEndian.Uint32(values)))
			} else {
				ranks[x] = math.Float64frombits(binary.LittleEndian.Uint64(values))
			}
			values = values[width:]
		}
	}
}
