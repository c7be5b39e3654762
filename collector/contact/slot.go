package contact

import (
	"math"
	"math/bits"

	"github.com/flowhound/flowhound/internal/flow"
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
func (s *slot[K]) add(r *flow.Record, from uint8, baseMS int64) (fresh bool) {
	from &= 1 // no bounds to check
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
	// took part. Equal ports do not tell who called. Who sent is a coin's toss
	// to a branch predictor, so that it is no branch.
	answer := uint32(0)
	if r.SrcPort < r.DstPort {
		answer = answered
	}
	if r.Proto == protoTCP && r.TCPFlags&flow.TCPAck != 0 {
		s.flows[0] |= answer
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
