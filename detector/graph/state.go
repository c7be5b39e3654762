package graph

import (
	"math/bits"

	"github.com/flowhound/flowhound/internal/flow"
)

// Window is the span of slices that a graph holds.
type Window struct {
	Oldest, Newest flow.Slice
	Started        bool // false until the first contact or Expire
}

// SavedHost is a host as a [Saver] gives it out. Its number in the saved state is
// its place among its shard's hosts, from 0 on.
type SavedHost struct {
	Pseudonym  flow.Pseudonym
	Generation flow.Generation
}

// SavedPair is a pair of hosts Lo < Hi as a [Saver] gives it out. It belongs to the
// shard of Lo.
type SavedPair struct {
	Lo, Hi   uint32 // numbers within their shards
	Bytes    uint64
	Flows    uint32
	Seen     [2]flow.Slice // newest slice by direction; 0 if not live
	Due      flow.Slice    // at most the least of Seen
	Port     uint16
	Proto    uint8
	HiShard  flow.Shard
	Live     uint8 // bit 0: Lo → Hi is live, bit 1: Hi → Lo
	Answered bool
}

// Saver gives out the state of a graph, which can be read meanwhile but not
// changed. Its methods may be called at the same time.
type Saver struct {
	g            *Graph
	number       [flow.Shards]placeNumbers
	hosts, pairs []stretch
}

// stretch is the places of a shard from first on, savedChunk of them or up to
// the last.
type stretch struct {
	shard flow.Shard
	first int
}

// savedChunk bounds the hosts or pairs given out at once.
const savedChunk = 1024

// NewSaver returns a saver of g. The caller closes it.
func NewSaver(g *Graph) *Saver {
	g.mu.RLock()
	s := &Saver{g: g}
	for shard := range flow.Shards {
		s.hosts = appendStretches(s.hosts, flow.Shard(shard), len(g.hosts[shard].entries))
		s.pairs = appendStretches(s.pairs, flow.Shard(shard), len(g.pairs[shard].entries))
	}
	inParallel(flow.Shards, func(shard int) { s.number[shard] = g.hosts[shard].placeNumbers() })
	return s
}

func appendStretches(to []stretch, shard flow.Shard, places int) []stretch {
	for first := 0; first < places; first += savedChunk {
		to = append(to, stretch{shard, first})
	}
	return to
}

// Close lets the graph change again. The saver must not be used any more.
func (s *Saver) Close() { s.g.mu.RUnlock() }

// Window returns the graph's window.
func (s *Saver) Window() Window { return Window{s.g.oldest, s.g.newest, s.g.started} }

// HostChunks returns the number of chunks of hosts, shards ascending.
func (s *Saver) HostChunks() int { return len(s.hosts) }

// Hosts appends the hosts of a chunk, which may be none.
func (s *Saver) Hosts(to []SavedHost, chunk int) (flow.Shard, []SavedHost) {
	c := s.hosts[chunk]
	entries := s.g.hosts[c.shard].entries[c.first:]
	for i := range entries[:min(savedChunk, len(entries))] {
		if e := &entries[i]; e.pairs > 0 {
			to = append(to, SavedHost{e.key, e.gen})
		}
	}
	return c.shard, to
}

// PairChunks returns the number of chunks of pairs, shards ascending.
func (s *Saver) PairChunks() int { return len(s.pairs) }

// Pairs appends the pairs of a chunk, which may be none.
func (s *Saver) Pairs(to []SavedPair, chunk int) (flow.Shard, []SavedPair) {
	c := s.pairs[chunk]
	entries := s.g.pairs[c.shard].entries[c.first:]
	for i := range entries[:min(savedChunk, len(entries))] {
		if p := &entries[i]; p.bits&liveBits != 0 {
			to = append(to, SavedPair{})
			s.pair(&to[len(to)-1], c.shard, p)
		}
	}
	return c.shard, to
}

// pair sets saved, which is zero, to a pair.
func (s *Saver) pair(saved *SavedPair, shard flow.Shard, p *pair) {
	saved.Lo = s.number[shard].of(p.lo.local())
	saved.HiShard, saved.Hi = p.hi.shard(), s.number[p.hi.shard()].of(p.hi.local())
	saved.Live, saved.Answered = p.bits&liveBits, p.bits&answeredBit != 0
	saved.Flows, saved.Bytes = p.unpack()
	saved.Due, saved.Port, saved.Proto = wide(s.g.oldest, p.due), p.port, p.proto
	for dir := forward; dir <= backward; dir++ {
		if p.live(dir) {
			saved.Seen[dir] = wide(s.g.oldest, p.seen[dir])
		}
	}
}

// placeNumbers tells the number of a host among its shard's of its place, by
// counting. It is small, so that looking both hosts of every pair up is cheap.
type placeNumbers []placeBlock

// placeBlock covers 64 places.
type placeBlock struct {
	live   uint64 // a bit for each place that has a host
	before uint32 // hosts before the first
}

func (hs *hosts) placeNumbers() placeNumbers {
	blocks := make(placeNumbers, (len(hs.entries)+63)/64)
	next := uint32(0)
	for i := range blocks {
		b := &blocks[i]
		b.before = next
		for bit, e := range hs.entries[64*i : min(64*i+64, len(hs.entries))] {
			if e.pairs > 0 {
				b.live |= 1 << bit
			}
		}
		next += uint32(bits.OnesCount64(b.live))
	}
	return blocks
}

func (n placeNumbers) of(local uint32) uint32 {
	b := &n[local/64]
	return b.before + uint32(bits.OnesCount64(b.live&(1<<(local%64)-1)))
}
