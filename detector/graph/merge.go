package graph

import (
	"slices"
	"sort"

	"github.com/flowhound/flowhound/internal/flow"
)

// apply returns the view that differs from old by d. It is one pass over old:
// runs of rows that did not change are copied with their peers renumbered.
func (d *delta) apply(old *View) *View {
	n := int(d.bounds[flow.Shards])
	v := &View{graph: old.graph, owned: old.owned, oldest: d.oldest, bounds: d.bounds, links: int(d.links)}
	m := rowMerge{renumber: &d.renumber, from: old.Rows}
	prepare := []func(){ // fresh memory is cleared, which takes its time too
		func() { m.to = newRows(n, len(old.Peers)-len(d.removed)+len(d.added)) },
		func() { m.removed = sortPeers(d.removed, old.Len()) },
		func() { m.added = sortPeers(d.added, n) },
		func() { v.keys = make([]flow.Pseudonym, n) },
		func() { v.generations = make([]flow.Generation, n) },
	}
	inParallel(len(prepare), func(i int) { prepare[i]() })
	v.Rows = m.to
	inParallel(flow.Shards, func(i int) {
		s := flow.Shard(i)
		d.hosts(old, v, s)
		m.shard(d, old, v, s)
	})
	v.Start[n] = uint32(len(v.Peers))
	return v
}

// hosts copies a shard's hosts.
func (d *delta) hosts(old, v *View, s flow.Shard) {
	x, hi := old.Shard(s)
	y, _ := v.Shard(s)
	inserted, gone := d.inserted[s], d.gone[s]
	for x < hi || len(inserted) > 0 {
		end := hi
		if len(gone) > 0 {
			end = gone[0]
		}
		if len(inserted) > 0 {
			end = min(end, inserted[0].at)
		}
		copy(v.keys[y:], old.keys[x:end])
		copy(v.generations[y:], old.generations[x:end])
		y += end - x
		x = end
		switch {
		case len(inserted) > 0 && inserted[0].at == x:
			v.keys[y], v.generations[y] = inserted[0].key, inserted[0].gen
			inserted = inserted[1:]
			y++
		case x < hi:
			gone = gone[1:]
			x++
		}
	}
}

// rowMerge makes the next view's rows.
type rowMerge struct {
	renumber       *renumbering
	from, to       Rows
	removed, added []uint64 // peers in their rows, ascending
}

// peersOf returns those of sorted peers whose rows are lo ≤ x < hi, and how
// many are before.
func peersOf(peers []uint64, lo, hi Vertex) (part []uint64, before int) {
	find := func(x Vertex) int {
		return sort.Search(len(peers), func(i int) bool { return peers[i]>>32 >= uint64(x) })
	}
	before = find(lo)
	return peers[before:find(hi)], before
}

// rowCursor is how far the rows of a shard are: x in the last view, y in the
// next one, at its peers.
type rowCursor struct {
	x, hi, y       Vertex
	at             uint32
	inserted       []insertion
	gone           []Vertex
	removed, added []uint64
}

// shard makes the rows of a shard.
func (m *rowMerge) shard(d *delta, old, v *View, s flow.Shard) {
	var c rowCursor
	c.x, c.hi = old.Shard(s)
	lo, end := v.Shard(s)
	c.y, c.inserted, c.gone = lo, d.inserted[s], d.gone[s]
	var removed, added int
	c.removed, removed = peersOf(m.removed, c.x, c.hi)
	c.added, added = peersOf(m.added, lo, end)
	c.at = m.from.Start[c.x] - uint32(removed) + uint32(added)
	for c.x < c.hi || len(c.inserted) > 0 {
		m.copyRun(&c)
		switch {
		case len(c.inserted) > 0 && c.inserted[0].at == c.x:
			c.inserted = c.inserted[1:]
			m.mergeRow(&c, nil)
		case c.x == c.hi:
		case len(c.gone) > 0 && c.gone[0] == c.x:
			c.gone = c.gone[1:]
			if len(takeRow(&c.removed, c.x)) != int(m.from.Degree(c.x)) {
				panic("BUG: a host went before its links")
			}
			c.x++
		default:
			row := m.from.Of(c.x)
			c.x++
			m.mergeRow(&c, row)
		}
	}
	if len(c.removed)+len(c.added) > 0 || c.y != end {
		panic("BUG: a change has no row")
	}
}

// copyRun copies rows up to the next one that changed.
func (m *rowMerge) copyRun(c *rowCursor) {
	end := c.hi
	if len(c.gone) > 0 {
		end = c.gone[0]
	}
	if len(c.inserted) > 0 {
		end = min(end, c.inserted[0].at)
	}
	if len(c.removed) > 0 {
		end = min(end, Vertex(c.removed[0]>>32))
	}
	if len(c.added) > 0 { // up to end the rows keep their distance
		end = min(end, c.x+Vertex(c.added[0]>>32)-c.y)
	}
	if end <= c.x {
		return
	}
	begin := m.from.Start[c.x]
	starts := m.from.Start[c.x:end]
	to := m.to.Start[c.y:][:len(starts)]
	for i, start := range starts {
		to[i] = start - begin + c.at
	}
	peers := m.from.Peers[begin:m.from.Start[end]]
	m.renumber.peers(m.to.Peers[c.at:][:len(peers)], peers)
	c.at += uint32(len(peers))
	c.y += end - c.x
	c.x = end
}

// mergeRow makes row y of the peers of an old row, less the removed and plus the
// added ones. Rows that change are often long, so whatever stays is
// renumbered and moved in runs.
func (m *rowMerge) mergeRow(c *rowCursor, row []Peer) {
	m.to.Start[c.y] = c.at
	removed := takeRow(&c.removed, c.x-1) // the row is the one before c.x
	added := takeRow(&c.added, c.y)
	// What stays goes behind the room for what comes, and moves from there.
	to := m.to.Peers[c.at:][:len(row)-len(removed)+len(added)]
	m.keep(to[len(added):], row, removed)
	insert(to, added)
	c.at += uint32(len(to))
	c.y++
}

// takeRow takes the peers of row x, if any, off the front of a list.
func takeRow(peers *[]uint64, x Vertex) []uint64 {
	n := 0
	for n < len(*peers) && (*peers)[n]>>32 == uint64(x) {
		n++
	}
	row := (*peers)[:n]
	*peers = (*peers)[n:]
	return row
}

// keep renumbers the peers of an old row, less the removed ones.
func (m *rowMerge) keep(to, row []Peer, removed []uint64) {
	for _, p := range removed {
		n, ok := slices.BinarySearch(row, Peer(p))
		if !ok {
			panic("BUG: a peer went that the last view does not have")
		}
		m.renumber.peers(to, row[:n])
		to, row = to[n:], row[n+1:]
	}
	m.renumber.peers(to, row)
}

// insert merges the added peers into those behind as much room.
func insert(to []Peer, added []uint64) {
	for i, p := range added {
		stay := to[len(added)-i:]
		n, _ := slices.BinarySearch(stay, Peer(p))
		copy(to, stay[:n])
		to[n] = Peer(p)
		to = to[n+1:]
	}
}
