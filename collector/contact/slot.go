package contact

import (
	"math"
	"math/bits"

	"github.com/flowhound/flowhound/internal/flow"
	"github.com/flowhound/flowhound/internal/huge"
)

// protoTCP is IANA's protocol number of TCP.
const protoTCP = 6

// answered is the bit of flows[0] that keeps evidence of an answer. sent is
// the bit of each side's flows that a record without weight leaves: that side
// did send. The other 30 bits count.
const (
	answered = 1 << 31
	sent     = 1 << 30
)

// slot is one contact, or free while it has no flow. With an 8-byte key it
// fills one cache line.
type slot[K comparable] struct {
	key         K
	packets     [2]uint64 // by sender: the lower address, the higher one
	bytes       [2]uint64
	flows       [2]uint32
	slice       flow.Slice
	first, last int32 // milliseconds relative to the table's base
	port        uint16
	proto       uint8
	flags       uint8
}

// add counts one record that side from sent, and reports whether it is the
// contact's first.
func (s *slot[K]) add(r *flow.Record, from int, baseMS int64) (fresh bool) {
	first, last := offset(r.StartMS, baseMS), offset(r.EndMS, baseMS)
	if s.flows == [2]uint32{} {
		s.first, s.last = first, last
		s.port, s.proto = min(r.SrcPort, r.DstPort), r.Proto
		fresh = true
	}
	s.first, s.last = min(s.first, first), max(s.last, last)
	if r.Direction == flow.Egress {
		s.flows[from] |= sent
	} else {
		s.flows[from]++
		s.packets[from] = addSaturating(s.packets[from], r.Packets)
		s.bytes[from] = addSaturating(s.bytes[from], r.Bytes)
	}
	s.flags |= r.TCPFlags
	// The called side is the one with the lower port; its ACK shows that it
	// took part. Equal ports do not tell who called.
	if r.Proto == protoTCP && r.TCPFlags&flow.TCPAck != 0 && r.SrcPort < r.DstPort {
		s.flows[0] |= answered
	}
	return fresh
}

// tell fills c, all but its hosts.
func (s *slot[K]) tell(c *flow.Contact, baseMS int64) {
	c.Slice, c.FirstMS, c.LastMS = s.slice, baseMS+int64(s.first), baseMS+int64(s.last)
	c.Out = flow.Counters{Flows: s.flows[0] &^ (answered | sent), Packets: s.packets[0], Bytes: s.bytes[0]}
	c.In = flow.Counters{Flows: s.flows[1] &^ sent, Packets: s.packets[1], Bytes: s.bytes[1]}
	c.Port, c.Proto, c.Flags, c.Bits = s.port, s.proto, s.flags, 0
	if s.flows[0]&^answered != 0 {
		c.Bits |= flow.BitOut
	}
	if s.flows[1] != 0 {
		c.Bits |= flow.BitIn
	}
	if s.flows[0]&answered != 0 || c.Bits == flow.BitOut|flow.BitIn {
		c.Bits |= flow.BitAnswered
	}
}

func addSaturating(a, b uint64) uint64 {
	sum, carry := bits.Add64(a, b, 0)
	if carry != 0 {
		return math.MaxUint64
	}
	return sum
}

// table is an open-addressed hash table with linear probing. An eighth of it
// always stays free, so that a probe ends.
type table[K comparable] struct {
	slots []slot[K]
	shift uint // of a hash, to get a slot's index
	used  int
}

func (t *table[K]) init(n int) {
	log := bits.Len(uint(max(n, 256) - 1))
	t.slots = huge.Make[slot[K]](1 << log)
	t.shift = uint(64 - log)
}

// find returns the slot of (k, s), a free one marked with them if there was
// none. The caller adds at least one flow.
func (t *table[K]) find(hash uint64, k K, s flow.Slice) *slot[K] {
	mask := uint64(len(t.slots) - 1)
	for i := hash >> t.shift; ; i++ {
		p := &t.slots[i&mask]
		if p.flows == [2]uint32{} {
			p.key, p.slice = k, s
			t.used++
			return p
		}
		if p.key == k && p.slice == s {
			return p
		}
	}
}

// has reports whether (k, s) has a slot.
func (t *table[K]) has(hash uint64, k K, s flow.Slice) bool {
	mask := uint64(len(t.slots) - 1)
	for i := hash >> t.shift; ; i++ {
		p := &t.slots[i&mask]
		if p.flows == [2]uint32{} {
			return false
		}
		if p.key == k && p.slice == s {
			return true
		}
	}
}

// room reports whether n more contacts fit.
func (t *table[K]) room(n int) bool { return t.used+n <= len(t.slots)/8*7 }

func (t *table[K]) full() bool { return t.used >= len(t.slots)/4*3 }

func (t *table[K]) fill() float64 { return float64(t.used) / float64(len(t.slots)) }

func (t *table[K]) clear() {
	clear(t.slots)
	t.used = 0
}
