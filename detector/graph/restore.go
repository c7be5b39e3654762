package graph

import (
	"errors"
	"fmt"
	"iter"
	"runtime"
	"sync"

	"github.com/flowhound/flowhound/internal/flow"
	"github.com/flowhound/flowhound/internal/huge"
)

// Restorer makes a graph of a saved state. It trusts nothing that it is given:
// every rule that Apply keeps is checked. Different shards may be restored at
// the same time, hosts all before pairs.
type Restorer struct {
	g *Graph
	// hosts and pairs keep room for the entries of a shard whose size is not
	// known yet, so that those of the graph are made once, in the right size.
	hosts, pairs sync.Pool
}

// NewRestorer returns a restorer of a graph with the given configuration,
// which must be valid, and window.
func NewRestorer(cfg Config, w Window) (*Restorer, error) {
	if w.Newest < w.Oldest || w.Newest-w.Oldest > 2*maxSpan || !w.Started && w.Newest > 0 {
		return nil, fmt.Errorf("window from slice %d to %d: not a window", w.Oldest, w.Newest)
	}
	g := New(cfg)
	g.oldest, g.newest, g.started = w.Oldest, w.Newest, w.Started
	return &Restorer{
		g:     g,
		hosts: sync.Pool{New: func() any { return new([]hostEntry) }},
		pairs: sync.Pool{New: func() any { return new([]pair) }},
	}, nil
}

// Hosts adds all hosts of a shard, in the order of [Saver]. It returns the first
// error that chunks yield.
func (r *Restorer) Hosts(shard flow.Shard, chunks iter.Seq2[[]SavedHost, error]) error {
	scratch := r.hosts.Get().(*[]hostEntry)
	defer r.hosts.Put(scratch)
	entries := (*scratch)[:0]
	for saved, err := range chunks {
		if err != nil {
			return err
		}
		if len(entries)+len(saved) > localMax {
			return fmt.Errorf("host %d of shard %d: more hosts than a shard holds", len(entries), shard)
		}
		for i := range saved {
			entries = append(entries, hostEntry{key: saved[i].Pseudonym, gen: saved[i].Generation})
		}
	}
	*scratch = entries
	hs := &r.g.hosts[shard]
	hs.entries = append(huge.Advise(make([]hostEntry, 0, len(entries))), entries...)
	return hs.restoreIndex(r.g, shard)
}

// Pairs adds all pairs of a shard, like Hosts, when all hosts of all shards
// have been added.
func (r *Restorer) Pairs(shard flow.Shard, chunks iter.Seq2[[]SavedPair, error]) error {
	scratch := r.pairs.Get().(*[]pair)
	defer r.pairs.Put(scratch)
	entries := (*scratch)[:0]
	for saved, err := range chunks {
		if err != nil {
			return err
		}
		if len(entries)+len(saved) > localMax {
			return fmt.Errorf("pair %d of shard %d: more pairs than a shard holds", len(entries), shard)
		}
		for i := range saved {
			p, err := r.pair(shard, &saved[i])
			if err != nil {
				return fmt.Errorf("pair of hosts %d and %d:%d of shard %d: %w",
					saved[i].Lo, saved[i].HiShard, saved[i].Hi, shard, err)
			}
			entries = append(entries, p)
		}
	}
	*scratch = entries
	ps := &r.g.pairs[shard]
	ps.entries = append(huge.Advise(make([]pair, 0, len(entries))), entries...)
	return ps.restoreIndex(shard)
}

