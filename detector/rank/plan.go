package rank

import (
	"encoding/binary"
	"math/bits"
	"slices"

	"github.com/flowhound/flowhound/detector/graph"
	"github.com/flowhound/flowhound/internal/flow"
)

// blockSize is the number of vertices whose sums are added up first, in the
// order of the view. A shard's blocks begin at its first vertex, so blocks are
// the same for every placement of shards. The size is part of the canonical
// order: changing it changes the last bits of ranks.
const blockSize = 1 << 13

// block is a range of vertices of one shard.
type block struct {
	shard  flow.Shard
	lo, hi graph.Vertex
}

// tile is a range of owned vertices that lie together, made of whole blocks.
// It is a unit of work: ranks do not depend on its size.
type tile struct {
	lo, hi      graph.Vertex
	first, last int // its blocks: first ≤ i < last
}

// plan is what a ranking knows before its first round.
type plan struct {
	blocks []block // of the owned shards, in canonical order
	tiles  []tile
	// tileBits is the size of a sending tile: vertex x is in tile x>>tileBits.
	tileBits int
	shards   []flow.Shard
	counts   [flow.Shards]struct{ hosts, seeds int }
	// seed has a bit per vertex; nil if this node has no seed.
	seed  []uint64
	seeds int // of the owned shards in round 0, then over all nodes
	limit int
	// send[which][node] are the owned vertices that the node mirrors, and
	// receive[which][node] that node's vertices that are mirrored here.
	send, receive [2][][]graph.Vertex
}

func newPlan(v *graph.View, cfg *Config) plan {
	p := plan{limit: cfg.limit(), tileBits: tileBitsFor(v.Len())}
	for s := range flow.Shards {
		if cfg.Owner[s] != cfg.Self {
			continue
		}
		shard := flow.Shard(s)
		p.shards = append(p.shards, shard)
		lo, hi := v.Shard(shard)
		p.counts[s].hosts = int(hi - lo)
		for ; lo < hi; lo += min(blockSize, hi-lo) {
			p.blocks = append(p.blocks, block{shard, lo, lo + min(blockSize, hi-lo)})
		}
	}
	p.tiles = tilesOf(p.blocks, 1<<p.tileBits)
	seeds := slices.Clone(cfg.Seeds)
	slices.Sort(seeds)
	for _, x := range slices.Compact(seeds) {
		shard := v.ShardOf(x)
		if !v.Owned(shard) {
			continue
		}
		if p.seed == nil {
			p.seed = make([]uint64, v.Len()/64+1)
		}
		p.seed[x/64] |= 1 << (x % 64)
		p.counts[shard].seeds++
		p.seeds++
	}
	for which := range p.send {
		p.send[which] = make([][]graph.Vertex, cfg.Nodes)
		p.receive[which] = make([][]graph.Vertex, cfg.Nodes)
	}
	if cfg.Nodes > 1 {
		p.mirror(v, cfg)
	}
	return p
}

// senders returns the number of sending tiles of n vertices.
func (p *plan) senders(n int) int { return (n + 1<<p.tileBits - 1) >> p.tileBits }

// isSeed returns 1 of a seed and 0 of another host.
func (p *plan) isSeed(x graph.Vertex) int {
	if p.seed == nil {
		return 0
	}
	return int(p.seed[x/64] >> (x % 64) & 1)
}

// weights returns W for other hosts and for seeds, of which all nodes together
// have p.seeds.
func (p *plan) weights(params *Params, hosts int) (w [2]float64) {
	n := float64(hosts)
	w = [2]float64{1 / n, 1 / n}
	if p.seeds > 0 {
		w[0] = (1 - params.Lambda) / n
		w[1] = w[0] + params.Lambda/float64(p.seeds)
	}
	return w
}

// tilesOf joins neighbouring blocks to tiles of at most size vertices, or of one
// block.
func tilesOf(blocks []block, size graph.Vertex) (tiles []tile) {
	for i, b := range blocks {
		if n := len(tiles); n > 0 && tiles[n-1].hi == b.lo && b.hi-tiles[n-1].lo <= size {
			tiles[n-1].hi, tiles[n-1].last = b.hi, i+1
		} else {
			tiles = append(tiles, tile{b.lo, b.hi, i, i + 1})
		}
	}
	return tiles
}

// mirror fills send and receive. A server share is read by the rows that its
// host's out-links lead to, a client share by those its in-links come from;
// both ends hold the link, so both sides find the same hosts without telling
// each other.
func (p *plan) mirror(v *graph.View, cfg *Config) {
	nodeOf := make([]int32, v.Len())
	for s, node := range cfg.Owner {
		lo, hi := v.Shard(flow.Shard(s))
		for x := lo; x < hi; x++ {
			nodeOf[x] = int32(node)
		}
	}
	last := make([]graph.Vertex, cfg.Nodes) // 1 + the vertex last sent to a node
	for which, rows := range [2]graph.Rows{server: v.Out, client: v.In} {
		clear(last)
		for x := range graph.Vertex(v.Len()) {
			node := int(nodeOf[x])
			if node != cfg.Self {
				if rows.Degree(x) > 0 {
					p.receive[which][node] = append(p.receive[which][node], x)
				}
				continue
			}
			for _, y := range rows.Of(x) {
				if to := int(nodeOf[y]); to != cfg.Self && last[to] != x+1 {
					p.send[which][to] = append(p.send[which][to], x)
					last[to] = x + 1
				}
			}
		}
	}
}

// mirrors describes a list of mirrored vertices.
func (p *plan) mirrors(v *graph.View, list []graph.Vertex) Mirrors {
	digest := uint64(1)
	for _, x := range list {
		h := v.Host(x)
		hi, lo := bits.Mul64(digest^binary.LittleEndian.Uint64(h.Pseudonym[:8]), 0x9e3779b97f4a7c15)
		hi, lo = bits.Mul64(hi^lo^binary.LittleEndian.Uint64(h.Pseudonym[8:]), 0xe7037ed1a0b428db)
		digest = hi ^ lo ^ uint64(h.Shard)
	}
	return Mirrors{len(list), digest}
}

// greeting returns the own shards' sums of round 0.
func (p *plan) greeting() []ShardSums {
	sums := make([]ShardSums, len(p.shards))
	for i, s := range p.shards {
		sums[i] = ShardSums{Shard: s, Hosts: p.counts[s].hosts, Seeds: p.counts[s].seeds}
	}
	return sums
}

// update is how a superstep makes a new rank of a row's sum: base + scale·sum,
// by rank (server, client).
type update struct {
	scale [2]float64
	base  [2][2]float64 // for other hosts and for seeds
}

// update returns base = (1-d)·W + d·(dangling mass's part) and scale, which is
// d but for the mass that rounding shares to float32 took or added: correcting
// it keeps the sum of the ranks at 1, and ranks of 0 at 0.
func (p *plan) update(params *Params, t totals) (u update) {
	n := float64(t.hosts)
	w := p.weights(params, t.hosts)
	for which := range u.base {
		if t.mass[which] > 0 {
			u.scale[which] = params.Damping * (1 - t.dangling[which]) / t.mass[which]
		}
		for seed := range w {
			part := 1 / n
			if params.DanglingW {
				part = w[seed]
			}
			u.base[which][seed] = float64((1-params.Damping)*w[seed]) + float64(params.Damping*t.dangling[which]*part)
		}
	}
	return u
}
