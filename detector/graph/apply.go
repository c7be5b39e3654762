package graph

import (
	"encoding/binary"
	"math/bits"

	"github.com/flowhound/flowhound/internal/flow"
)

// group is the number of contacts whose look-ups are done stage by stage, so
// that the cache misses of many overlap instead of following each other.
const group = 64

// lookup is a contact on its way into the store.
type lookup struct {
	contact *flow.Contact
	lo, hi  *flow.Host
	// bits are the contact's directions as lo and hi see them.
	bits           uint8
	count          bool // this half carries the counters
	known          bool // both hosts are in the store
	hashLo, hashHi uint32
	hash           uint32 // of the pair
	refLo, refHi   ref
	// placeLo, placeHi and place are where the hosts and the pair probably
	// are, or absent.
	placeLo, placeHi, place uint32
}

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

// applyGroup takes up to group contacts.
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
	g.prefetchHosts(batch)
	for i := range batch {
		g.locateAt(&batch[i])
	}
	g.prefetchPairs(batch)
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

// prefetchHosts brings what locateAt will read into the cache. Its loops are
// short, so that the processor runs ahead over many misses at a time: the one
// that reads the keys does nothing else.
func (g *Graph) prefetchHosts(batch []lookup) {
	var touched uint32
	for i := range batch {
		l := &batch[i]
		touched += g.hosts[l.lo.Shard].peek(l.hashLo) + g.hosts[l.hi.Shard].peek(l.hashHi)
	}
	var keys [2 * group]*flow.Pseudonym
	for i := range batch {
		l := &batch[i]
		lo, hi := &g.hosts[l.lo.Shard], &g.hosts[l.hi.Shard]
		l.placeLo, l.placeHi = lo.candidate(l.hashLo), hi.candidate(l.hashHi)
		keys[2*i], keys[2*i+1] = lo.key(l.placeLo), hi.key(l.placeHi)
	}
	for _, key := range keys[:2*len(batch)] {
		touched += uint32(key[0]) + uint32(key[len(key)-1]) // it may lie in two cache lines
	}
	g.peeked = touched
}

// prefetchPairs brings what refresh will read into the cache.
func (g *Graph) prefetchPairs(batch []lookup) {
	var room [group]*pair
	found := room[:0]
	var touched uint32
	for i := range batch {
		if l := &batch[i]; l.known {
			touched += g.pairs[l.lo.Shard].peek(l.hash)
		}
	}
	for i := range batch {
		if l := &batch[i]; l.known {
			ps := &g.pairs[l.lo.Shard]
			l.place = ps.candidate(l.hash)
			found = append(found, ps.at(l.place))
		}
	}
	for _, p := range found {
		touched += uint32(p.lo) + uint32(p.bits) // it may lie in two cache lines
	}
	g.peeked = touched
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

// orient turns a contact to lo < hi.
func (g *Graph) orient(c *flow.Contact) lookup {
	l := lookup{contact: c, lo: &c.Local, hi: &c.Remote, count: true, place: absent}
	out, in := c.Bits&flow.BitOut != 0, c.Bits&flow.BitIn != 0
	if less(l.hi, l.lo) {
		l.lo, l.hi, out, in = l.hi, l.lo, in, out
		l.count = !g.owned[c.Remote.Shard]
	}
	if out {
		l.bits |= 1 << forward
	}
	if in {
		l.bits |= 1 << backward
	}
	l.hashLo, l.hashHi = g.hashHost(&l.lo.Pseudonym), g.hashHost(&l.hi.Pseudonym)
	return l
}

// less is flow.Host.Compare in words of eight bytes.
func less(a, b *flow.Host) bool {
	if a.Shard != b.Shard {
		return a.Shard < b.Shard
	}
	x, y := binary.BigEndian.Uint64(a.Pseudonym[:8]), binary.BigEndian.Uint64(b.Pseudonym[:8])
	if x != y {
		return x < y
	}
	return binary.BigEndian.Uint64(a.Pseudonym[8:]) < binary.BigEndian.Uint64(b.Pseudonym[8:])
}

// locateAt is locate where prefetchHosts has just been.
func (g *Graph) locateAt(l *lookup) {
	if l.placeLo == absent || l.placeHi == absent {
		return
	}
	lo, hi := &g.hosts[l.lo.Shard], &g.hosts[l.hi.Shard]
	if lo.entries[l.placeLo].key != l.lo.Pseudonym || hi.entries[l.placeHi].key != l.hi.Pseudonym {
		g.locate(l)
		return
	}
	l.foundAt(l.placeLo, l.placeHi)
}

// locate looks both hosts up.
func (g *Graph) locate(l *lookup) {
	a, okA := g.hosts[l.lo.Shard].find(l.hashLo, &l.lo.Pseudonym)
	b, okB := g.hosts[l.hi.Shard].find(l.hashHi, &l.hi.Pseudonym)
	if l.known = okA && okB; l.known {
		l.foundAt(a, b)
	}
}

// foundAt notes the hosts' places.
func (l *lookup) foundAt(lo, hi uint32) {
	l.known = true
	l.refLo, l.refHi = makeRef(l.lo.Shard, lo), makeRef(l.hi.Shard, hi)
	l.hash = hashPair(l.refLo, l.refHi)
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
