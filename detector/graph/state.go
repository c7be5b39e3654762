package graph

import (
	"errors"
	"fmt"

	"github.com/flowhound/flowhound/internal/flow"
)

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
// all pairs, shards ascending, in chunks that are valid during the call.
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

// Restorer makes a graph of a saved state. It trusts nothing that it is given:
// every rule that Apply keeps is checked.
type Restorer struct{ g *Graph }

// NewRestorer returns a restorer of a graph with the given configuration,
// which must be valid, and window.
func NewRestorer(cfg Config, w Window) (*Restorer, error) {
	if w.Newest < w.Oldest || w.Newest-w.Oldest > 2*maxSpan || !w.Started && w.Newest > 0 {
		return nil, fmt.Errorf("window from slice %d to %d: not a window", w.Oldest, w.Newest)
	}
	g := New(cfg)
	g.oldest, g.newest, g.started = w.Oldest, w.Newest, w.Started
	return &Restorer{g}, nil
}

// Hosts adds hosts of a shard, in the order of Save.
func (r *Restorer) Hosts(shard flow.Shard, saved []SavedHost) error {
	hs := &r.g.hosts[shard]
	if len(hs.entries)+len(saved) > localMax {
		return fmt.Errorf("host %d of shard %d: more hosts than a shard holds", len(hs.entries), shard)
	}
	for i := range saved {
		hs.added = append(grow(hs.added), uint32(len(hs.entries)))
		hs.entries = append(grow(hs.entries), hostEntry{key: saved[i].Pseudonym, gen: saved[i].Generation, fresh: true})
	}
	r.g.stats.Hosts += uint64(len(saved))
	return nil
}

// Pairs adds pairs of a shard. All hosts must have been added before.
func (r *Restorer) Pairs(shard flow.Shard, saved []SavedPair) error {
	for i := range saved {
		if err := r.pair(shard, &saved[i]); err != nil {
			return fmt.Errorf("pair of hosts %d and %d:%d of shard %d: %w",
				saved[i].Lo, saved[i].HiShard, saved[i].Hi, shard, err)
		}
	}
	return nil
}

func (r *Restorer) pair(shard flow.Shard, saved *SavedPair) error {
	g := r.g
	lo, hi, err := r.ends(shard, saved)
	if err != nil {
		return err
	}
	if saved.Live == 0 || saved.Live&^liveBits != 0 || saved.Flows > maxFlows || saved.Bytes > maxBytes {
		return fmt.Errorf("direction bits %#x, %d flows, %d bytes: out of range", saved.Live, saved.Flows, saved.Bytes)
	}
	ps := &g.pairs[shard]
	if len(ps.entries) == localMax {
		return errors.New("more pairs than a shard holds")
	}
	p := pair{lo: lo, hi: hi, bits: saved.Live, due: uint16(saved.Due), port: saved.Port, proto: saved.Proto}
	p.pack(uint64(saved.Flows), saved.Bytes)
	if saved.Answered {
		p.bits |= answeredBit
	}
	for dir := forward; dir <= backward; dir++ {
		if !p.live(dir) {
			continue
		}
		seen := saved.Seen[dir]
		if seen < saved.Due || saved.Due < g.oldest || seen > g.newest || seen-g.oldest >= maxSpan {
			return fmt.Errorf("seen in slice %d, due in slice %d: outside of the window", seen, saved.Due)
		}
		p.seen[dir] = uint16(seen)
		g.hostEntry(p.source(dir)).out++
		g.stats.Links++
	}
	g.hostEntry(lo).pairs++
	g.hostEntry(hi).pairs++
	g.stats.Pairs++
	g.due[saved.Due] = append(grow(g.due[saved.Due]), makeRef(shard, uint32(len(ps.entries))))
	ps.entries = append(grow(ps.entries), p)
	return nil
}

// ends returns the hosts of a saved pair.
func (r *Restorer) ends(shard flow.Shard, saved *SavedPair) (lo, hi ref, err error) {
	g := r.g
	if int(saved.Lo) >= len(g.hosts[shard].entries) || int(saved.Hi) >= len(g.hosts[saved.HiShard].entries) {
		return 0, 0, errors.New("no such host")
	}
	lo, hi = makeRef(shard, saved.Lo), makeRef(saved.HiShard, saved.Hi)
	ordered := shard < saved.HiShard
	if shard == saved.HiShard {
		ordered = newSortKey(&g.hostEntry(lo).key, 0).before(newSortKey(&g.hostEntry(hi).key, 0))
	}
	if !ordered {
		return 0, 0, errors.New("not in canonical order")
	}
	if !g.owned[shard] && !g.owned[saved.HiShard] {
		return 0, 0, errors.New("neither shard is this node's")
	}
	return lo, hi, nil
}

// Graph returns the restored graph. The restorer must not be used any more.
func (r *Restorer) Graph() (*Graph, error) {
	var errs [flow.Shards]error
	parallel(flow.Shards, func(s int) {
		if errs[s] = r.g.hosts[s].restoreIndex(r.g); errs[s] == nil {
			errs[s] = r.g.pairs[s].restoreIndex()
		}
	})
	for s, err := range errs {
		if err != nil {
			return nil, fmt.Errorf("shard %d: %w", s, err)
		}
	}
	return r.g, nil
}

// restoreIndex makes the index of restored hosts.
func (hs *hosts) restoreIndex(g *Graph) error {
	hs.reset(len(hs.entries))
	for local := range hs.entries {
		e := &hs.entries[local]
		if e.pairs == 0 {
			return fmt.Errorf("host %d: no link", local)
		}
		h := g.hashHost(&e.key)
		if _, found := hs.find(h, &e.key); found {
			return fmt.Errorf("host %d: saved twice", local)
		}
		hs.insert(h, uint32(local))
	}
	return nil
}

// restoreIndex makes the index of restored pairs.
func (ps *pairs) restoreIndex() error {
	ps.reset(len(ps.entries))
	for local := range ps.entries {
		p := &ps.entries[local]
		h := hashPair(p.lo, p.hi)
		if _, found := ps.find(h, p.lo, p.hi); found {
			return fmt.Errorf("pair %d: saved twice", local)
		}
		ps.insert(h, uint32(local))
	}
	return nil
}
