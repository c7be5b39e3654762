package graph

import (
	"math/bits"
	"sort"

	"github.com/flowhound/flowhound/internal/flow"
)

// apply returns the view that differs from old by d. It is one pass over old:
// runs of rows that did not change are copied with their columns renumbered.
func (d *delta) apply(old *View) *View {
	n := int(d.bounds[flow.Shards])
	v := &View{graph: old.graph, owned: old.owned, oldest: d.oldest, bounds: d.bounds}
	parallel(4, func(i int) { // fresh memory is cleared, which takes its time too
		switch i {
		case 0:
			v.Out = d.newRows(old.Out, n)
		case 1:
			v.In = d.newRows(old.In, n)
		case 2:
			v.keys = make([]flow.Pseudonym, n)
		case 3:
			v.generations = make([]flow.Generation, n)
		}
	})
	out := rowMerge{d: d, from: old.Out, to: v.Out, removed: d.removed, added: d.added}
	in := rowMerge{
		d: d, from: old.In, to: v.In,
		removed: sortLinks(reversed(d.removed), old.Len()), added: sortLinks(reversed(d.added), n),
	}
	parallel(flow.Shards, func(i int) {
		s := flow.Shard(i)
		d.hosts(old, v, s)
		out.shard(old, v, s)
		in.shard(old, v, s)
	})
	total := uint32(len(v.Out.Col))
	v.Out.Start[n], v.In.Start[n] = total, total
	return v
}

func (d *delta) newRows(old Rows, n int) Rows {
	return Rows{Start: make([]uint32, n+1), Col: make([]Vertex, len(old.Col)-len(d.removed)+len(d.added))}
}

// reversed returns the links in the other direction.
func reversed(links []uint64) []uint64 {
	back := make([]uint64, len(links))
	for i, l := range links {
		back[i] = l<<32 | l>>32
	}
	return back
}

// gone returns whether vertex x of the last view went.
func (r *renumbering) gone(x Vertex) bool {
	return r.blocks != nil && r.blocks[x/64].gone>>(x%64)&1 != 0
}

// nextGone returns the first vertex from x on that went, or hi.
func (r *renumbering) nextGone(x, hi Vertex) Vertex {
	if r.blocks == nil {
		return hi
	}
	for ; x < hi; x = (x/64 + 1) * 64 {
		if rest := r.blocks[x/64].gone >> (x % 64); rest != 0 {
			return min(hi, x+Vertex(bits.TrailingZeros64(rest)))
		}
	}
	return hi
}

// hosts copies a shard's hosts.
func (d *delta) hosts(old, v *View, s flow.Shard) {
	x, hi := old.Shard(s)
	y, _ := v.Shard(s)
	inserted := d.inserted[s]
	for x < hi || len(inserted) > 0 {
		end := d.renumber.nextGone(x, hi)
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
			x++ // it went
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
	removed, added []uint64
}

// shard makes the rows of a shard.
func (m *rowMerge) shard(old, v *View, s flow.Shard) {
	var c rowCursor
	c.x, c.hi = old.Shard(s)
	lo, end := v.Shard(s)
	c.y, c.inserted = lo, m.d.inserted[s]
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
		case m.d.renumber.gone(c.x):
			n := m.from.Degree(c.x)
			if len(c.removed) < int(n) || n > 0 && c.removed[n-1]>>32 != uint64(c.x) {
				panic("BUG: a host went before its links")
			}
			c.removed = c.removed[n:]
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
	end := m.d.renumber.nextGone(c.x, c.hi)
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
	m.d.renumber.columns(m.to.Col[c.at:][:len(cols)], cols)
	c.at += uint32(len(cols))
	c.y += end - c.x
	c.x = end
}

// columns renumbers a run of columns.
func (r *renumbering) columns(to, from []Vertex) {
	if r.blocks == nil {
		copy(to, from)
		return
	}
	// This is half of the work of a view; it is of without the call.
	blocks, to := r.blocks, to[:len(from)]
	for i, x := range from {
		b := &blocks[x/64]
		if b.crowded != 0 {
			to[i] = r.of(x)
			continue
		}
		upTo := uint64(2)<<(x%64) - 1
		inserted, gone := bits.OnesCount64(b.inserted&upTo), bits.OnesCount64(b.gone&(upTo>>1))
		to[i] = Vertex(b.base + uint32(x%64) + uint32(inserted) - uint32(gone))
	}
}

// mergeRow makes row y of the columns of an old row, less the removed and plus
// the added ones.
func (m *rowMerge) mergeRow(c *rowCursor, row []Vertex) {
	m.to.Start[c.y] = c.at
	for _, x := range row {
		// The row is the one before c.x.
		if len(c.removed) > 0 && c.removed[0] == uint64(c.x-1)<<32|uint64(x) {
			c.removed = c.removed[1:]
			continue
		}
		if m.d.renumber.blocks != nil {
			x = m.d.renumber.of(x)
		}
		for len(c.added) > 0 && c.added[0] < uint64(c.y)<<32|uint64(x) {
			c.add(m.to.Col)
		}
		m.to.Col[c.at] = x
		c.at++
	}
	for len(c.added) > 0 && c.added[0]>>32 == uint64(c.y) {
		c.add(m.to.Col)
	}
	c.y++
}

// add takes the next added link.
func (c *rowCursor) add(col []Vertex) {
	col[c.at] = Vertex(c.added[0])
	c.at++
	c.added = c.added[1:]
}
