package graph

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
	"runtime"
	"slices"

	"github.com/flowhound/flowhound/internal/flow"
	"github.com/flowhound/flowhound/internal/parallel"
)

// Freeze returns the graph as it is now, at the cost of a copy of the last view
// and of the changes since; the first view, and one after changes to a great
// part of the graph, is made from nothing. The view stays as it is while the
// graph changes. The graph waits while the changes are collected, a fraction of
// the time, or while a view is made from nothing.
func (g *Graph) Freeze() *View {
	g.freezing.Lock()
	defer g.freezing.Unlock()
	if v := g.freezeChanges(); v != nil {
		g.base = v
		return v
	}
	g.base = nil // its memory may be needed
	g.mu.Lock()
	defer g.mu.Unlock()
	g.base = g.freezeAll()
	return g.base
}

// Forget lets go of what Freeze keeps of the last view, so that the next view is
// made from nothing.
func (g *Graph) Forget() {
	g.freezing.Lock()
	defer g.freezing.Unlock()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.base = nil
	g.changes = changes{}
	for s := range g.hosts {
		g.hosts[s].number = nil
	}
}

// freezeAll makes a view from nothing, and changes are noted from then on.
func (g *Graph) freezeAll() *View {
	g.checkSize()
	var order [flow.Shards][]sortKey
	inParallel(flow.Shards, func(s int) { order[s] = g.hosts[s].sorted() })
	v := &View{graph: g, owned: g.owned, oldest: g.oldest, links: int(g.stats.Links)}
	for s := range g.hosts {
		v.bounds[s+1] = v.bounds[s] + Vertex(len(order[s]))
	}
	n := v.Len()
	v.keys, v.generations = make([]flow.Pseudonym, n), make([]flow.Generation, n)
	inParallel(flow.Shards, func(s int) { g.hosts[s].enumerate(order[s], v, v.bounds[s]) })
	v.Rows = g.rows(v)
	inParallel(flow.Shards, func(s int) { g.pairs[s].settle() })
	g.changes = changes{noted: true}
	return v
}

// checkSize holds the graph against what a view can number.
func (g *Graph) checkSize() {
	if g.stats.Hosts > maxVertices || g.stats.Pairs > math.MaxUint32/2 {
		panic(fmt.Sprintf("BUG: freeze %d hosts, %d pairs: more than a view can number", g.stats.Hosts, g.stats.Pairs))
	}
}

// sorted returns the hosts in canonical order.
func (hs *hosts) sorted() []sortKey {
	keys := make([]sortKey, 0, len(hs.entries))
	for local := range hs.entries {
		if e := &hs.entries[local]; e.pairs > 0 {
			keys = append(keys, newSortKey(&e.key, uint32(local)))
		}
	}
	return sortKeys(keys)
}

// sortKey is a pseudonym as two words in big-endian order, and its place.
type sortKey struct {
	high, low uint64
	local     uint32
}

func newSortKey(p *flow.Pseudonym, local uint32) sortKey {
	return sortKey{binary.BigEndian.Uint64(p[:8]), binary.BigEndian.Uint64(p[8:]), local}
}

func (k sortKey) before(o sortKey) bool {
	return k.high < o.high || k.high == o.high && k.low < o.low
}

// sortKeys sorts keys: pseudonyms are evenly spread, so that dealing them by
// their upper bits leaves a few to each bucket. Chosen ones cost no more than
// an ordinary sort.
func sortKeys(keys []sortKey) []sortKey {
	const perBucket = 4
	width := bits.Len(uint(len(keys) / perBucket))
	ends := make([]uint32, 1<<width)
	bucket := func(k sortKey) uint64 { return k.high >> 1 >> (63 - width) }
	for _, k := range keys {
		ends[bucket(k)]++
	}
	at := uint32(0)
	for i, size := range ends {
		ends[i] = at
		at += size
	}
	dealt := make([]sortKey, len(keys))
	for _, k := range keys {
		dealt[ends[bucket(k)]] = k
		ends[bucket(k)]++
	}
	at = 0
	for _, end := range ends {
		slices.SortFunc(dealt[at:end], func(a, b sortKey) int {
			if a.high != b.high {
				return cmp.Compare(a.high, b.high)
			}
			return cmp.Compare(a.low, b.low)
		})
		at = end
	}
	return dealt
}

