package rank

import (
	"encoding/binary"
	"math"
	"sync"
	"sync/atomic"

	"github.com/flowhound/flowhound/detector/graph"
)

// kernel holds the vectors of one node and computes supersteps. The numeric
// type of the shares is the difference between its two forms.
type kernel interface {
	superstep(u update)
	sums() []ShardSums
	ranks() [2][]float64
	width() int // bytes of a value in a message
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
	// shares is what the neighbours read, rank / degree, by vertex and then up
	// to a whole tile.
	shares [2][]T
	values []T // by link, in the order of the bins
}

// fit makes room for the links and the vertices of a view.
func (f *floats[T]) fit(v *graph.View, which int) {
	f.values = grow(f.values, max(len(v.In.Col), len(v.Out.Col)))
	f.shares[which] = grow(f.shares[which], v.Len()+1<<maxTileBits)
	clear(f.shares[which]) // foreign vertices whose share is never read keep 0
}

// vectors implement kernel. Explicit float64 conversions around products keep
// compilers for other processors from fusing them with a sum, which would
// change the last bit.
type vectors[T float32 | float64] struct {
	*floats[T]
	plan    *plan
	bins    *[2]bins
	workers int
	senders int            // sending tiles
	starts  [2][]uint32    // of the rows by which a rank leaves a vertex
	rank    [2][]float64   // by vertex; only owned vertices have one
	tileSum [][]float64    // by worker: a tile's sums of the shares received
	sumsOf  [2][]blockSums // by block
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
	for which := range k.rank {
		k.rank[which] = make([]float64, v.Len())
		k.sumsOf[which] = make([]blockSums, len(p.blocks))
		f.fit(v, which)
	}
	for range k.workers {
		k.tileSum = append(k.tileSum, make([]float64, 1<<maxTileBits))
	}
	return k
}

func (k *vectors[T]) ranks() [2][]float64 { return k.rank }

// superstep computes each owned vertex's new ranks from its neighbours' shares,
// one rank after the other through the same values. In the first superstep,
// which has scale 0, no share is known and every rank is its base.
func (k *vectors[T]) superstep(u update) {
	for which := range k.rank {
		b := &k.bins[which]
		if u.scale[which] != 0 {
			parallel(k.senders, k.workers, func(_, s int) {
				shares := (*[1 << maxTileBits]T)(k.shares[which][s<<k.plan.tileBits:])
				scatter(b, s, k.senders, len(k.plan.tiles), shares, k.values)
			})
		}
		parallel(len(k.plan.tiles), k.workers, func(worker, i int) {
			sums := (*[1 << maxTileBits]float64)(k.tileSum[worker])
			t := k.plan.tiles[i]
			clear(sums[:t.hi-t.lo])
			if u.scale[which] != 0 {
				gather(b, i, k.senders, k.values, sums)
			}
			for j := t.first; j < t.last; j++ {
				block := k.plan.blocks[j]
				k.sumsOf[which][j] = k.apply(block, which, &u, sums[block.lo-t.lo:block.hi-t.lo])
			}
		})
	}
}

// apply makes a block's new ranks and shares of its sums. It has no branch on
// the degree, which would be mispredicted every other time: a vertex without
// links gets a share that nobody reads, and a factor of 0 or 1 chooses the sum
// that its rank goes to.
func (k *vectors[T]) apply(b block, which int, u *update, sums []float64) (s blockSums) {
	seeds, scale, base := k.plan.seed, u.scale[which], u.base[which]
	ranks, shares := k.rank[which][b.lo:b.hi][:len(sums)], k.shares[which][b.lo:b.hi][:len(sums)]
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

// parallel calls f(worker, 0) … f(worker, n-1) from several goroutines and
// returns when all are done.
func parallel(n, workers int, f func(worker, i int)) {
	var next atomic.Int64
	var wait sync.WaitGroup
	for worker := range min(n, workers) {
		wait.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				f(worker, i)
			}
		})
	}
	wait.Wait()
}

// sums returns the sums of the owned shards, each added up block by block.
func (k *vectors[T]) sums() []ShardSums {
	sums := make([]ShardSums, len(k.plan.shards))
	i := 0
	for at, shard := range k.plan.shards {
		sums[at].Shard = shard
		for ; i < len(k.plan.blocks) && k.plan.blocks[i].shard == shard; i++ {
			for which := range k.sumsOf {
				s := k.sumsOf[which][i]
				sums[at].Mass[which] += s.mass
				sums[at].Dangling[which] += s.dangling
				sums[at].Delta[which] += s.delta
			}
		}
	}
	return sums
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
	width, shares := k.width(), k.shares[which]
	b := make([]byte, 0, len(list)*width)
	for _, x := range list {
		if width == 4 {
			b = binary.LittleEndian.AppendUint32(b, math.Float32bits(float32(shares[x])))
		} else {
			b = binary.LittleEndian.AppendUint64(b, math.Float64bits(float64(shares[x])))
		}
	}
	return b
}

// take puts values of a message, whose length has been checked, into the
// mirrors.
func (k *vectors[T]) take(list []graph.Vertex, values []byte, which int) {
	width, shares := k.width(), k.shares[which]
	for i, x := range list {
		if width == 4 {
			shares[x] = T(math.Float32frombits(binary.LittleEndian.Uint32(values[4*i:])))
		} else {
			shares[x] = T(math.Float64frombits(binary.LittleEndian.Uint64(values[8*i:])))
		}
	}
}
