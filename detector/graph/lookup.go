package graph

import (
	"encoding/binary"

	"github.com/flowhound/flowhound/internal/flow"
)

// group is the number of contacts whose look-ups are done stage by stage, so
// that the cache misses of many overlap instead of following each other. What
// they touch, some eight cache lines each, stays in half of a first-level cache.
const group = 32

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
	g.hosts[l.lo.Shard].fetch(l.hashLo)
	g.hosts[l.hi.Shard].fetch(l.hashHi)
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

// guessHosts notes where both hosts probably are.
func (g *Graph) guessHosts(l *lookup) {
	lo, hi := &g.hosts[l.lo.Shard], &g.hosts[l.hi.Shard]
	l.placeLo, l.placeHi = lo.candidate(l.hashLo), hi.candidate(l.hashHi)
	lo.fetchKey(l.placeLo)
	hi.fetchKey(l.placeHi)
}

// checkHosts is locate with the guess at hand.
func (g *Graph) checkHosts(l *lookup) {
	if l.placeLo == absent || l.placeHi == absent {
		return
	}
	lo, hi := &g.hosts[l.lo.Shard], &g.hosts[l.hi.Shard]
	if lo.entries[l.placeLo].key != l.lo.Pseudonym || hi.entries[l.placeHi].key != l.hi.Pseudonym {
		g.locate(l)
		return
	}
	l.foundAt(l.placeLo, l.placeHi)
	g.pairs[l.lo.Shard].fetch(l.hash)
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

// guessPair notes where the pair of known hosts probably is.
func (g *Graph) guessPair(l *lookup) {
	if l.known {
		ps := &g.pairs[l.lo.Shard]
		l.place = ps.candidate(l.hash)
		ps.fetchEntry(l.place)
	}
}
