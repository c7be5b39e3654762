package graph

import (
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/flowhound/flowhound/internal/flow"
	"github.com/flowhound/flowhound/internal/huge"
)

// Restorer makes a graph of a saved state. It trusts nothing that it is given:
// every rule that Apply keeps is checked. Different shards may be restored at
// the same time, hosts all before pairs.
type Restorer struct {
	g       *Graph
	degrees [flow.Shards][]degree // of the hosts
	// What is left to do when all pairs are there, dealt while those of a shard
	// are in the cache.
	greater [flow.Shards]dealtHosts
	due     [flow.Shards]dealtDue
}

// NewRestorer returns a restorer of a graph with the given configuration,
// which must be valid, and window.
func NewRestorer(cfg Config, w Window) (*Restorer, error) {
	if w.Newest < w.Oldest || w.Newest-w.Oldest > 2*maxSpan || !w.Started && w.Newest > 0 {
		return nil, fmt.Errorf("window from slice %d to %d: not a window", w.Oldest, w.Newest)
	}
	g := New(cfg)
	g.oldest, g.newest, g.started = w.Oldest, w.Newest, w.Started
	return &Restorer{g: g}, nil
}

// Hosts adds all hosts of a shard, count in number, in the order of [Saver]. It
// returns the first error that chunks yield.
func (r *Restorer) Hosts(shard flow.Shard, count int, chunks iter.Seq2[[]SavedHost, error]) error {
	if count > localMax {
		return fmt.Errorf("%d hosts of shard %d: more than a shard holds", count, shard)
	}
	hs := &r.g.hosts[shard]
	hs.entries = huge.Advise(make([]hostEntry, 0, count))
	hs.reset(count)
	r.degrees[shard] = huge.Make[degree](count)
	for saved, err := range groups(chunks, count) {
		if err != nil {
			return err
		}
		if again, ok := hs.restore(r.g, saved); !ok {
			return fmt.Errorf("host %d of shard %d: saved twice", again, shard)
		}
	}
	return nil
}

// Pairs adds all pairs of a shard, like Hosts, when all hosts of all shards
// have been added.
func (r *Restorer) Pairs(shard flow.Shard, count int, chunks iter.Seq2[[]SavedPair, error]) error {
	if count > localMax {
		return fmt.Errorf("%d pairs of shard %d: more than a shard holds", count, shard)
	}
	ps := &r.g.pairs[shard]
	ps.entries = huge.Advise(make([]pair, 0, count))
	ps.reset(count)
	for saved, err := range groups(chunks, count) {
		if err != nil {
			return err
		}
		if err := r.pairs(shard, saved); err != nil {
			return err
		}
	}
	r.greater[shard], r.due[shard] = ps.dealGreater(), ps.dealDue(r.g.oldest)
	return nil
}

// groups yields what chunks yield in parts of up to group elements, and an error
// unless they are count in all. A group goes through each loop at once, which
// keeps a processor busier than one element through all of them would.
func groups[T any](chunks iter.Seq2[[]T, error], count int) iter.Seq2[[]T, error] {
	return func(yield func([]T, error) bool) {
		for list, err := range chunks {
			if err == nil && len(list) > count {
				err = errors.New("there are more than announced")
			}
			if err != nil {
				yield(nil, err)
				return
			}
			count -= len(list)
			for part := range slices.Chunk(list, group) {
				if !yield(part, nil) {
					return
				}
			}
		}
		if count > 0 {
			yield(nil, fmt.Errorf("there are %d fewer than announced", count))
		}
	}
}

// restore adds up to group hosts. It ends at one that is there again.
func (hs *hosts) restore(g *Graph, saved []SavedHost) (again uint32, ok bool) {
	var hashes [group]uint32
	first := len(hs.entries)
	hs.entries = hs.entries[:first+len(saved)]
	for i := range saved {
		e := &hs.entries[first+i]
		e.key, e.gen = saved[i].Pseudonym, saved[i].Generation
		hashes[i] = g.hashHost(&e.key)
	}
	return hs.insertNew(hashes[:len(saved)], uint32(first), func(a, b uint32) bool {
		return hs.entries[a].key == hs.entries[b].key
	})
}

