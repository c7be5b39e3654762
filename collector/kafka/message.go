package kafka

import (
	"math"
	"net/netip"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/flowhound/flowhound/internal/flow"
)

// Fault says why a message cannot be used. The list is fixed, so that a metric
// may be labelled with it.
type Fault uint8

// The faults.
const (
	Fine       Fault = iota
	BadMessage       // not a FlowMessage of goflow2
	BadAddress       // an address of neither 4 nor 16 bytes, or of two families
	BadRange         // a port, protocol or other number that is too large

	// Faults is the number of values.
	Faults
)

// String returns the fault as metrics print it.
func (f Fault) String() string {
	return [Faults]string{"fine", "message", "address", "range"}[f]
}

// Message is one flow message. Packets and Bytes of the record are as the
// exporter told them, Sampling is the rate that it told, 0 for none. A message
// without an address gives the zero address, one without times those of its
// reception by goflow2.
type Message struct {
	Record   flow.Record
	Exporter netip.Addr // invalid if not told
}

// The fields of goflow2's FlowMessage that are used (pb/flow.proto).
const (
	fieldType          = 1
	fieldSampling      = 3
	fieldSrcAddr       = 6
	fieldDstAddr       = 7
	fieldBytes         = 9
	fieldPackets       = 10
	fieldSampler       = 11
	fieldInIf          = 18
	fieldOutIf         = 19
	fieldProto         = 20
	fieldSrcPort       = 21
	fieldDstPort       = 22
	fieldTCPFlags      = 26
	fieldDomain        = 70
	fieldTimeReceived  = 110
	fieldTimeFlowStart = 111
	fieldTimeFlowEnd   = 112
)

// versions are those of flow.Record by FlowMessage.FlowType.
var versions = [...]uint8{0, flow.VersionSFlow, 5, 9, 10}

// Read reads a message as goflow2 writes it: length-delimited, or plain as
// older versions could. It allocates nothing and keeps nothing of b.
func Read(b []byte) (Message, Fault) {
	if size, n := protowire.ConsumeVarint(b); n > 0 && size == uint64(len(b)-n) {
		b = b[n:]
	}
	p := parser{Message: Message{Record: flow.Record{Direction: flow.DirectionUnknown}}}
	if len(b) == 0 || !p.fields(b) {
		return Message{}, BadMessage
	}
	if p.wide {
		return Message{}, BadRange
	}
	// goflow2 has no times where an exporter told none, as sFlow does.
	if p.Record.EndMS == 0 {
		p.Record.EndMS = milliseconds(p.receivedNS)
	}
	if p.Record.StartMS == 0 {
		p.Record.StartMS = p.Record.EndMS
	}
	if !p.addresses() {
		return Message{}, BadAddress
	}
	return p.Message, Fine
}

// parser collects the fields of one message.
type parser struct {
	Message
	src, dst, sampler []byte
	receivedNS        uint64
	wide              bool // a number did not fit
}

// fields reads all fields and reports whether b is a protobuf message.
func (p *parser) fields(b []byte) bool {
	for len(b) > 0 {
		field, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return false
		}
		b = b[n:]
		switch kind {
		case protowire.VarintType:
			var v uint64
			if v, n = protowire.ConsumeVarint(b); n >= 0 {
				p.number(field, v)
			}
		case protowire.BytesType:
			var v []byte
			if v, n = protowire.ConsumeBytes(b); n >= 0 {
				p.bytes(field, v)
			}
		default:
			n = protowire.ConsumeFieldValue(field, kind, b)
		}
		if n < 0 {
			return false
		}
		b = b[n:]
	}
	return true
}

// number takes a field with a number.
func (p *parser) number(field protowire.Number, v uint64) {
	r := &p.Record
	switch field {
	case fieldType:
		if v < uint64(len(versions)) {
			r.Version = versions[v]
		}
	case fieldSampling:
		r.Sampling = uint32(min(v, math.MaxUint32))
	case fieldBytes:
		r.Bytes = v
	case fieldPackets:
		r.Packets = v
	case fieldInIf:
		r.InIf = uint32(v)
	case fieldOutIf:
		r.OutIf = uint32(v)
	case fieldProto:
		r.Proto = uint8(p.most(v, math.MaxUint8))
	case fieldSrcPort:
		r.SrcPort = uint16(p.most(v, math.MaxUint16))
	case fieldDstPort:
		r.DstPort = uint16(p.most(v, math.MaxUint16))
	case fieldTCPFlags:
		r.TCPFlags = uint8(v) // IPFIX has 16 bits, of which a record keeps 8
	case fieldDomain:
		r.Domain = uint32(v)
	case fieldTimeReceived:
		p.receivedNS = v
	case fieldTimeFlowStart:
		r.StartMS = milliseconds(v)
	case fieldTimeFlowEnd:
		r.EndMS = milliseconds(v)
	}
}

func (p *parser) most(v, limit uint64) uint64 {
	p.wide = p.wide || v > limit
	return v
}

// bytes takes a field with bytes.
func (p *parser) bytes(field protowire.Number, v []byte) {
	switch field {
	case fieldSrcAddr:
		p.src = v
	case fieldDstAddr:
		p.dst = v
	case fieldSampler:
		p.sampler = v
	}
}

// addresses reads the addresses and reports whether they are some. Those of a
// flow of neither IPv4 nor IPv6 are missing.
func (p *parser) addresses() bool {
	src, okSrc := address(p.src)
	dst, okDst := address(p.dst)
	sampler, okSampler := address(p.sampler)
	if !okSrc || !okDst || !okSampler {
		return false
	}
	p.Exporter = sampler
	if !src.IsValid() || !dst.IsValid() {
		return true
	}
	if src.Is4() != dst.Is4() {
		return false
	}
	p.Record.Src, p.Record.Dst = flow.AddrFrom(src), flow.AddrFrom(dst)
	return true
}

// address reads an address; no bytes are no address.
func address(b []byte) (netip.Addr, bool) {
	if len(b) == 0 {
		return netip.Addr{}, true
	}
	a, ok := netip.AddrFromSlice(b)
	return a.Unmap(), ok
}

func milliseconds(ns uint64) int64 { return int64(ns / 1e6) }