// pair returns the entry of a saved pair.
func (r *Restorer) pair(shard flow.Shard, saved *SavedPair) (p pair, err error) {
	g := r.g
	lo, hi, err := r.ends(shard, saved)
	if err != nil {
		return p, err
	}
	if saved.Live == 0 || saved.Live&^liveBits != 0 || saved.Flows > maxFlows || saved.Bytes > maxBytes {
		return p, fmt.Errorf("direction bits %#x, %d flows, %d bytes: out of range", saved.Live, saved.Flows, saved.Bytes)
	}
	p = pair{lo: lo, hi: hi, bits: saved.Live, due: uint16(saved.Due), port: saved.Port, proto: saved.Proto}
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
			return p, fmt.Errorf("seen in slice %d, due in slice %d: outside of the window", seen, saved.Due)
		}
		p.seen[dir] = uint16(seen)
	}
	return p, nil
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
	g := r.g
	g.countDegrees()
	for s := range g.hosts {
		hs := &g.hosts[s]
		for local := range hs.entries {
			if hs.entries[local].pairs == 0 {
				return nil, fmt.Errorf("shard %d: host %d: no link", s, local)
			}
			g.stats.Links += uint64(hs.entries[local].out)
		}
		g.stats.Hosts += uint64(len(hs.entries))
		g.stats.Pairs += uint64(len(g.pairs[s].entries))
	}
	g.restoreDue(shardRanges(runtime.GOMAXPROCS(0)))
	return g, nil
}

// shardRanges cuts the shards into n ranges from ≤ s < to.
func shardRanges(n int) [][2]int {
	ranges := make([][2]int, min(n, flow.Shards))
	for i := range ranges {
		ranges[i] = [2]int{i * flow.Shards / len(ranges), (i + 1) * flow.Shards / len(ranges)}
	}
	return ranges
}

// restoreDue makes the lists of the pairs that wait for each slice, in the
// order of their places.
func (g *Graph) restoreDue(parts [][2]int) {
	counts := make([][]uint32, len(parts)) // by slices after the oldest
	each := func(part int, f func(slice uint16, r ref)) {
		for s := parts[part][0]; s < parts[part][1]; s++ {
			for local := range g.pairs[s].entries {
				f(g.pairs[s].entries[local].due-uint16(g.oldest), makeRef(flow.Shard(s), uint32(local)))
			}
		}
	}
	parallel(len(parts), func(i int) {
		each(i, func(slice uint16, _ ref) {
			for int(slice) >= len(counts[i]) {
				counts[i] = append(counts[i], 0)
			}
			counts[i][slice]++
		})
	})
	var sizes []uint32
	for _, part := range counts {
		for slice, n := range part {
			if slice == len(sizes) {
				sizes = append(sizes, 0)
			}
			part[slice] = sizes[slice] // where the part's first goes
			sizes[slice] += n
		}
	}
	lists := make([][]ref, len(sizes))
	for slice, n := range sizes {
		lists[slice] = make([]ref, n)
	}
	parallel(len(parts), func(i int) {
		each(i, func(slice uint16, r ref) {
			lists[slice][counts[i][slice]] = r
			counts[i][slice]++
		})
	})
	for slice, list := range lists {
		if len(list) > 0 {
			g.due[g.oldest+flow.Slice(slice)] = list
		}
	}
}

// restoreIndex makes the index of restored hosts.
func (hs *hosts) restoreIndex(g *Graph, shard flow.Shard) error {
	hs.reset(len(hs.entries))
	for local := range hs.entries {
		key := &hs.entries[local].key
		same := func(other uint32) bool { return hs.entries[other].key == *key }
		if !hs.insertNew(g.hashHost(key), uint32(local), same) {
			return fmt.Errorf("host %d of shard %d: saved twice", local, shard)
		}
	}
	return nil
}

// restoreIndex makes the index of restored pairs.
func (ps *pairs) restoreIndex(shard flow.Shard) error {
	ps.reset(len(ps.entries))
	for local := range ps.entries {
		p := &ps.entries[local]
		same := func(other uint32) bool { return ps.entries[other].hi == p.hi && ps.entries[other].lo == p.lo }
		if !ps.insertNew(hashPair(p.lo, p.hi), uint32(local), same) {
			return fmt.Errorf("pair %d of shard %d: saved twice", local, shard)
		}
	}
	return nil
}

// insertNew is insert, unless same says of a place with the same tag that its
// key is the new one's too. It reports whether it inserted.
func (x *index) insertNew(h, local uint32, same func(uint32) bool) bool {
	tag := h << localBits
	i := x.home(h)
	for x.slots[i] != 0 {
		if e := x.slots[i]; e&^localMax == tag && same(e&localMax-1) {
			return false
		}
		if i++; i == uint32(len(x.slots)) {
			i = 0
		}
	}
	x.slots[i] = tag | (local + 1)
	x.used++
	return true
}
