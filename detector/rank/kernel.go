package rank

import (
	"encoding/binary"
	"math"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/flowhound/flowhound/detector/graph"
)

// kernel holds the vectors of one node and computes supersteps. The numeric
// type of the shares is the difference between its two forms.
type kernel interface {
	start(rank float64)
	superstep(u update)
	sums() []ShardSums
	ranks() [2][]float64
	width() int // bytes of a value in a message
	give(list []graph.Vertex, which int) []byte
	take(list []graph.Vertex, values []byte, which int)
}

// vectors implement kernel. Explicit float64 conversions around products keep
// compilers for other processors from fusing them with a sum, which would
// change the last bit.
type vectors[T float32 | float64] struct {
	plan    *plan
	rows    [2]graph.Rows // the links that a rank is pulled over: in-rows, out-rows
	workers int
	// rank is by vertex; only owned vertices have one.
	rank [2][]float64
	// shares is what the neighbours read: rank / degree. Both ranks' shares
	// stand together, because most links are mutual: the client's row finds
	// its values in the cache lines that the server's row has just brought.
	// next is being written while shares is read.
	shares, next [][2]T
	blockSums    []blockSums
}

// blockSums are a block's part of the reductions: the rank that its shares
// carry, the rank of vertices that have no link to carry it, and the L1
// change.
type blockSums struct{ mass, dangling, delta [2]float64 }

func newKernel[T float32 | float64](v *graph.View, p *plan, workers int) kernel {
	if workers <= 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	n := v.Len()
	return &vectors[T]{
		plan: p, rows: [2]graph.Rows{server: v.In, client: v.Out}, workers: workers,
		rank:   [2][]float64{make([]float64, n), make([]float64, n)},
		shares: make([][2]T, n), next: make([][2]T, n),
		blockSums: make([]blockSums, len(p.blocks)),
	}
}

func (k *vectors[T]) ranks() [2][]float64 { return k.rank }

// start gives every owned vertex the same rank.
func (k *vectors[T]) start(rank float64) {
	k.each(func(b block, s *blockSums) {
		for x := b.lo; x < b.hi; x++ {
			k.set(x, [2]float64{rank, rank}, s)
		}
	})
}

// superstep computes each owned vertex's new ranks from its neighbours' shares.
func (k *vectors[T]) superstep(u update) {
	k.each(func(b block, s *blockSums) { k.pull(b, &u, s) })
}

func (k *vectors[T]) pull(b block, u *update, s *blockSums) {
	in, out, shares := k.rows[server], k.rows[client], k.shares
	seeds := k.plan.seed
	for x := b.lo; x < b.hi; x++ {
		var sum [2]float64
		for _, y := range in.Col[in.Start[x]:in.Start[x+1]] {
			sum[server] += float64(shares[y][server])
		}
		for _, y := range out.Col[out.Start[x]:out.Start[x+1]] {
			sum[client] += float64(shares[y][client])
		}
		seed := 0
		if seeds != nil {
			seed = int(seeds[x/64] >> (x % 64) & 1)
		}
		k.set(x, [2]float64{
			u.base[server][seed] + float64(u.scale[server]*sum[server]),
			u.base[client][seed] + float64(u.scale[client]*sum[client]),
		}, s)
	}
}

// set gives x its new ranks and shares and adds to its block's sums.
func (k *vectors[T]) set(x graph.Vertex, ranks [2]float64, s *blockSums) {
	var share [2]T
	for which, rank := range ranks {
		s.delta[which] += math.Abs(rank - k.rank[which][x])
		k.rank[which][x] = rank
		// The server rank leaves by the out-links, which are the client's rows.
		if degree := k.rows[1-which].Degree(x); degree > 0 {
			share[which] = T(rank / float64(degree))
			s.mass[which] += float64(float64(share[which]) * float64(degree))
		} else {
			s.dangling[which] += rank
		}
	}
	k.next[x] = share
}

// each calls f for every block from several goroutines, then makes the new
// shares the current ones.
func (k *vectors[T]) each(f func(b block, s *blockSums)) {
	blocks := k.plan.blocks
	var next atomic.Int64
	var wait sync.WaitGroup
	for range min(k.workers, len(blocks)) {
		wait.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(blocks); i = int(next.Add(1)) - 1 {
				var s blockSums
				f(blocks[i], &s)
				k.blockSums[i] = s
			}
		})
	}
	wait.Wait()
	k.shares, k.next = k.next, k.shares
}

// sums returns the sums of the owned shards, each added up block by block.
func (k *vectors[T]) sums() []ShardSums {
	sums := make([]ShardSums, len(k.plan.shards))
	i := 0
	for at, shard := range k.plan.shards {
		sums[at].Shard = shard
		for ; i < len(k.plan.blocks) && k.plan.blocks[i].shard == shard; i++ {
			for which := range sums[at].Mass {
				sums[at].Mass[which] += k.blockSums[i].mass[which]
				sums[at].Dangling[which] += k.blockSums[i].dangling[which]
				sums[at].Delta[which] += k.blockSums[i].delta[which]
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
	width := k.width()
	b := make([]byte, 0, len(list)*width)
	for _, x := range list {
		if width == 4 {
			b = binary.LittleEndian.AppendUint32(b, math.Float32bits(float32(k.shares[x][which])))
		} else {
			b = binary.LittleEndian.AppendUint64(b, math.Float64bits(float64(k.shares[x][which])))
		}
	}
	return b
}

// take puts values of a message, whose length has been checked, into the
// mirrors.
func (k *vectors[T]) take(list []graph.Vertex, values []byte, which int) {
	width := k.width()
	for i, x := range list {
		if width == 4 {
			k.shares[x][which] = T(math.Float32frombits(binary.LittleEndian.Uint32(values[4*i:])))
		} else {
			k.shares[x][which] = T(math.Float64frombits(binary.LittleEndian.Uint64(values[8*i:])))
		}
	}
}
