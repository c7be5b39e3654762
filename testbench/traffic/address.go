package traffic

import (
	"encoding/binary"
	"net/netip"
)

// First addresses of the plan, of ranges that nobody on the Internet owns:
// subscribers have shared address space (RFC 6598), externals benchmarking
// space (RFC 2544) and then private space, IPv6 hosts a /64 each of the
// documentation prefix (RFC 3849).
const (
	subscribers4 = 100<<24 | 64<<16
	benchmark4   = 198<<24 | 18<<16
	private4     = 10 << 24
	benchmarkLen = 1 << 17 // addresses of 198.18.0.0/15
	documents6   = 0x20010db8
	externals6   = 1 << 31 // first /64 of the external ones
)

// Addr returns the address of a host. Different hosts have different ones,
// and IPv6 hosts differ in the first 64 bits.
func (n *Network) Addr(host uint32) netip.Addr {
	r := n.family(host)
	i := host - r.first
	external := i >= r.subscribers
	if external {
		i -= r.subscribers
	}
	var b [16]byte
	if r.first != 0 { // IPv6 hosts come after the IPv4 ones
		if external {
			i += externals6
		}
		binary.BigEndian.PutUint32(b[:], documents6)
		binary.BigEndian.PutUint32(b[4:], i)
		binary.BigEndian.PutUint64(b[8:], mix(uint64(host), n.seed)|1)
		return netip.AddrFrom16(b)
	}
	switch {
	case !external:
		i += subscribers4
	case i < benchmarkLen:
		i += benchmark4
	default:
		i += private4 - benchmarkLen
	}
	return netip.AddrFrom4([4]byte{byte(i >> 24), byte(i >> 16), byte(i >> 8), byte(i)})
}

// mix returns a well-spread hash of two words (splitmix64's finaliser).
func mix(a, b uint64) uint64 {
	z := a*0x9e3779b97f4a7c15 + b
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}
