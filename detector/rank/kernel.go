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

// superstep computes each owned vertex's new ranks from its neighbours' shares.
// The first one has scale 0 and gives every vertex the rank that is its base.
func (k *vectors[T]) superstep(u update) {
	k.each(func(b block, s *blockSums) { k.pull(b, &u, s) })
}

// pull has no branch on the degree, which would be mispredicted every other
// time: a vertex without links gets a share that nobody reads, and a factor of
// 0 or 1 chooses the sum that its rank goes to.
func (k *vectors[T]) pull(b block, u *update, s *blockSums) {
	shares, next, seeds := k.shares, k.next, k.plan.seed
	inCol, outCol := k.rows[server].Col, k.rows[client].Col
	inStart := k.rows[server].Start[b.lo : b.hi+1]
	outStart := k.rows[client].Start[b.lo : b.hi+1]
	servers, clients := k.rank[server][b.lo:b.hi], k.rank[client][b.lo:b.hi]
	scale, base := u.scale, &u.base
	var mass, dangling, delta [2]float64
	inBegin, outBegin := inStart[0], outStart[0]
	for i := range servers {
		x := b.lo + graph.Vertex(i)
		inEnd, outEnd := inStart[i+1], outStart[i+1]
		var in, out float64
		for _, y := range inCol[inBegin:inEnd] {
			in += float64(shares[y][server])
		}
		for _, y := range outCol[outBegin:outEnd] {
			out += float64(shares[y][client])
		}
		indegree, outdegree := inEnd-inBegin, outEnd-outBegin
		inBegin, outBegin = inEnd, outEnd
		seed := 0
		if seeds != nil {
			seed = int(seeds[x/64] >> (x % 64) & 1)
		}
		in = base[server][seed] + float64(scale[server]*in)
		out = base[client][seed] + float64(scale[client]*out)
		delta[server] += math.Abs(in - servers[i])
		delta[client] += math.Abs(out - clients[i])
		servers[i], clients[i] = in, out
		// The server rank leaves by the out-links, the client rank by the in-links.
		share := [2]T{
			server: T(in / float64(int64(max(outdegree, 1)))),
			client: T(out / float64(int64(max(indegree, 1)))),
		}
		next[x] = share
		mass[server] += float64(float64(share[server]) * float64(int64(outdegree)))
		mass[client] += float64(float64(share[client]) * float64(int64(indegree)))
		dangling[server] += float64(in * float64(int64(1-min(outdegree, 1))))
		dangling[client] += float64(out * float64(int64(1-min(indegree, 1))))
	}
	*s = blockSums{mass, dangling, delta}
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
