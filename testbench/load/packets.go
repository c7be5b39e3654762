package load

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"

	"github.com/flowhound/flowhound/internal/flow"
	"github.com/flowhound/flowhound/testbench/exporter"
	"github.com/flowhound/flowhound/testbench/traffic"
)

var be = binary.BigEndian

// slack is the room behind each packet that a decoder may read.
const slack = 16

// hourMS is before which time exporters have booted, and within which flows
// have ended.
const hourMS = 3600_000

// field is a field specifier of NetFlow v9 or IPFIX.
type field struct{ element, length uint16 }

// The templates of notes/collector.md §2.1, of the kind that routers send: v9
// with 22 fields in 58 bytes, IPFIX with 19 fields in 62 bytes.
var templates = map[exporter.Protocol][]field{
	exporter.NetFlow9: {
		{8, 4}, {12, 4}, {15, 4}, {10, 2}, {14, 2}, {2, 4}, {1, 4}, {22, 4}, {21, 4}, {7, 2}, {11, 2},
		{6, 1}, {4, 1}, {5, 1}, {16, 4}, {17, 4}, {9, 1}, {13, 1}, {61, 1}, {89, 1}, {56, 6}, {60, 1},
	},
	exporter.IPFIX: {
		{8, 4}, {12, 4}, {15, 4}, {10, 4}, {14, 4}, {2, 4}, {1, 4}, {152, 8}, {153, 8}, {7, 2}, {11, 2},
		{6, 1}, {4, 1}, {5, 1}, {16, 4}, {9, 1}, {13, 1}, {61, 1}, {17, 4},
	},
}

const templateID = 256

// packets are export packets, encoded once and sent often.
type packets struct {
	protocol  exporter.Protocol
	perPacket int
	template  []byte // nil for v5
	data      [][]byte
	counters  []uint64 // per data packet, the packets that its records count
	contacts  int      // different pairs of hosts
	moves     byte     // how often renew was called
}

// records returns how many flow records the packets have.
func (p *packets) records() int { return len(p.data) * p.perPacket }

// drawRecords draws at least n IPv4 records of an ISP's traffic in which a call
// makes 1 … flows flows, and shuffles them: routers interleave everybody.
func drawRecords(hosts, flows, n int) ([]flow.Record, error) {
	c, err := traffic.Background("isp", hosts)
	if err != nil {
		return nil, err
	}
	c.Flows = flows
	rng := rand.New(rand.NewPCG(1, uint64(flows)))
	var records []flow.Record
	for seed := uint64(1); len(records) < n; seed++ {
		network, err := traffic.Generate(c, seed)
		if err != nil {
			return nil, err
		}
		whole := make([]flow.Record, 0, network.NumRecords())
		for r := range network.Records(traffic.Span{FromMS: 0, ToMS: 60_000}) {
			whole = append(whole, r)
		}
		rng.Shuffle(len(whole), func(i, j int) { whole[i], whole[j] = whole[j], whole[i] })
		records = append(records, whole...)
	}
	return records, nil
}

// encode makes packets of exactly perPacket records; records that do not fill
// one are left out. Their times, relative to 0, are moved to end by nowMS.
func encode(protocol exporter.Protocol, records []flow.Record, perPacket int, nowMS int64) (*packets, error) {
	p := &packets{protocol: protocol, perPacket: perPacket}
	n := len(records) / perPacket
	if n == 0 {
		return nil, fmt.Errorf("%d records fill no packet of %d", len(records), perPacket)
	}
	pairs := make(map[[2]flow.Addr]struct{}, len(records)/4)
	for i := range n {
		group := records[i*perPacket : (i+1)*perPacket]
		packet, sum := make([]byte, 0, 1500), uint64(0)
		for k := range group {
			r := &group[k]
			r.StartMS += nowMS - 60_000 // drawn within the first minute
			r.EndMS += nowMS - 60_000
			sum += r.Packets
			pairs[pairOf(r)] = struct{}{}
		}
		var err error
		if packet, err = appendPacket(packet, protocol, group, nowMS); err != nil {
			return nil, err
		}
		for k := range group {
			group[k].StartMS -= nowMS - 60_000
			group[k].EndMS -= nowMS - 60_000
		}
		p.data = append(p.data, append(make([]byte, 0, len(packet)+slack), packet...))
		p.counters = append(p.counters, sum)
	}
	p.contacts = len(pairs)
	if fields := templates[protocol]; fields != nil {
		p.template = appendTemplate(nil, protocol, fields, nowMS)
	}
	return p, nil
}

func pairOf(r *flow.Record) [2]flow.Addr {
	for i := range r.Src {
		switch {
		case r.Src[i] < r.Dst[i]:
			return [2]flow.Addr{r.Src, r.Dst}
		case r.Src[i] > r.Dst[i]:
			return [2]flow.Addr{r.Dst, r.Src}
		}
	}
	return [2]flow.Addr{r.Src, r.Dst}
}

