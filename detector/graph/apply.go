package graph

import (
	"math/bits"

	"github.com/flowhound/flowhound/internal/flow"
)

// Apply takes the contacts of one batch, whose pseudonyms are of generation
// gen. It never fails: what it refuses is counted by reason in [Stats].
// Applying a contact again, or its other half, leaves the topology as it is.
// Flows and bytes are evidence only; of a contact whose both shards are this
// node's, the half told to the lesser host carries them.
func (g *Graph) Apply(gen flow.Generation, contacts []flow.Contact) {
	g.mu.Lock()
	defer g.mu.Unlock()
	var batch [group]lookup
	for len(contacts) > 0 {
		n := min(group, len(contacts))
		g.applyGroup(gen, contacts[:n], batch[:0])
		contacts = contacts[n:]
	}
}

// applyGroup takes up to group contacts, stage by stage: each stage asks for the
// memory that the next one reads.
func (g *Graph) applyGroup(gen flow.Generation, contacts []flow.Contact, batch []lookup) {
	for i := range contacts {
		c := &contacts[i]
		if reason := g.admissible(c); reason != Reasons {
			g.stats.Drops[reason]++
			continue
		}
		batch = append(batch, g.orient(c))
	}
	g.stats.Contacts += uint64(len(batch))
	for i := range batch {
		g.guessHosts(&batch[i])
	}
	for i := range batch {
		g.checkHosts(&batch[i])
	}
	for i := range batch {
		g.guessPair(&batch[i])
	}
	unlinks := g.unlinks
	for i := range batch {
		l := &batch[i]
		if !l.known || unlinks != g.unlinks {
			g.locate(l)
		}
		if !l.known || !g.refresh(l) {
			g.link(l, gen)
		}
	}
}

// admissible returns why a contact is refused, or Reasons if it is not.
func (g *Graph) admissible(c *flow.Contact) Reason {
	switch {
	case !g.owned[c.Local.Shard]:
		return NotOwned
	case c.Bits&(flow.BitOut|flow.BitIn) == 0:
		return Empty
	case c.Local == c.Remote:
		return SelfLink
	}
	if !g.started {
		g.start(c.Slice)
	}
	switch {
	case c.Slice < g.oldest:
		return TooOld
	case c.Slice-g.oldest >= maxSpan:
		return TooNew
	}
	g.newest = max(g.newest, c.Slice)
	return Reasons
}

// start sets the window of a graph that nobody told its oldest slice.
func (g *Graph) start(s flow.Slice) {
	g.started = true
	g.oldest = s - min(s, maxSpan/2)
}

// refresh updates a pair all of whose directions in the contact are live
// already, and reports whether it is such a pair.
func (g *Graph) refresh(l *lookup) bool {
	ps := &g.pairs[l.lo.Shard]
	local := l.place
	if !ps.holds(local, l.refLo, l.refHi) {
		var ok bool
		if local, ok = ps.find(l.hash, l.refLo, l.refHi); !ok {
			return false
		}
	}
	p := &ps.entries[local]
	if l.bits&^p.bits != 0 {
		return false
	}
	g.notePort(p, l.contact)
	g.note(p, l)
	return true
}

// note enters a contact into its pair, whose live bits include the contact's.
func (g *Graph) note(p *pair, l *lookup) {
	c := l.contact
	for dir := forward; dir <= backward; dir++ {
		if l.bits&(1<<dir) != 0 && c.Slice > wide(g.oldest, p.seen[dir]) {
			p.seen[dir] = uint16(c.Slice)
		}
	}
	if c.Bits&flow.BitAnswered != 0 {
		p.bits |= answeredBit
	}
	if l.count {
		p.add(uint64(c.Out.Flows)+uint64(c.In.Flows), satAdd(c.Out.Bytes, c.In.Bytes))
	}
}

// notePort keeps the lowest service of the newest slice, so that the order of
// contacts does not matter.
func (g *Graph) notePort(p *pair, c *flow.Contact) {
	newest := flow.Slice(0)
	for dir := forward; dir <= backward; dir++ {
		if p.live(dir) {
			newest = max(newest, wide(g.oldest, p.seen[dir]))
		}
	}
	older := c.Slice < newest
	same := c.Slice == newest && p.port|uint16(p.proto) != 0
	higher := c.Port > p.port || c.Port == p.port && c.Proto >= p.proto
	if older || same && higher {
		return
	}
	p.port, p.proto = c.Port, c.Proto
}

// satAdd adds without wrapping.
func satAdd(a, b uint64) uint64 {
	sum, carry := bits.Add64(a, b, 0)
	if carry != 0 {
		return 1<<64 - 1
	}
	return sum
}

// link enters a contact of which at least one direction is new.
func (g *Graph) link(l *lookup, gen flow.Generation) {
	p, r, fresh, ok := g.pairFor(l, gen)
	if !ok {
		return
	}
	g.notePort(p, l.contact)
	added := l.bits &^ p.bits
	if added != 0 {
		g.touch(r, p)
	}
	slice := uint16(l.contact.Slice)
	for dir := forward; dir <= backward; dir++ {
		if added&(1<<dir) == 0 {
			continue
		}
		p.bits |= 1 << dir
		p.seen[dir] = slice
		g.hostEntry(p.source(dir)).out++
		g.stats.Links++
	}
	g.note(p, l)
	if fresh || wide(g.oldest, p.due) > l.contact.Slice {
		p.due = slice
		g.due[l.contact.Slice] = append(grow(g.due[l.contact.Slice]), r)
	}
	for dir := forward; dir <= backward; dir++ {
		if added&(1<<dir) != 0 {
			g.trim(r, dir)
		}
	}
}

// pairFor returns the pair of a contact, creating it and its hosts if needed,
// after taking the directions that the degree cap refuses out of l.bits. ok is
// false if nothing is left to enter.
func (g *Graph) pairFor(l *lookup, gen flow.Generation) (p *pair, r ref, fresh, ok bool) {
	if l.known {
		if local, ok := g.pairs[l.lo.Shard].find(l.hash, l.refLo, l.refHi); ok {
			r = makeRef(l.lo.Shard, local)
			p = g.pairEntry(r)
			l.bits = l.bits&p.bits | g.admit(l, l.bits&^p.bits)
			return p, r, false, true
		}
	}
	if l.bits = g.admit(l, l.bits); l.bits == 0 {
		return nil, 0, false, false
	}
	a, ok := g.hold(l.lo, gen)
	if !ok {
		g.stats.Drops[Full]++
		return nil, 0, false, false
	}
	b, ok := g.hold(l.hi, gen)
	if !ok {
		g.stats.Drops[Full]++
		g.release(a)
		return nil, 0, false, false
	}
	if r, ok = g.newPair(a, b); !ok {
		g.stats.Drops[Full]++
		g.release(a)
		g.release(b)
		return nil, 0, false, false
	}
	return g.pairEntry(r), r, true, true
}
