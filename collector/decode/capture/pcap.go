package capture

import (
	"encoding/binary"

	"github.com/flowhound/flowhound/collector/decode/packet"
)

// Magic numbers of capture files, as a little-endian file begins.
const (
	magicMicros  = 0xa1b2c3d4
	magicNanos   = 0xa1b23c4d
	magicSection = 0x0a0d0d0a // pcapng, the same in either order
	magicOrder   = 0x1a2b3c4d // pcapng, in the section header
)

// links are the link types of tcpdump.org that packet can read.
var links = map[uint32]packet.Link{
	0: packet.Null, 108: packet.Null,
	1:  packet.Ethernet,
	12: packet.IP, 14: packet.IP, 101: packet.IP, 228: packet.IP, 229: packet.IP,
	113: packet.Linux, 276: packet.Linux2,
	219: packet.MPLS,
}

func isPcap(b []byte) bool {
	_, _, ok := pcapMagic(b)
	return ok
}

// pcapMagic returns the byte order and the fractions per second of a file.
func pcapMagic(b []byte) (order binary.ByteOrder, fractions int64, ok bool) {
	if len(b) < 24 {
		return nil, 0, false
	}
	for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		switch order.Uint32(b) {
		case magicMicros:
			return order, 1e6, true
		case magicNanos:
			return order, 1e9, true
		}
	}
	return nil, 0, false
}

// pcap decodes the UDP packets of a pcap file (draft-ietf-opsawg-pcap).
func (r *run) pcap(file string, b []byte) error {
	order, fractions, _ := pcapMagic(b)
	link, known := links[order.Uint32(b[20:])&0xffff]
	if !known {
		return fileError(file, 20, "unknown link type")
	}
	const head = 16
	for off := 24; len(b)-off >= head; {
		size := int(order.Uint32(b[off+8:]))
		if size < 0 || size > len(b)-off-head {
			return fileError(file, off, "packet reaches past the end of the file")
		}
		ms := int64(order.Uint32(b[off:]))*1000 + int64(order.Uint32(b[off+4:]))*1000/fractions
		if err := r.frame(link, b[off+head:off+head+size], ms); err != nil {
			return err
		}
		off += head + size
	}
	return nil
}

// pcapNG decodes the UDP packets of a pcapng file (draft-ietf-opsawg-pcapng):
// section headers, interface descriptions, enhanced and simple packets.
func (r *run) pcapNG(file string, b []byte) error {
	var order binary.ByteOrder = binary.LittleEndian
	var interfaces []packet.Link
	const unknown packet.Link = 0xff
	for off := 0; len(b)-off >= 12; {
		if binary.LittleEndian.Uint32(b[off:]) == magicSection {
			if order = sectionOrder(b[off:]); order == nil {
				return fileError(file, off, "section header of unknown byte order")
			}
			interfaces = interfaces[:0]
		}
		size := int(order.Uint32(b[off+4:]))
		if size < 12 || size > len(b)-off {
			return fileError(file, off, "block reaches past the end of the file")
		}
		body := b[off+8 : off+size-4]
		var data []byte
		iface, ms := 0, int64(0)
		switch blockType := order.Uint32(b[off:]); {
		case blockType == 1 && len(body) >= 8:
			link, known := links[uint32(order.Uint16(body))]
			if !known {
				link = unknown
			}
			interfaces = append(interfaces, link)
		case blockType == 3 && len(body) >= 4:
			data = body[4:]
			data = data[:min(len(data), int(order.Uint32(body)))]
		case blockType == 6 && len(body) >= 20:
			iface = int(order.Uint32(body))
			// Times are taken as microseconds, the default resolution; the
			// decoder of a file needs none.
			ms = int64((uint64(order.Uint32(body[4:]))<<32 | uint64(order.Uint32(body[8:]))) / 1000)
			data = body[20:]
			data = data[:min(len(data), int(order.Uint32(body[12:])))]
		}
		if data != nil && iface >= 0 && iface < len(interfaces) && interfaces[iface] != unknown {
			if err := r.frame(interfaces[iface], data, ms); err != nil {
				return err
			}
		}
		off += size
	}
	return nil
}

func isPcapNG(b []byte) bool {
	return len(b) >= 28 && binary.LittleEndian.Uint32(b) == magicSection && sectionOrder(b) != nil
}

// sectionOrder returns the byte order of the section that b begins with.
func sectionOrder(b []byte) binary.ByteOrder {
	switch {
	case binary.LittleEndian.Uint32(b[8:]) == magicOrder:
		return binary.LittleEndian
	case binary.BigEndian.Uint32(b[8:]) == magicOrder:
		return binary.BigEndian
	}
	return nil
}

// frame decodes the payload of one captured packet, if it is UDP. Its sender
// is the exporter.
func (r *run) frame(link packet.Link, b []byte, ms int64) error {
	h, ok := packet.Parse(link, b)
	if !ok || h.Proto != packet.UDP || h.Fragment || h.Payload == nil {
		return nil
	}
	return r.datagram(r.group(""), h.Src.NetIP(), h.Payload, ms)
}