// pairs adds up to group pairs of a shard.
func (r *Restorer) pairs(shard flow.Shard, saved []SavedPair) error {
	ps, degrees := &r.g.pairs[shard], r.degrees[shard]
	first := len(ps.entries)
	ps.entries = ps.entries[:first+len(saved)]
	var hashes [group]uint32
	for i := range saved {
		p := &ps.entries[first+i]
		if err := r.pair(p, shard, &saved[i]); err != nil {
			return fmt.Errorf("pair of hosts %d and %d:%d of shard %d: %w",
				saved[i].Lo, saved[i].HiShard, saved[i].Hi, shard, err)
		}
		hashes[i] = hashPair(p.lo, p.hi)
	}
	again, ok := ps.insertNew(hashes[:len(saved)], uint32(first), func(a, b uint32) bool {
		return ps.entries[a].lo == ps.entries[b].lo && ps.entries[a].hi == ps.entries[b].hi
	})
	if !ok {
		return fmt.Errorf("pair %d of shard %d: saved twice", again, shard)
	}
	for i := range ps.entries[first:] {
		p := &ps.entries[first+i]
		degrees[p.lo.local()].count(uint32(p.bits >> forward & 1))
	}
	return nil
}

// pair makes the entry of a saved pair.
func (r *Restorer) pair(p *pair, shard flow.Shard, saved *SavedPair) error {
	g := r.g
	lo, hi, err := r.ends(shard, saved)
	if err != nil {
		return err
	}
	if saved.Live == 0 || saved.Live&^liveBits != 0 || saved.Flows > maxFlows || saved.Bytes > maxBytes {
		return fmt.Errorf("direction bits %#x, %d flows, %d bytes: out of range", saved.Live, saved.Flows, saved.Bytes)
	}
	p.lo, p.hi, p.bits, p.due, p.port, p.proto = lo, hi, saved.Live, uint16(saved.Due), saved.Port, saved.Proto
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
	}
	return nil
}

// ends returns the hosts of a saved pair.
func (r *Restorer) ends(shard flow.Shard, saved *SavedPair) (lo, hi ref, err error) {
	g := r.g
	if int(saved.Lo) >= len(r.degrees[shard]) || int(saved.Hi) >= len(r.degrees[saved.HiShard]) {
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
	g := r.g
	var links [flow.Shards]uint64
	var errs [flow.Shards]error
	inParallel(flow.Shards, func(s int) {
		for lo := range s + 1 { // a pair's greater host is in no lesser shard
			r.greater[lo].count(s, r.degrees[s])
		}
		links[s], errs[s] = g.hosts[s].setDegrees(r.degrees[s])
	})
	for s := range g.hosts {
		if errs[s] != nil {
			return nil, fmt.Errorf("shard %d: %w", s, errs[s])
		}
		g.stats.Links += links[s]
		g.stats.Hosts += uint64(len(g.hosts[s].entries))
		g.stats.Pairs += uint64(len(g.pairs[s].entries))
	}
	g.gatherDue(&r.due)
	return g, nil
}

// setDegrees sets the degrees of restored hosts, of which each must have a link,
// and returns the number of links that start at them.
func (hs *hosts) setDegrees(degrees []degree) (links uint64, err error) {
	for local := range hs.entries {
		e, d := &hs.entries[local], &degrees[local]
		if e.pairs, e.out = d.pairs, d.out; d.pairs == 0 {
			return 0, fmt.Errorf("host %d: no link", local)
		}
		links += uint64(d.out)
	}
	return links, nil
}

// insertNew inserts the places from first on, of keys with the given hashes. It
// ends at a place whose key is there again, of which same tells.
func (x *index) insertNew(hashes []uint32, first uint32, same func(a, b uint32) bool) (again uint32, ok bool) {
	for i, h := range hashes {
		local := first + uint32(i)
		tag, at := h<<localBits, x.home(h)
		for ; x.slots[at] != 0; at = x.next(at) { // search would call a function for each
			if e := x.slots[at]; e&^localMax == tag && same(e&localMax-1, local) {
				return local, false
			}
		}
		x.slots[at] = tag | (local + 1)
	}
	x.used += len(hashes)
	return 0, true
}
