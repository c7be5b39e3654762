package exporter

import "github.com/flowhound/flowhound/internal/flow"

// v5 is NetFlow version 5 (Cisco, NetFlow Export Datagram Format, table B-3).
type v5 struct{ cfg Config }

const (
	v5Header  = 24
	v5Record  = 48
	v5Records = 30 // the most that the format allows
)

func (v5) sizes(bool) (header, record, set int) { return v5Header, v5Record, 0 }
func (v5) limit() int                           { return v5Records }

func (p v5) appendRecord(b []byte, r *flow.Record) []byte {
	packets, bytes := p.cfg.counters(r)
	b = append(b, r.Src[12:]...)
	b = append(b, r.Dst[12:]...)
	b = append(b, 0, 0, 0, 0) // next hop
	b = be.AppendUint16(b, uint16(r.InIf))
	b = be.AppendUint16(b, uint16(r.OutIf))
	b = be.AppendUint32(b, uint32(min(packets, 1<<32-1)))
	b = be.AppendUint32(b, uint32(min(bytes, 1<<32-1)))
	b = be.AppendUint32(b, p.cfg.uptime(r.StartMS))
	b = be.AppendUint32(b, p.cfg.uptime(r.EndMS))
	b = be.AppendUint16(b, r.SrcPort)
	b = be.AppendUint16(b, r.DstPort)
	b = append(b, 0, r.TCPFlags, r.Proto, 0)
	return append(b, 0, 0, 0, 0, 0, 0, 0, 0) // AS numbers, masks, padding
}

// appendPacket moves the sequence by the flows of the packet.
func (p v5) appendPacket(b []byte, e *Encoder, nowMS int64) ([]byte, uint32) {
	b = be.AppendUint16(b, 5)
	b = be.AppendUint16(b, uint16(e.count))
	b = be.AppendUint32(b, p.cfg.uptime(nowMS))
	b = be.AppendUint32(b, uint32(nowMS/1000))
	b = be.AppendUint32(b, uint32(nowMS%1000)*1_000_000)
	b = be.AppendUint32(b, e.sequence)
	b = be.AppendUint16(b, uint16(p.cfg.Domain)) // engine type and id
	sampling := uint16(0)
	if p.cfg.Sampling > 1 {
		sampling = 1<<14 | uint16(p.cfg.Sampling) // mode 1: one packet of each interval
	}
	b = be.AppendUint16(b, sampling)
	return append(b, e.set4...), uint32(e.count)
}

func (v5) appendTemplates(b []byte, _ *Encoder, _ int64) ([]byte, uint32) { return b, 0 }
