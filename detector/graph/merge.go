package graph

import (
	"slices"
	"sort"

	"github.com/flowhound/flowhound/internal/flow"
)

// apply returns the view that differs from old by d. It is one pass over old:
// runs of rows that did not change are copied with their columns renumbered.
func (d *delta) apply(old *View) *View {
	n := int(d.bounds[flow.Shards])
	v := &View{graph: old.graph, owned: old.owned, oldest: d.oldest, bounds: d.bounds}
	out, in := rowMerge{d: d, from: old.Out}, rowMerge{d: d, from: old.In}
	links := old.Links() - len(d.removed) + len(d.added)
	prepare := []func(){ // fresh memory is cleared, which takes its time too
		func() { out.to = newRows(n, links) },
		func() { in.to = newRows(n, links) },
		func() { v.keys = make([]flow.Pseudonym, n) },
		func() { v.generations = make([]flow.Generation, n) },
		func() { out.removed = sortLinks(d.removed, old.Len()) },
		func() { out.added = sortLinks(d.added, n) },
		func() { in.removed = sortLinks(reversed(d.removed), old.Len()) },
		func() { in.added = sortLinks(reversed(d.added), n) },
	}
	inParallel(len(prepare), func(i int) { prepare[i]() })
	v.Out, v.In = out.to, in.to
	inParallel(flow.Shards, func(i int) {
		s := flow.Shard(i)
		d.hosts(old, v, s)
		out.shard(old, v, s)
		in.shard(old, v, s)
	})
	total := uint32(len(v.Out.Col))
	v.Out.Start[n], v.In.Start[n] = total, total
	return v
}

func newRows(n, links int) Rows {
	return Rows{Start: make([]uint32, n+1), Col: make([]Vertex, links)}
}

// reversed returns the links in the other direction.
func reversed(links []uint64) []uint64 {
	back := make([]uint64, len(links))
	for i, l := range links {
		back[i] = l<<32 | l>>32
	}
	return back
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

// rowMerge makes the next view's out-rows or in-rows.
type rowMerge struct {
	d              *delta
	from, to       Rows
	removed, added []uint64 // row<<32 | column, ascending
}

// linksOf returns those of sorted links whose rows are lo ≤ x < hi, and how
// many are before.
func linksOf(links []uint64, lo, hi Vertex) (part []uint64, before int) {
	find := func(x Vertex) int {
		return sort.Search(len(links), func(i int) bool { return links[i]>>32 >= uint64(x) })
	}
	before = find(lo)
	return links[before:find(hi)], before
}

// rowCursor is how far the rows of a shard are: x in the last view, y in the
// next one, at its columns.
type rowCursor struct {
	x, hi, y       Vertex
	at             uint32
	inserted       []insertion
	gone           []Vertex
	removed, added []uint64
	fetched        lookups
}

// shard makes the rows of a shard.
func (m *rowMerge) shard(old, v *View, s flow.Shard) {
	var c rowCursor
	c.x, c.hi = old.Shard(s)
	lo, end := v.Shard(s)
	c.y, c.inserted, c.gone = lo, m.d.inserted[s], m.d.gone[s]
	var removed, added int
	c.removed, removed = linksOf(m.removed, c.x, c.hi)
	c.added, added = linksOf(m.added, lo, end)
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
		panic("BUG: a change of links has no row")
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
	cols := m.from.Col[begin:m.from.Start[end]]
	m.d.renumber.columns(m.to.Col[c.at:][:len(cols)], cols, &c.fetched)
	c.at += uint32(len(cols))
	c.y += end - c.x
	c.x = end
}

// mergeRow makes row y of the columns of an old row, less the removed and plus
// the added ones. Rows that change are often long, so whatever stays is
// renumbered and moved in runs.
func (m *rowMerge) mergeRow(c *rowCursor, row []Vertex) {
	m.to.Start[c.y] = c.at
	removed := takeRow(&c.removed, c.x-1) // the row is the one before c.x
	added := takeRow(&c.added, c.y)
	// What stays goes behind the room for what comes, and moves from there.
	to := m.to.Col[c.at:][:len(row)-len(removed)+len(added)]
	m.keep(to[len(added):], row, removed, &c.fetched)
	insert(to, added)
	c.at += uint32(len(to))
	c.y++
}

// takeRow takes the links of row x, if any, off the front of a list.
func takeRow(links *[]uint64, x Vertex) []uint64 {
	n := 0
	for n < len(*links) && (*links)[n]>>32 == uint64(x) {
		n++
	}
	row := (*links)[:n]
	*links = (*links)[n:]
	return row
}

// keep renumbers the columns of an old row, less the removed ones.
func (m *rowMerge) keep(to, row []Vertex, removed []uint64, fetched *lookups) {
	for _, l := range removed {
		n, ok := slices.BinarySearch(row, Vertex(l))
		if !ok {
			panic("BUG: a link went that the last view does not have")
		}
		m.d.renumber.columns(to, row[:n], fetched)
		to, row = to[n:], row[n+1:]
	}
	m.d.renumber.columns(to, row, fetched)
}

// insert merges the added links into the columns behind as much room.
func insert(to []Vertex, added []uint64) {
	for i, l := range added {
		stay := to[len(added)-i:]
		n, _ := slices.BinarySearch(stay, Vertex(l))
		copy(to, stay[:n])
		to[n] = Vertex(l)
		to = to[n+1:]
	}
}
