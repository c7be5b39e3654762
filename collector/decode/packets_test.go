package decode_test

import (
	"encoding/binary"
	"net/netip"
)

// The encoders below make export packets for tests, from the RFCs and not
// from the decoder.

var be = binary.BigEndian

// exporterA sends most test packets.
var exporterA = netip.MustParseAddr("192.0.2.1")

// field is a field specifier: element, length, enterprise number.
type field struct {
	id, length uint16
	pen        uint32
}

// spec appends a field specifier (RFC 7011 §3.2; v9 has no enterprises).
func (f field) spec(b []byte) []byte {
	if f.pen != 0 {
		b = be.AppendUint16(b, f.id|0x8000)
		b = be.AppendUint16(b, f.length)
		return be.AppendUint32(b, f.pen)
	}
	b = be.AppendUint16(b, f.id)
	return be.AppendUint16(b, f.length)
}

// template returns a template record.
func templateRecord(id uint16, fields ...field) []byte {
	b := be.AppendUint16(nil, id)
	b = be.AppendUint16(b, uint16(len(fields)))
	for _, f := range fields {
		b = f.spec(b)
	}
	return b
}

// optionsRecord9 returns a v9 options template record (RFC 3954 §6.1).
func optionsRecord9(id uint16, scopes, options []field) []byte {
	b := be.AppendUint16(nil, id)
	b = be.AppendUint16(b, uint16(4*len(scopes)))
	b = be.AppendUint16(b, uint16(4*len(options)))
	for _, f := range append(append([]field{}, scopes...), options...) {
		b = f.spec(b)
	}
	return b
}

// optionsRecord10 returns an IPFIX options template record (RFC 7011 §3.4.2.2).
func optionsRecord10(id uint16, scopes, options []field) []byte {
	b := be.AppendUint16(nil, id)
	b = be.AppendUint16(b, uint16(len(scopes)+len(options)))
	b = be.AppendUint16(b, uint16(len(scopes)))
	for _, f := range append(append([]field{}, scopes...), options...) {
		b = f.spec(b)
	}
	return b
}

// set returns a set of a body made of parts.
func set(id uint16, parts ...[]byte) []byte {
	b := be.AppendUint16(nil, id)
	b = be.AppendUint16(b, 0)
	for _, p := range parts {
		b = append(b, p...)
	}
	be.PutUint16(b[2:], uint16(len(b)))
	return b
}

// header is what a test wants to say in a message header.
type header struct {
	uptime, secs, sequence, domain uint32
	count                          uint16 // v9
}

func packet9(h header, sets ...[]byte) []byte {
	b := be.AppendUint16(nil, 9)
	b = be.AppendUint16(b, h.count)
	b = be.AppendUint32(b, h.uptime)
	b = be.AppendUint32(b, h.secs)
	b = be.AppendUint32(b, h.sequence)
	b = be.AppendUint32(b, h.domain)
	for _, s := range sets {
		b = append(b, s...)
	}
	return b
}

func packet10(h header, sets ...[]byte) []byte {
	b := be.AppendUint16(nil, 10)
	b = be.AppendUint16(b, 0)
	b = be.AppendUint32(b, h.secs)
	b = be.AppendUint32(b, h.sequence)
	b = be.AppendUint32(b, h.domain)
	for _, s := range sets {
		b = append(b, s...)
	}
	be.PutUint16(b[2:], uint16(len(b)))
	return b
}

// record5 is a v5 record.
type record5 struct {
	src, dst         netip.Addr
	in, out          uint16
	packets, bytes   uint32
	first, last      uint32
	srcPort, dstPort uint16
	flags, proto     uint8
}

