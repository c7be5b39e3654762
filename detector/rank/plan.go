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
	hosts    [flow.Shards]int
	weights  []weight
	ranks    int // to compute by each weight: 2, or 1 if undirected, the server rank
	limit    int
	// send[which][node] are the owned vertices that the node mirrors, and
	// receive[which][node] that node's vertices that are mirrored here.
	send, receive [2][][]graph.Vertex
}

func newPlan(v *graph.View, cfg *Config) plan {
	p := plan{limit: cfg.limit(), tileBits: tileBitsFor(v.Len()), ranks: 2}
	if cfg.Undirected {
		p.ranks = 1
	}
	for s := range flow.Shards {
		if cfg.Owner[s] != cfg.Self {
			continue
		}
		shard := flow.Shard(s)
		p.shards = append(p.shards, shard)
		lo, hi := v.Shard(shard)
		p.hosts[s] = int(hi - lo)
		for ; lo < hi; lo += min(blockSize, hi-lo) {
			p.blocks = append(p.blocks, block{shard, lo, lo + min(blockSize, hi-lo)})
		}
	}
	p.tiles = tilesOf(p.blocks, 1<<p.tileBits)
	for _, w := range cfg.Weights {
		p.weights = append(p.weights, newWeight(v, w))
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

// leaving returns the directions of the links by which a rank leaves its vertex.
func (p *plan) leaving(which int) graph.Peer {
	if p.ranks == 1 {
		return graph.Out | graph.In
	}
	return [2]graph.Peer{server: graph.Out, client: graph.In}[which]
}

// entering returns those by which it comes: those by which the other rank leaves.
func (p *plan) entering(which int) graph.Peer { return p.leaving(1 - which) }

// senders returns the number of sending tiles of n vertices.
func (p *plan) senders(n int) int { return (n + 1<<p.tileBits - 1) >> p.tileBits }

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
	for which := range p.ranks {
		leaving := p.leaving(which)
		clear(last)
		for x := range graph.Vertex(v.Len()) {
			node := int(nodeOf[x])
			if node != cfg.Self {
				if slices.ContainsFunc(v.Of(x), func(y graph.Peer) bool { return y.Has(leaving) }) {
					p.receive[which][node] = append(p.receive[which][node], x)
				}
				continue
			}
			for _, y := range v.Of(x) {
				if to := int(nodeOf[y.Vertex()]); y.Has(leaving) && to != cfg.Self && last[to] != x+1 {
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
		sums[i] = ShardSums{Shard: s, Hosts: p.hosts[s], Weights: make([]WeightSums, len(p.weights))}
		for w := range p.weights {
			sums[i].Weights[w].Seeds = p.weights[w].seeds[s]
		}
	}
	return sums
}