// appendPacket appends one data packet with sequence number 0.
func appendPacket(b []byte, protocol exporter.Protocol, records []flow.Record, nowMS int64) ([]byte, error) {
	if protocol == exporter.NetFlow5 {
		e, err := exporter.New(exporter.Config{Protocol: protocol, BootMS: nowMS - hourMS, MTU: 2000})
		if err != nil {
			return nil, err
		}
		emit := func(packet []byte) error { b = append(b, packet...); return nil }
		for i := range records {
			if err := e.Add(&records[i], nowMS, emit); err != nil {
				return nil, err
			}
		}
		return b, e.Flush(nowMS, emit)
	}
	fields := templates[protocol]
	b = appendHeader(b, protocol, len(records), nowMS)
	start := len(b)
	b = append(b, 0, 0, 0, 0)
	for i := range records {
		for _, f := range fields {
			b = appendField(b, f, &records[i], nowMS)
		}
	}
	return finish(b, protocol, start, templateID), nil
}

func appendTemplate(b []byte, protocol exporter.Protocol, fields []field, nowMS int64) []byte {
	b = appendHeader(b, protocol, 1, nowMS)
	start, id := len(b), uint16(0)
	if protocol == exporter.IPFIX {
		id = 2
	}
	b = append(b, 0, 0, 0, 0)
	b = be.AppendUint16(b, templateID)
	b = be.AppendUint16(b, uint16(len(fields)))
	for _, f := range fields {
		b = be.AppendUint16(b, f.element)
		b = be.AppendUint16(b, f.length)
	}
	return finish(b, protocol, start, id)
}

// appendHeader appends a message header with length and sequence number 0.
func appendHeader(b []byte, protocol exporter.Protocol, count int, nowMS int64) []byte {
	if protocol == exporter.IPFIX {
		b = append(b, 0, 10, 0, 0)
		b = be.AppendUint32(b, uint32(nowMS/1000))
		return append(b, 0, 0, 0, 0, 0, 0, 0, 1)
	}
	b = append(b, 0, 9)
	b = be.AppendUint16(b, uint16(count))
	b = be.AppendUint32(b, hourMS)
	b = be.AppendUint32(b, uint32(nowMS/1000))
	return append(b, 0, 0, 0, 0, 0, 0, 0, 1)
}

// finish pads the packet's only set, which begins at start, and writes the
// lengths.
func finish(b []byte, protocol exporter.Protocol, start int, id uint16) []byte {
	b = append(b, make([]byte, -(len(b)-start)&3)...)
	be.PutUint16(b[start:], id)
	be.PutUint16(b[start+2:], uint16(len(b)-start))
	if protocol == exporter.IPFIX {
		be.PutUint16(b[2:], uint16(len(b)))
	}
	return b
}

// appendField appends what a router would write into a field; next hops,
// prefix lengths and AS numbers are made from the addresses.
func appendField(b []byte, f field, r *flow.Record, nowMS int64) []byte {
	var v uint64
	switch f.element {
	case 8:
		v = uint64(be.Uint32(r.Src[12:]))
	case 12:
		v = uint64(be.Uint32(r.Dst[12:]))
	case 15:
		v = uint64(be.Uint32(r.Dst[12:])&0xff | 10<<24)
	case 10:
		v = uint64(r.InIf)
	case 14:
		v = uint64(r.OutIf)
	case 2:
		v = r.Packets
	case 1:
		v = r.Bytes
	case 22, 21:
		ms := r.StartMS
		if f.element == 21 {
			ms = r.EndMS
		}
		// The header's uptime is an hour, at its whole second.
		v = uint64(uint32(hourMS - (nowMS/1000*1000 - ms)))
	case 152:
		v = uint64(r.StartMS)
	case 153:
		v = uint64(r.EndMS)
	case 7:
		v = uint64(r.SrcPort)
	case 11:
		v = uint64(r.DstPort)
	case 6:
		v = uint64(r.TCPFlags)
	case 4:
		v = uint64(r.Proto)
	case 61:
		v = uint64(r.Direction)
	case 9, 13:
		v = 24
	case 60:
		v = 4
	case 16:
		v = uint64(be.Uint32(r.Src[12:]) >> 16)
	case 17:
		v = uint64(be.Uint32(r.Dst[12:]) >> 16)
	}
	for i := int(f.length) - 1; i >= 0; i-- {
		b = append(b, byte(v>>(8*i)))
	}
	return b
}

// move gives every v9 record other hosts: those whose second byte differs by
// mask. Pairs stay pairs, and no address leaves its class.
func (p *packets) move(mask byte) {
	if p.protocol != exporter.NetFlow9 {
		panic("BUG: only v9's addresses are where move looks for them")
	}
	const header, record = 24, 58
	for _, b := range p.data {
		for at := header; at+record <= len(b); at += record {
			b[at+1] ^= mask
			b[at+5] ^= mask
		}
	}
}

// renew gives the packets hosts that they did not have within 256 calls: what
// is sent again would otherwise be contacts that are there already.
func (p *packets) renew() {
	p.moves++
	p.move(p.moves ^ (p.moves - 1))
}

// setSequence numbers a packet, and returns by how much the number moves on.
func (p *packets) setSequence(packet []byte, sequence uint32, data bool) uint32 {
	records := uint32(0)
	if data {
		records = uint32(p.perPacket)
	}
	switch p.protocol {
	case exporter.NetFlow5:
		be.PutUint32(packet[16:], sequence)
	case exporter.IPFIX:
		be.PutUint32(packet[8:], sequence)
	default:
		be.PutUint32(packet[12:], sequence)
		return 1
	}
	return records
}
