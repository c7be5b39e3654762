package traffic

import "github.com/flowhound/flowhound/internal/flow"

const (
	protoTCP = 6
	protoUDP = 17
)

// profile says what the flows of a [Kind] look like. It makes flows plausible
// to a reader and fills the fields; no detector may lean on it.
type profile struct {
	proto           uint8
	ports           []uint16 // of the server; none: a port of its own
	packets         uint64   // a direction has 1 … packets packets
	smallest        uint64   // bytes of the smallest packet
	request, answer uint64   // spread of the mean packet size, there and back
	longestMS       uint64
}

var profiles = [...]profile{
	Web:     {protoTCP, []uint16{443, 443, 443, 80}, 40, 52, 300, 1300, longestMS},
	Tail:    {protoTCP, []uint16{443, 80, 22, 25, 993, 8080}, 20, 52, 400, 900, longestMS},
	Inbound: {protoTCP, []uint16{443, 80, 25, 22}, 30, 52, 300, 1300, longestMS},
	Transit: {protoUDP, []uint16{443, 53, 123, 4500}, 10, 60, 500, 1000, 10_000},
	Scan:    {protoTCP, []uint16{23, 445, 22, 3389}, 1, 40, 4, 4, 1},
	Share:   {protoUDP, nil, 60, 60, 1200, 1200, longestMS},
	Overlay: {protoUDP, nil, 6, 60, 300, 300, 5_000},
}

// flags returns the TCP flags of a flow: a whole connection, or what a lone
// SYN and its retries leave.
func (p profile) flags(answered bool) uint8 {
	if !answered {
		return flow.TCPSyn
	}
	return flow.TCPSyn | flow.TCPAck | flow.TCPPsh | flow.TCPFin
}

// port returns the port that a call's server listens on, below the clients'.
func (n *Network) port(c Call) uint16 {
	if ports := profiles[c.Kind].ports; ports != nil {
		if c.Kind == Scan { // a scanner looks for one service everywhere
			return ports[mix(uint64(c.Client), n.seed)%uint64(len(ports))]
		}
		return ports[mix(uint64(c.Server), n.seed)%uint64(len(ports))]
	}
	return uint16(10_000 + mix(uint64(c.Server), n.seed+uint64(c.Kind))%20_000)
}

// clientPort returns the ephemeral port of a call's i-th flow, 32768 … 60999,
// as Linux chooses them. The flows of one call have different ones.
func clientPort(h uint64, i int) uint16 { return uint16(32_768 + (h>>8+uint64(i))%28_232) }
