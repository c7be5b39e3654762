// Package packet finds addresses, ports and the UDP payload in the first
// bytes of a packet, as sFlow agents sample them and capture files hold them.
// It reads nothing outside of the bytes given and allocates nothing.
package packet

import (
	"encoding/binary"

	"github.com/flowhound/flowhound/internal/flow"
)

// Link says what a packet begins with.
type Link uint8

// The links.
const (
	Ethernet Link = iota
	IP            // an IPv4 or IPv6 header, told by its version
	MPLS
	Null   // BSD loopback: four bytes of address family
	Linux  // Linux cooked capture
	Linux2 // Linux cooked capture, version 2
)

// Protocol numbers.
const (
	TCP  = 6
	UDP  = 17
	SCTP = 132
)

// Headers are what a packet's headers say.
type Headers struct {
	Src, Dst         flow.Addr
	SrcPort, DstPort uint16
	Proto            uint8
	TCPFlags         uint8
	Fragment         bool   // not the first fragment: it has no ports
	Payload          []byte // of UDP, as far as it was captured
}

// maxTags bounds VLAN tags, MPLS labels and IPv6 extension headers: a packet
// with more is taken for noise.
const maxTags = 8

// EtherTypes.
const (
	typeIPv4    = 0x0800
	typeIPv6    = 0x86dd
	typeVLAN    = 0x8100
	typeQinQ    = 0x88a8
	typeQinQOld = 0x9100
	typeMPLS    = 0x8847
	typeMPLSMC  = 0x8848
	typePPPoE   = 0x8864
)

// Parse reads the headers of a packet. ok is false when it is not IP or ends
// before its addresses. A packet that ends before its ports has ports 0.
func Parse(link Link, b []byte) (h Headers, ok bool) {
	switch link {
	case Ethernet:
		if len(b) < 14 {
			return h, false
		}
		ok = h.ethertype(binary.BigEndian.Uint16(b[12:]), b[14:], 0)
	case IP:
		ok = h.ip(b)
	case MPLS:
		ok = h.mpls(b, 0)
	case Null:
		if len(b) >= 4 {
			ok = h.ip(b[4:])
		}
	case Linux:
		if len(b) >= 16 {
			ok = h.ethertype(binary.BigEndian.Uint16(b[14:]), b[16:], 0)
		}
	case Linux2:
		if len(b) >= 20 {
			ok = h.ethertype(binary.BigEndian.Uint16(b), b[20:], 0)
		}
	}
	return h, ok
}

func (h *Headers) ethertype(t uint16, b []byte, depth int) bool {
	for ; depth < maxTags; depth++ {
		switch t {
		case typeIPv4, typeIPv6:
			return h.ip(b)
		case typeVLAN, typeQinQ, typeQinQOld:
			if len(b) < 4 {
				return false
			}
			t, b = binary.BigEndian.Uint16(b[2:]), b[4:]
		case typeMPLS, typeMPLSMC:
			return h.mpls(b, depth)
		case typePPPoE:
			if len(b) < 8 {
				return false
			}
			switch binary.BigEndian.Uint16(b[6:]) {
			case 0x0021, 0x0057: // IPv4, IPv6 (RFC 1332, RFC 5072)
				return h.ip(b[8:])
			}
			return false
		default:
			return false
		}
	}
	return false
}

// mpls skips a label stack (RFC 3032). What lies below it says what it is in
// its first nibble; 0 is the control word of an Ethernet pseudowire (RFC 4448).
func (h *Headers) mpls(b []byte, depth int) bool {
	for ; depth < maxTags && len(b) >= 4; depth++ {
		bottom := b[2]&1 != 0
		b = b[4:]
		if !bottom {
			continue
		}
		if len(b) >= 4+14 && b[0]>>4 == 0 {
			return h.ethertype(binary.BigEndian.Uint16(b[4+12:]), b[4+14:], depth+1)
		}
		return h.ip(b)
	}
	return false
}

func (h *Headers) ip(b []byte) bool {
	switch {
	case len(b) >= 20 && b[0]>>4 == 4:
		return h.ipv4(b)
	case len(b) >= 40 && b[0]>>4 == 6:
		return h.ipv6(b)
	}
	return false
}

func (h *Headers) ipv4(b []byte) bool {
	size := int(b[0]&15) * 4
	if size < 20 {
		return false
	}
	h.Src, h.Dst = mapped(b[12:16]), mapped(b[16:20])
	h.Proto = b[9]
	h.Fragment = binary.BigEndian.Uint16(b[6:])&0x1fff != 0
	if total := int(binary.BigEndian.Uint16(b[2:])); total >= size && total < len(b) {
		b = b[:total]
	}
	if size <= len(b) {
		h.transport(b[size:])
	}
	return true
}

func mapped(b []byte) (a flow.Addr) {
	a[10], a[11] = 0xff, 0xff
	copy(a[12:], b)
	return a
}

// Extension headers of IPv6 (RFC 8200 §4).
const (
	extHopByHop    = 0
	extRouting     = 43
	extFragment    = 44
	extAuth        = 51
	extDestination = 60
)

func (h *Headers) ipv6(b []byte) bool {
	h.Src, h.Dst = flow.Addr(b[8:24]), flow.Addr(b[24:40])
	h.Proto = b[6]
	if total := 40 + int(binary.BigEndian.Uint16(b[4:])); total > 40 && total < len(b) {
		b = b[:total]
	}
	b = b[40:]
	for range maxTags {
		size := 0
		switch h.Proto {
		case extHopByHop, extRouting, extDestination:
			if len(b) >= 2 {
				size = 8 + 8*int(b[1])
			}
		case extAuth:
			if len(b) >= 2 {
				size = 8 + 4*int(b[1])
			}
		case extFragment:
			size = 8
		default:
			h.transport(b)
			return true
		}
		if size == 0 || size > len(b) {
			return true
		}
		if h.Proto == extFragment && binary.BigEndian.Uint16(b[2:])>>3 != 0 {
			h.Fragment = true
		}
		h.Proto, b = b[0], b[size:]
	}
	return true
}

func (h *Headers) transport(b []byte) {
	if h.Fragment || len(b) < 4 {
		return
	}
	switch h.Proto {
	case TCP, UDP, SCTP:
		h.SrcPort, h.DstPort = binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
	}
	switch {
	case h.Proto == TCP && len(b) >= 14:
		h.TCPFlags = b[13]
	case h.Proto == UDP && len(b) >= 8:
		h.Payload = b[8:]
		if n := int(binary.BigEndian.Uint16(b[4:])); n >= 8 && n < len(b) {
			h.Payload = b[8:n]
		}
	}
}
