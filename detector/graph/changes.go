package graph

import (
	"slices"
	"sync"
	"unsafe"

	"github.com/flowhound/flowhound/internal/flow"
)

// changes are what happened to the links since the last view. Changes of hosts
// are noted by shard, in hosts.added and hosts.gone.
type changes struct {
	noted bool // since there is a view to count from
	// touched are the places of pairs with a direction that came or went. What
	// the last view had of a pair stands in its frozen bits; of one that was
	// dropped since, in gone.
	touched []ref
	gone    []goneLinks
}

// goneLinks are directions of a dropped pair, by the vertices of the last view.
type goneLinks struct {
	lo, hi Vertex
	dirs   uint8
}

func (c *changes) bytes() uint64 {
	return 4*uint64(cap(c.touched)) + uint64(unsafe.Sizeof(goneLinks{}))*uint64(cap(c.gone))
}

// touch notes that a direction of a pair comes or goes. A view after changes to
// an eighth of the pairs is made from nothing, which is not much slower then.
func (g *Graph) touch(r ref, p *pair) {
	if !g.changes.noted || p.bits&touchedBit != 0 {
		return
	}
	p.bits |= touchedBit
	g.changes.touched = append(g.changes.touched, r)
	if n := uint64(len(g.changes.touched) + len(g.changes.gone)); n > g.stats.Pairs/8+1<<10 {
		g.changes = changes{}
		for s := range g.hosts {
			g.hosts[s].added, g.hosts[s].gone = nil, nil
		}
	}
}

// noteGone notes the directions of a dropped pair that the last view has. It is
// called before the pair's hosts go.
func (g *Graph) noteGone(p *pair) {
	if dirs := p.bits & frozenBits >> frozenShift; dirs != 0 && g.changes.noted {
		g.changes.gone = append(g.changes.gone, goneLinks{g.vertex(p.lo), g.vertex(p.hi), dirs})
	}
	p.bits &= touchedBit
}

// vertex returns the vertex of a host that the last view has.
func (g *Graph) vertex(r ref) Vertex { return g.hosts[r.shard()].number[r.local()] }

// settle notes that the last view has what is live now.
func (ps *pairs) settle() {
	for i := range ps.entries {
		ps.entries[i].settle()
	}
}

func (p *pair) settle() {
	p.bits = p.bits&^(frozenBits|touchedBit) | p.bits&liveBits<<frozenShift
}

// delta is how the next view differs from the last one. A peer whose directions
// change is removed and added.
type delta struct {
	removed  []uint64 // peers in their rows, in any order, by vertices of the last view
	added    []uint64 // by vertices of the next one
	links    uint64   // of the next view
	renumber renumbering
	inserted [flow.Shards][]insertion
	gone     [flow.Shards][]Vertex   // vertices of the last view whose hosts went
	bounds   [flow.Shards + 1]Vertex // of the next view
	oldest   flow.Slice
}

// insertion is a host that the last view does not have, before its vertex at.
type insertion struct {
	at    Vertex
	key   flow.Pseudonym
	gen   flow.Generation
	local uint32
}

// freezeChanges makes the next view from the last one; nil if it must be made
// from nothing.
func (g *Graph) freezeChanges() *View {
	if g.base == nil {
		return nil
	}
	d := g.collect(g.base)
	if d == nil {
		return nil
	}
	return d.apply(g.base)
}

// collect takes the changes since the view old, and numbers the hosts anew.
// Afterwards changes are noted against the next view, which is not there yet.
func (g *Graph) collect(old *View) *delta {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.changes.noted {
		return nil
	}
	g.checkSize()
	d := &delta{oldest: g.oldest, links: g.stats.Links}
	for _, gone := range g.changes.gone {
		d.removed = appendPeers(d.removed, gone.lo, gone.hi, gone.dirs)
	}
	fresh := g.collectTouched(d)
	inParallel(flow.Shards, func(s int) { d.inserted[s], d.gone[s] = g.hosts[s].collect(old, flow.Shard(s)) })
	for s := range flow.Shards {
		hosts := int(old.bounds[s+1]-old.bounds[s]) - len(d.gone[s]) + len(d.inserted[s])
		d.bounds[s+1] = d.bounds[s] + Vertex(hosts)
	}
	d.renumber = newRenumbering(old.Len(), &d.gone, &d.inserted)
	inParallel(flow.Shards, func(s int) { g.hosts[s].renumber(d, s, old.bounds[s]) })
	d.added = g.numberPeers(fresh)
	g.changes = changes{noted: true}
	return d
}

// pairChange is a pair whose directions are new or others than before.
type pairChange struct {
	lo, hi ref
	dirs   uint8
}

// touchedStep is the number of pairs that one goroutine looks at at a time.
const touchedStep = 1 << 13

