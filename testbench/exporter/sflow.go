package exporter

import "github.com/flowhound/flowhound/internal/flow"

// sflow is sFlow version 5 (sflow.org, July 2004). A record becomes one flow
// sample of one Ethernet frame that stands for all packets of the record: the
// sampling rate is their number and the frame has their mean length. Times are
// lost, as sFlow has none.
type sflow struct {
	cfg     Config
	samples uint32
	pool    uint32
	frame   []byte
}

const (
	sflowHeader = 28 // with an IPv6 agent: 12 more
	sampleHead  = 8 + 32
	rawHead     = 8 + 16
)

func (p *sflow) sizes(ipv6 bool) (header, record, set int) {
	frame := frameLength(ipv6, protoTCP)
	return sflowHeader + 12, sampleHead + rawHead + frame + -frame&3, 0
}

func (*sflow) limit() int { return 1 << 16 }

func (p *sflow) appendRecord(b []byte, r *flow.Record) []byte {
	packets := uint32(min(max(r.Packets, 1), 1<<32-1))
	p.samples++
	p.pool += packets
	ip := int(min(r.Bytes/uint64(packets), 65_535))
	p.frame = appendFrame(p.frame[:0], r, ip)
	p.frame = append(p.frame, zeros[:-len(p.frame)&3]...)
	frame := p.frame
	captured := frameLength(!r.Src.Is4(), r.Proto)

	b = be.AppendUint32(b, 1) // flow sample
	b = be.AppendUint32(b, uint32(sampleHead-8+rawHead+len(frame)))
	b = be.AppendUint32(b, p.samples)
	b = be.AppendUint32(b, r.InIf) // source: this interface
	b = be.AppendUint32(b, packets)
	b = be.AppendUint32(b, p.pool)
	b = be.AppendUint32(b, 0) // drops
	b = be.AppendUint32(b, r.InIf)
	b = be.AppendUint32(b, r.OutIf)
	b = be.AppendUint32(b, 1) // records

	b = be.AppendUint32(b, 1) // raw packet header
	b = be.AppendUint32(b, uint32(rawHead-8+len(frame)))
	b = be.AppendUint32(b, 1) // Ethernet
	b = be.AppendUint32(b, uint32(ethernetLength+max(ip, captured-ethernetLength)))
	b = be.AppendUint32(b, 0) // bytes stripped
	b = be.AppendUint32(b, uint32(captured))
	return append(b, frame...)
}

// appendPacket moves the sequence by one datagram.
func (p *sflow) appendPacket(b []byte, e *Encoder, nowMS int64) ([]byte, uint32) {
	b = be.AppendUint32(b, 5)
	if p.cfg.Agent.Is4() {
		a := p.cfg.Agent.As4()
		b = append(be.AppendUint32(b, 1), a[:]...)
	} else {
		a := p.cfg.Agent.As16()
		b = append(be.AppendUint32(b, 2), a[:]...)
	}
	b = be.AppendUint32(b, p.cfg.Domain)
	b = be.AppendUint32(b, e.sequence+1)
	b = be.AppendUint32(b, p.cfg.uptime(nowMS))
	b = be.AppendUint32(b, uint32(e.count))
	b = append(b, e.set4...)
	return append(b, e.set6...), 1
}

func (*sflow) appendTemplates(b []byte, _ *Encoder, _ int64) ([]byte, uint32) { return b, 0 }