// enumerate copies the sorted hosts into the view from vertex base on, and notes
// the vertex of each place.
func (hs *hosts) enumerate(order []sortKey, v *View, base Vertex) {
	hs.number = make([]Vertex, len(hs.entries))
	hs.added, hs.gone = nil, nil
	for i, k := range order {
		x := base + Vertex(i)
		hs.number[k.local] = x
		v.keys[x], v.generations[x] = hs.entries[k.local].key, hs.entries[k.local].gen
	}
	for local := range hs.entries {
		hs.entries[local].fresh = false
	}
}

// rows builds the rows. Peers are first dealt to the shards of their rows, so
// that each shard's part of the work fits a cache.
func (g *Graph) rows(v *View) Rows {
	next := g.dealSizes() // [shard of the pair][shard of the row]
	total := 0
	var begin [flow.Shards + 1]int
	for row := range flow.Shards {
		begin[row] = total
		for s := range flow.Shards {
			size := next[s][row]
			next[s][row] = total
			total += size
		}
	}
	begin[flow.Shards] = total
	dealt := make([]uint64, total) // row vertex in the upper half, peer in the lower
	inParallel(flow.Shards, func(s int) {
		at := &next[s]
		for i := range g.pairs[s].entries {
			p := &g.pairs[s].entries[i]
			dirs := p.bits & liveBits
			if dirs == 0 {
				continue
			}
			lo, hi := g.vertex(p.lo), g.vertex(p.hi)
			dealt[at[s]] = inRow(lo, newPeer(hi, dirs))
			at[s]++
			row := p.hi.shard()
			dealt[at[row]] = inRow(hi, newPeer(lo, reversed(dirs)))
			at[row]++
		}
	})
	r := newRows(v.Len(), total)
	inParallel(flow.Shards, func(s int) {
		r.fill(v.bounds[s], v.bounds[s+1], uint32(begin[s]), dealt[begin[s]:begin[s+1]])
	})
	r.Start[v.Len()] = uint32(total)
	return r
}

// inRow returns a peer with the vertex in whose row it is, in the upper half.
func inRow(x Vertex, p Peer) uint64 { return uint64(x)<<32 | uint64(p) }

func newRows(n, peers int) Rows {
	return Rows{Start: make([]uint32, n+1), Peers: make([]Peer, peers)}
}

// dealSizes counts the peers by the shard of their pair and of their row.
func (g *Graph) dealSizes() *[flow.Shards][flow.Shards]int {
	sizes := new([flow.Shards][flow.Shards]int)
	inParallel(flow.Shards, func(s int) {
		for i := range g.pairs[s].entries {
			if p := &g.pairs[s].entries[i]; p.bits&liveBits != 0 {
				sizes[s][s]++
				sizes[s][p.hi.shard()]++
			}
		}
	})
	return sizes
}

// fill makes the rows lo ≤ x < hi, which begin at place first, of their peers in
// any order.
func (r *Rows) fill(lo, hi Vertex, first uint32, dealt []uint64) {
	start := r.Start[lo:hi]
	for _, d := range dealt {
		start[Vertex(d>>32)-lo]++
	}
	at := first
	for i, degree := range start {
		start[i] = at
		at += degree
	}
	for _, d := range dealt {
		i := Vertex(d>>32) - lo
		r.Peers[start[i]] = Peer(d)
		start[i]++
	}
	at = first
	for i, end := range start { // each start has moved to its row's end
		sortRow(r.Peers[at:end])
		start[i] = at
		at = end
	}
}

// sortRow sorts a row; most have a handful of entries.
func sortRow(row []Peer) {
	if len(row) > 16 {
		slices.Sort(row)
		return
	}
	for i := 1; i < len(row); i++ {
		x := row[i]
		j := i
		for ; j > 0 && row[j-1] > x; j-- {
			row[j] = row[j-1]
		}
		row[j] = x
	}
}

// inParallel calls f(0) … f(n-1) from all processors and returns when all are
// done.
func inParallel(n int, f func(i int)) {
	parallel.For(n, runtime.GOMAXPROCS(0), func(_, i int) { f(i) })
}
