package exporter

import "github.com/flowhound/flowhound/internal/flow"

const (
	ethernetLength = 14
	protoTCP       = 6
	protoUDP       = 17
)

// frameLength returns the bytes that [appendFrame] appends: all headers.
func frameLength(ipv6 bool, proto uint8) int {
	n := ethernetLength + 20
	if ipv6 {
		n += 20
	}
	if proto == protoTCP {
		return n + 20
	}
	return n + 8
}

// appendFrame appends the headers of one Ethernet frame of the record's flow,
// whose IP packet is ipLength bytes long, headers included; too short lengths
// are raised. Ports of protocols without any stay in the first payload bytes.
func appendFrame(b []byte, r *flow.Record, ipLength int) []byte {
	ipv6 := !r.Src.Is4() || !r.Dst.Is4()
	ipLength = max(ipLength, frameLength(ipv6, r.Proto)-ethernetLength)
	b = append(b, 2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2) // locally administered
	var l4 int
	if ipv6 {
		b = be.AppendUint16(b, 0x86dd)
		b = append(b, 0x60, 0, 0, 0)
		l4 = ipLength - 40
		b = be.AppendUint16(b, uint16(l4))
		b = append(b, r.Proto, 64)
		b = append(b, r.Src[:]...)
		b = append(b, r.Dst[:]...)
	} else {
		b = be.AppendUint16(b, 0x0800)
		ip := len(b)
		l4 = ipLength - 20
		b = append(b, 0x45, 0)
		b = be.AppendUint16(b, uint16(ipLength))
		b = append(b, 0, 0, 0x40, 0, 64, r.Proto, 0, 0) // don't fragment
		b = append(b, r.Src[12:]...)
		b = append(b, r.Dst[12:]...)
		be.PutUint16(b[ip+10:], checksum(b[ip:]))
	}
	b = be.AppendUint16(b, r.SrcPort)
	b = be.AppendUint16(b, r.DstPort)
	if r.Proto == protoTCP {
		b = append(b, 0, 0, 0, 1, 0, 0, 0, 1, 5<<4, r.TCPFlags)
		return append(b, 0xff, 0xff, 0, 0, 0, 0)
	}
	b = be.AppendUint16(b, uint16(l4))
	return append(b, 0, 0) // no checksum
}

// checksum returns the Internet checksum (RFC 1071) of an IPv4 header.
func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i < len(b); i += 2 {
		sum += uint32(be.Uint16(b[i:]))
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}
