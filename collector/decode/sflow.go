package decode

import (
	"encoding/binary"
	"hash/maphash"
	"net/netip"

	"github.com/flowhound/flowhound/collector/decode/packet"
	"github.com/flowhound/flowhound/internal/flow"
)

// versionSFlow stands for sFlow version 5 where 5 alone means NetFlow.
const versionSFlow = flow.VersionSFlow

// Sample and record formats of enterprise 0 (sFlow version 5, §5).
const (
	formatFlow            = 1
	formatCounters        = 2
	formatExpandedFlow    = 3
	formatExpandedCounter = 4

	recordHeader = 1
	recordIPv4   = 3
	recordIPv6   = 4
)

// agentSeed makes 64 bits of an agent's address: they only keep its sequence
// apart from other agents' that send from the same exporter.
var agentSeed = maphash.MakeSeed()

// words reads 32-bit words in network order and remembers if it ran out.
type words struct {
	b   []byte
	bad bool
}

func (w *words) next() uint32 {
	if len(w.b) < 4 {
		w.b, w.bad = nil, true
		return 0
	}
	v := binary.BigEndian.Uint32(w.b)
	w.b = w.b[4:]
	return v
}

// take cuts n bytes off, without their padding to whole words.
func (w *words) take(n uint32) []byte {
	if uint64(n) > uint64(len(w.b)) {
		w.b, w.bad = nil, true
		return nil
	}
	b := w.b[:n]
	w.b = w.b[min(int(n+3)&^3, len(w.b)):]
	return b
}

// sflow decodes an sFlow version 5 datagram. Counts in it are believed only as
// far as the datagram goes.
func (d *Decoder) sflow(dst []flow.Record, m *message, from netip.Addr, pkt []byte) []flow.Record {
	w := words{b: pkt[4:]}
	size := uint32(4)
	switch w.next() {
	case 1:
	case 2:
		size = 16
	default:
		d.stats.Drops[refusal(w.bad, BadAgent)]++
		return dst
	}
	agent := w.take(size)
	m.version = versionSFlow
	m.domain, m.sequence, m.uptime = w.next(), w.next(), w.next()
	samples := w.next()
	if w.bad {
		d.stats.Drops[TooShort]++
		return dst
	}
	m.units = 1
	e := d.accept(from, m)
	s := e.stream(streamKey{version: versionSFlow, domain: m.domain, agent: maphash.Bytes(agentSeed, agent) | 1})
	for ; samples > 0 && len(w.b) > 0; samples-- {
		format := w.next()
		body := w.take(w.next())
		if w.bad {
			break
		}
		dst = d.sample5(dst, e, m, format, body)
	}
	if w.bad || samples > 0 {
		d.drop(e, SampleMalformed, 1)
	}
	d.account(e, s, m)
	return dst
}

func refusal(short bool, r Reason) Reason {
	if short {
		return TooShort
	}
	return r
}

// sample5 decodes one sample.
func (d *Decoder) sample5(dst []flow.Record, e *exporter, m *message, format uint32, body []byte) []flow.Record {
	switch format {
	case formatFlow, formatExpandedFlow:
	case formatCounters, formatExpandedCounter:
		d.stats.CounterSamples++
		return dst
	default:
		d.stats.OtherSamples++
		return dst
	}
	w := words{b: body}
	r := flow.Record{
		Packets: 1, Sampling: 1, Domain: m.domain,
		StartMS: m.receivedMS, EndMS: m.receivedMS,
		Direction: flow.DirectionUnknown, Version: versionSFlow,
	}
	w.next() // sequence number of the source
	w.next() // source id, or its class
	if format == formatExpandedFlow {
		w.next() // source index
	}
	rate := w.next()
	w.next() // pool
	w.next() // drops, cumulative
	if format == formatExpandedFlow {
		w.next() // format of the interface
		r.InIf = w.next()
		w.next()
		r.OutIf = w.next()
	} else {
		r.InIf, r.OutIf = w.next(), w.next()
	}
	records := w.next()
	if w.bad {
		d.drop(e, SampleMalformed, 1)
		return dst
	}
	d.stats.FlowSamples++
	found := false
	for ; records > 0 && len(w.b) > 0; records-- {
		format := w.next()
		data := w.take(w.next())
		if w.bad {
			d.drop(e, SampleMalformed, 1)
			break
		}
		if !found || format == recordHeader {
			found = d.sampled(&r, format, data) || found
		}
	}
	// A host that looks for its own duplicate sends from :: (RFC 4862 §5.4.2).
	if !found || r.Src.IsZero() || r.Dst.IsZero() {
		d.drop(e, NoAddress, 1)
		return dst
	}
	if e.rule.Force || rate == 0 {
		rate = e.rule.Rate
	}
	rate = max(rate, 1)
	e.sampling = rate
	upscale(&r, rate)
	e.records++
	return append(dst, r)
}

// sampled reads the packet of one flow record into r; false where it tells no
// pair of addresses.
func (d *Decoder) sampled(r *flow.Record, format uint32, data []byte) bool {
	w := words{b: data}
	switch format {
	case recordHeader:
		protocol, length := w.next(), w.next()
		w.next() // bytes that were stripped
		header := w.take(w.next())
		link, known := linkOf(protocol)
		if w.bad || !known {
			return false
		}
		h, ok := packet.Parse(link, header)
		if !ok {
			return false
		}
		if inner, ok := vxlan(&h); ok && d.cfg.VXLAN {
			h = inner
		}
		r.Src, r.Dst, r.SrcPort, r.DstPort = h.Src, h.Dst, h.SrcPort, h.DstPort
		r.Proto, r.TCPFlags = h.Proto, h.TCPFlags
		r.Bytes = uint64(length)
		return true
	case recordIPv4, recordIPv6:
		length, proto := w.next(), w.next()
		size := uint32(4)
		if format == recordIPv6 {
			size = 16
		}
		src, dst := w.take(size), w.take(size)
		srcPort, dstPort, flags := w.next(), w.next(), w.next()
		if w.bad {
			return false
		}
		r.Src, r.Dst = address(src), address(dst)
		r.SrcPort, r.DstPort = uint16(srcPort), uint16(dstPort)
		r.Proto, r.TCPFlags = uint8(proto), uint8(flags)
		r.Bytes = uint64(length)
		return true
	}
	return false
}

// linkOf returns how packet reads a header protocol of sFlow.
func linkOf(protocol uint32) (packet.Link, bool) {
	switch protocol {
	case 1:
		return packet.Ethernet, true
	case 11, 12:
		return packet.IP, true
	case 13:
		return packet.MPLS, true
	}
	return 0, false
}

// vxlan returns the headers of the packet inside a VXLAN packet (RFC 7348).
func vxlan(h *packet.Headers) (inner packet.Headers, ok bool) {
	const port, head, validVNI = 4789, 8, 0x08
	if h.Proto != packet.UDP || h.DstPort != port || len(h.Payload) < head || h.Payload[0]&validVNI == 0 {
		return inner, false
	}
	return packet.Parse(packet.Ethernet, h.Payload[head:])
}

func address(b []byte) (a flow.Addr) {
	if len(b) == 4 {
		mapped4(&a, binary.BigEndian.Uint32(b))
		return a
	}
	copy(a[:], b)
	return a
}