func packet5(h header, nsecs uint32, engine, sampling uint16, records ...record5) []byte {
	b := be.AppendUint16(nil, 5)
	b = be.AppendUint16(b, uint16(len(records)))
	b = be.AppendUint32(b, h.uptime)
	b = be.AppendUint32(b, h.secs)
	b = be.AppendUint32(b, nsecs)
	b = be.AppendUint32(b, h.sequence)
	b = be.AppendUint16(b, engine)
	b = be.AppendUint16(b, sampling)
	for _, r := range records {
		b = append(b, r.src.AsSlice()...)
		b = append(b, r.dst.AsSlice()...)
		b = append(b, 0, 0, 0, 0)
		b = be.AppendUint16(b, r.in)
		b = be.AppendUint16(b, r.out)
		for _, v := range []uint32{r.packets, r.bytes, r.first, r.last} {
			b = be.AppendUint32(b, v)
		}
		b = be.AppendUint16(b, r.srcPort)
		b = be.AppendUint16(b, r.dstPort)
		b = append(b, 0, r.flags, r.proto, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	}
	return b
}

// sflowPacket returns an sFlow version 5 datagram.
func sflowPacket(agent netip.Addr, subAgent, sequence uint32, samples ...[]byte) []byte {
	b := be.AppendUint32(nil, 5)
	if agent.Is4() {
		b = be.AppendUint32(b, 1)
	} else {
		b = be.AppendUint32(b, 2)
	}
	b = append(b, agent.AsSlice()...)
	b = be.AppendUint32(b, subAgent)
	b = be.AppendUint32(b, sequence)
	b = be.AppendUint32(b, 1000)
	b = be.AppendUint32(b, uint32(len(samples)))
	for _, s := range samples {
		b = append(b, s...)
	}
	return b
}

// block returns a format, a length, and a body padded to whole words: the
// shape of samples and of flow records.
func block(format uint32, body []byte) []byte {
	b := be.AppendUint32(nil, format)
	b = be.AppendUint32(b, uint32(len(body)))
	b = append(b, body...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

// sflowSample returns a flow sample, an expanded one if asked.
func sflowSample(expanded bool, rate uint32, records ...[]byte) []byte {
	var b []byte
	words := func(vs ...uint32) {
		for _, v := range vs {
			b = be.AppendUint32(b, v)
		}
	}
	if expanded {
		words(7, 0, 3, rate, 1000, 0, 0, 11, 0, 12, uint32(len(records)))
	} else {
		words(7, 3, rate, 1000, 0, 11, 12, uint32(len(records)))
	}
	for _, r := range records {
		b = append(b, r...)
	}
	if expanded {
		return block(3, b)
	}
	return block(1, b)
}

// headerRecord returns a sampled header.
func headerRecord(protocol, frameLength uint32, head []byte) []byte {
	b := be.AppendUint32(nil, protocol)
	b = be.AppendUint32(b, frameLength)
	b = be.AppendUint32(b, 4)
	b = be.AppendUint32(b, uint32(len(head)))
	b = append(b, head...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return block(1, b)
}

// ethernet returns a frame's first bytes: type and what follows.
func ethernet(kind uint16, rest []byte) []byte {
	b := make([]byte, 12, 64)
	b = be.AppendUint16(b, kind)
	return append(b, rest...)
}

// ip4 returns an IPv4 header followed by rest.
func ip4(src, dst netip.Addr, proto uint8, rest []byte) []byte {
	b := []byte{0x45, 0, 0, 0, 0, 0, 0, 0, 64, proto, 0, 0}
	b = append(b, src.AsSlice()...)
	b = append(b, dst.AsSlice()...)
	b = append(b, rest...)
	be.PutUint16(b[2:], uint16(len(b)))
	return b
}

// ip6 returns an IPv6 header followed by rest.
func ip6(src, dst netip.Addr, next uint8, rest []byte) []byte {
	b := []byte{0x60, 0, 0, 0, 0, 0, next, 64}
	be.PutUint16(b[4:], uint16(len(rest)))
	b = append(b, src.AsSlice()...)
	b = append(b, dst.AsSlice()...)
	return append(b, rest...)
}

// tcp and udp return transport headers.
func tcp(src, dst uint16, flags uint8) []byte {
	b := be.AppendUint16(nil, src)
	b = be.AppendUint16(b, dst)
	return append(b, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, flags, 0, 0, 0, 0, 0, 0)
}

func udp(src, dst uint16, payload []byte) []byte {
	b := be.AppendUint16(nil, src)
	b = be.AppendUint16(b, dst)
	b = be.AppendUint16(b, uint16(8+len(payload)))
	b = append(b, 0, 0)
	return append(b, payload...)
}