// collectTouched adds what the last view had of the touched pairs to d.removed
// and returns what they have become, whose hosts may have no vertex yet.
func (g *Graph) collectTouched(d *delta) (fresh []pairChange) {
	var mu sync.Mutex // guards fresh and d.removed
	touched := slices.Collect(slices.Chunk(g.changes.touched, touchedStep))
	inParallel(len(touched), func(i int) {
		var came []pairChange
		var went []uint64
		for _, r := range touched[i] {
			p := g.pairEntry(r)
			live, frozen := p.bits&liveBits, p.bits&frozenBits>>frozenShift
			p.settle()
			if live == frozen {
				continue
			}
			if live != 0 {
				came = append(came, pairChange{p.lo, p.hi, live})
			}
			if frozen != 0 {
				went = appendPeers(went, g.vertex(p.lo), g.vertex(p.hi), frozen)
			}
		}
		mu.Lock()
		defer mu.Unlock()
		fresh, d.removed = append(fresh, came...), append(d.removed, went...)
	})
	return fresh
}

// numberPeers returns the peers that pairs are to each other, by their new
// vertices.
func (g *Graph) numberPeers(fresh []pairChange) (peers []uint64) {
	var mu sync.Mutex // guards peers
	parts := slices.Collect(slices.Chunk(fresh, touchedStep))
	inParallel(len(parts), func(i int) {
		var list []uint64
		for _, c := range parts[i] {
			list = appendPeers(list, g.vertex(c.lo), g.vertex(c.hi), c.dirs)
		}
		mu.Lock()
		defer mu.Unlock()
		peers = append(peers, list...)
	})
	return peers
}

// appendPeers appends what two hosts are to each other.
func appendPeers(to []uint64, lo, hi Vertex, dirs uint8) []uint64 {
	return append(to, inRow(lo, newPeer(hi, dirs)), inRow(hi, newPeer(lo, reversed(dirs))))
}

// collect returns the hosts of a shard that came and the vertices of those that
// went since the view old, both in canonical order.
func (hs *hosts) collect(old *View, s flow.Shard) (inserted []insertion, gone []Vertex) {
	slices.Sort(hs.gone)
	keys := make([]sortKey, 0, len(hs.added))
	for _, local := range hs.added {
		e := &hs.entries[local]
		if e.fresh = false; e.pairs > 0 {
			keys = append(keys, newSortKey(&e.key, local))
		}
	}
	at, hi := old.Shard(s)
	inserted = make([]insertion, 0, len(keys))
	for _, k := range sortKeys(keys) {
		at = old.lowerBound(k, at, hi)
		e := &hs.entries[k.local]
		inserted = append(inserted, insertion{at, e.key, e.gen, k.local})
	}
	gone = hs.gone
	hs.added, hs.gone = nil, nil
	return inserted, gone
}

// lowerBound returns the first vertex lo ≤ x < hi that is not before k, or hi.
func (v *View) lowerBound(k sortKey, lo, hi Vertex) Vertex {
	for lo < hi {
		middle := lo + (hi-lo)/2
		if newSortKey(&v.keys[middle], 0).before(k) {
			lo = middle + 1
		} else {
			hi = middle
		}
	}
	return lo
}

// renumber gives every host of shard s, which began at vertex lo, its vertex in
// the next view.
func (hs *hosts) renumber(d *delta, s int, lo Vertex) {
	d.renumber.vertices(hs.number)
	if missing := len(hs.entries) - len(hs.number); missing > 0 {
		hs.number = append(slices.Grow(hs.number, missing), make([]Vertex, missing)...)
	}
	gone := 0 // before the host in hand
	for i, in := range d.inserted[s] {
		for gone < len(d.gone[s]) && d.gone[s][gone] < in.at {
			gone++
		}
		hs.number[in.local] = d.bounds[s] + in.at - lo + Vertex(i-gone)
	}
}

// sortPeers sorts peers in rows below n, dealing them by row first: a few to each
// bucket, but those of one row stay together.
func sortPeers(peers []uint64, n int) []uint64 {
	const perBucket = 8
	buckets := len(peers)/perBucket + 1
	bucket := func(p uint64) uint64 { return (p >> 32) * uint64(buckets) / uint64(n) }
	ends := make([]uint32, buckets+1)
	for _, p := range peers {
		ends[bucket(p)+1]++
	}
	for i := range buckets {
		ends[i+1] += ends[i]
	}
	dealt := make([]uint64, len(peers))
	for _, p := range peers {
		b := bucket(p)
		dealt[ends[b]] = p
		ends[b]++
	}
	begin := uint32(0)
	for _, end := range ends {
		slices.Sort(dealt[begin:end])
		begin = end
	}
	return dealt
}
