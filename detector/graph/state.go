package graph

import "github.com/flowhound/flowhound/internal/flow"

// Window is the span of slices that a graph holds.
type Window struct {
	Oldest, Newest flow.Slice
	Started        bool // false until the first contact or Expire
}

// SavedHost is a host as Save gives it out. Its number in the saved state is
// its place among its shard's hosts, from 0 on.
type SavedHost struct {
	Pseudonym  flow.Pseudonym
	Generation flow.Generation
}

// SavedPair is a pair of hosts Lo < Hi as Save gives it out. It belongs to the
// shard of Lo.
type SavedPair struct {
	Lo, Hi   uint32 // numbers within their shards
	HiShard  flow.Shard
	Live     uint8         // bit 0: Lo → Hi is live, bit 1: Hi → Lo
	Seen     [2]flow.Slice // newest slice by direction; 0 if not live
	Due      flow.Slice    // at most the least of Seen
	Answered bool
	Flows    uint32
	Bytes    uint64
	Port     uint16
	Proto    uint8
}

// Saver takes a graph's state, in the order of its methods: all hosts before
// all pairs, shards ascending, each shard in chunks that are valid during the call.
type Saver interface {
	Window(Window) error
	Hosts(flow.Shard, []SavedHost) error
	Pairs(flow.Shard, []SavedPair) error
}

// savedChunk is the number of hosts or pairs given out at once.
const savedChunk = 4096

// Save gives the whole state to s and returns its first error. The graph can
// be read meanwhile, but not changed.
func (g *Graph) Save(s Saver) error {
	g.mu.RLock()
	defer g.mu.RUnlock()
	if err := s.Window(Window{g.oldest, g.newest, g.started}); err != nil {
		return err
	}
	var number [flow.Shards][]uint32 // by place
	for shard := range flow.Shards {
		var err error
		if number[shard], err = g.hosts[shard].save(flow.Shard(shard), s); err != nil {
			return err
		}
	}
	for shard := range flow.Shards {
		if err := g.savePairs(flow.Shard(shard), &number, s); err != nil {
			return err
		}
	}
	return nil
}

func (hs *hosts) save(shard flow.Shard, s Saver) (number []uint32, err error) {
	number = make([]uint32, len(hs.entries))
	chunk := make([]SavedHost, 0, min(savedChunk, len(hs.entries)))
	next := uint32(0)
	for local := range hs.entries {
		e := &hs.entries[local]
		if e.pairs == 0 {
			continue
		}
		number[local] = next
		next++
		if chunk = append(chunk, SavedHost{e.key, e.gen}); len(chunk) == savedChunk {
			if err := s.Hosts(shard, chunk); err != nil {
				return nil, err
			}
			chunk = chunk[:0]
		}
	}
	if len(chunk) > 0 {
		err = s.Hosts(shard, chunk)
	}
	return number, err
}

func (g *Graph) savePairs(shard flow.Shard, number *[flow.Shards][]uint32, s Saver) error {
	entries := g.pairs[shard].entries
	chunk := make([]SavedPair, 0, min(savedChunk, len(entries)))
	for i := range entries {
		p := &entries[i]
		if p.bits&liveBits == 0 {
			continue
		}
		flows, bytes := p.unpack()
		saved := SavedPair{
			Lo: number[shard][p.lo.local()], HiShard: p.hi.shard(), Hi: number[p.hi.shard()][p.hi.local()],
			Live: p.bits & liveBits, Due: wide(g.oldest, p.due), Answered: p.bits&answeredBit != 0,
			Flows: flows, Bytes: bytes, Port: p.port, Proto: p.proto,
		}
		for dir := forward; dir <= backward; dir++ {
			if p.live(dir) {
				saved.Seen[dir] = wide(g.oldest, p.seen[dir])
			}
		}
		if chunk = append(chunk, saved); len(chunk) == savedChunk {
			if err := s.Pairs(shard, chunk); err != nil {
				return err
			}
			chunk = chunk[:0]
		}
	}
	if len(chunk) == 0 {
		return nil
	}
	return s.Pairs(shard, chunk)
}
