package traffic

import (
	"iter"

	"github.com/flowhound/flowhound/internal/flow"
)

// Span is the time in which flows begin and end, in Unix milliseconds;
// FromMS < ToMS.
type Span struct{ FromMS, ToMS int64 }

// Interfaces of the router that sees the flows: where it meets subscribers and
// where it meets the Internet.
const (
	ifSubscribers = 1
	ifInternet    = 2
)

// longestMS bounds a flow's duration, below the usual active timeout of 60 s.
const longestMS = 30_000

// Events returns how many flows the calls make; each answered one is two
// records.
func (n *Network) Events() int {
	total := 0
	for _, c := range n.Calls {
		total += n.flows(c)
	}
	return total
}

// NumRecords returns how many records [Network.Records] yields.
func (n *Network) NumRecords() int {
	total := 0
	for _, c := range n.Calls {
		total += n.flows(c)
		if c.Answered {
			total += n.flows(c)
		}
	}
	return total
}

// flows returns how many flows a call makes.
func (n *Network) flows(c Call) int { return 1 + int(n.hash(c, 0)%uint64(n.Config.Flows)) }

func (n *Network) hash(c Call, i int) uint64 {
	return mix(uint64(c.Client)<<32|uint64(c.Server), n.seed+uint64(i))
}

// Records yields the flow records of the network in order of their ends,
// spread evenly over the span: first every call's first flow, then all second
// flows, and so on. The answer's record follows the call's. All five-tuples
// differ. Equal networks and spans yield equal records.
func (n *Network) Records(s Span) iter.Seq[flow.Record] {
	return func(yield func(flow.Record) bool) {
		total, done := int64(n.Events()), int64(0)
		for i := range n.Config.Flows {
			for _, c := range n.Calls {
				if n.flows(c) <= i {
					continue
				}
				done++
				end := s.FromMS + (s.ToMS-s.FromMS)*done/total
				there, back := n.flow(c, i, end, s.FromMS)
				if !yield(there) || c.Answered && !yield(back) {
					return
				}
			}
		}
	}
}

// flow returns both records of a call's i-th flow.
func (n *Network) flow(c Call, i int, end, earliest int64) (there, back flow.Record) {
	h := n.hash(c, i+1)
	p := profiles[c.Kind]
	there = flow.Record{
		Src: flow.AddrFrom(n.Addr(c.Client)), Dst: flow.AddrFrom(n.Addr(c.Server)),
		SrcPort: clientPort(n.hash(c, 0), i), DstPort: n.port(c), Proto: p.proto,
		EndMS: end, StartMS: max(earliest, end-int64(h%p.longestMS)),
		Sampling: 1, InIf: ifInternet, OutIf: ifInternet, Direction: flow.Ingress,
	}
	if n.Subscriber(c.Client) {
		there.InIf = ifSubscribers
	}
	if n.Subscriber(c.Server) {
		there.OutIf = ifSubscribers
	}
	there.Packets = 1 + h>>16%p.packets
	there.Bytes = there.Packets * (p.smallest + h>>24%p.request)
	if p.proto == protoTCP {
		there.TCPFlags = p.flags(c.Answered)
	}
	back = there
	back.Src, back.Dst, back.SrcPort, back.DstPort = there.Dst, there.Src, there.DstPort, there.SrcPort
	back.InIf, back.OutIf = there.OutIf, there.InIf
	back.StartMS = min(end, there.StartMS+int64(1+h>>32%80))
	back.Packets = 1 + h>>40%p.packets
	back.Bytes = back.Packets * (p.smallest + h>>48%p.answer)
	return there, back
}
