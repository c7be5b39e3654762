package exporter

import "github.com/flowhound/flowhound/internal/flow"

// field is a field specifier: information element and length in bytes.
type field struct{ element, length uint16 }

// format is what differs between NetFlow v9 and IPFIX.
type format struct {
	version                   uint16
	header                    int
	templateSet, optionsSet   uint16
	addresses4, addresses6    []field
	common                    []field // after the addresses, in appendRecord's order
	optionsScope, optionsData []field
}

// Templates' numbers.
const (
	template4       = 256
	template6       = 257
	templateOptions = 258
)

var (
	addresses4 = []field{{8, 4}, {12, 4}}
	addresses6 = []field{{27, 16}, {28, 16}}
	before     = []field{{7, 2}, {11, 2}, {4, 1}, {6, 1}, {61, 1}, {5, 1}, {10, 4}, {14, 4}, {2, 8}, {1, 8}}
)

// v9Format: times are uptimes LAST_SWITCHED and FIRST_SWITCHED, the sampling
// rate is SAMPLING_INTERVAL with its algorithm, in the scope of the system.
var v9Format = format{
	version: 9, header: 20, templateSet: 0, optionsSet: 1,
	addresses4: addresses4, addresses6: addresses6,
	common:       append(before[:len(before):len(before)], field{22, 4}, field{21, 4}),
	optionsScope: []field{{1, 4}}, optionsData: []field{{34, 4}, {35, 1}},
}

// ipfixFormat: times are flowStartMilliseconds and flowEndMilliseconds, the
// sampling rate is an interval and a space in packets (RFC 5477 §8.2), in the
// scope of the observation domain.
var ipfixFormat = format{
	version: 10, header: 16, templateSet: 2, optionsSet: 3,
	addresses4: addresses4, addresses6: addresses6,
	common:       append(before[:len(before):len(before)], field{152, 8}, field{153, 8}),
	optionsScope: []field{{149, 4}}, optionsData: []field{{304, 2}, {305, 4}, {306, 4}},
}

// templated encodes NetFlow v9 and IPFIX.
type templated struct {
	cfg Config
	format
	record4, record6 int // bytes of a record
}

const setHeader = 4

func newTemplated(c Config, f format) *templated {
	p := &templated{cfg: c, format: f}
	for i, size := range []*int{&p.record4, &p.record6} {
		for _, f := range p.fields(i == 1) {
			*size += int(f.length)
		}
	}
	return p
}

func (p *templated) sizes(ipv6 bool) (header, record, set int) {
	if ipv6 {
		return p.header, p.record6, setHeader
	}
	return p.header, p.record4, setHeader
}

func (*templated) limit() int { return 1 << 16 }

func (p *templated) fields(ipv6 bool) []field {
	addresses := p.addresses4
	if ipv6 {
		addresses = p.addresses6
	}
	return append(addresses[:len(addresses):len(addresses)], p.common...)
}

func (p *templated) appendRecord(b []byte, r *flow.Record) []byte {
	from := 0
	if r.Src.Is4() && r.Dst.Is4() {
		from = 12
	}
	packets, bytes := p.cfg.counters(r)
	b = append(b, r.Src[from:]...)
	b = append(b, r.Dst[from:]...)
	b = be.AppendUint16(b, r.SrcPort)
	b = be.AppendUint16(b, r.DstPort)
	b = append(b, r.Proto, r.TCPFlags, r.Direction, 0)
	b = be.AppendUint32(b, r.InIf)
	b = be.AppendUint32(b, r.OutIf)
	b = be.AppendUint64(b, packets)
	b = be.AppendUint64(b, bytes)
	if p.version == 9 {
		b = be.AppendUint32(b, p.cfg.uptime(r.StartMS))
		return be.AppendUint32(b, p.cfg.uptime(r.EndMS))
	}
	b = be.AppendUint64(b, uint64(r.StartMS))
	return be.AppendUint64(b, uint64(r.EndMS))
}

// appendPacket moves IPFIX's sequence by the data records (RFC 7011 §3.1) and
// v9's by one packet (RFC 3954 §5.1).
func (p *templated) appendPacket(b []byte, e *Encoder, nowMS int64) ([]byte, uint32) {
	b = p.appendHeader(b, e, e.count, nowMS)
	if len(e.set4) > 0 {
		b = p.appendSet(b, template4, e.set4)
	}
	if len(e.set6) > 0 {
		b = p.appendSet(b, template6, e.set6)
	}
	return p.finish(b), p.step(e.count)
}

// appendTemplates counts the one options data record in IPFIX's sequence.
func (p *templated) appendTemplates(b []byte, e *Encoder, nowMS int64) ([]byte, uint32) {
	const records = 4 // two templates, one options template, one options record
	b = p.appendHeader(b, e, records, nowMS)
	var body []byte
	for i, ipv6 := range []bool{false, true} {
		fields := p.fields(ipv6)
		body = be.AppendUint16(body, uint16(template4+i))
		body = be.AppendUint16(body, uint16(len(fields)))
		body = appendFields(body, fields)
	}
	b = p.appendSet(b, p.templateSet, body)
	b = p.appendSet(b, p.optionsSet, p.optionsTemplate())
	b = p.appendSet(b, templateOptions, p.options())
	return p.finish(b), p.step(1)
}

func (p *templated) step(records int) uint32 {
	if p.version == 9 {
		return 1
	}
	return uint32(records)
}

// optionsTemplate differs in its head: v9 gives the lengths of both parts in
// bytes, IPFIX the numbers of fields (RFC 3954 §6.1, RFC 7011 §3.4.2.2).
func (p *templated) optionsTemplate() []byte {
	b := be.AppendUint16(nil, templateOptions)
	scope, data := len(p.optionsScope), len(p.optionsData)
	if p.version == 9 {
		b = be.AppendUint16(b, uint16(4*scope))
		b = be.AppendUint16(b, uint16(4*data))
	} else {
		b = be.AppendUint16(b, uint16(scope+data))
		b = be.AppendUint16(b, uint16(scope))
	}
	return appendFields(appendFields(b, p.optionsScope), p.optionsData)
}

func (p *templated) options() []byte {
	b := be.AppendUint32(nil, p.cfg.Domain)
	if p.version == 9 {
		b = be.AppendUint32(b, p.cfg.Sampling)
		return append(b, 1) // deterministic
	}
	b = be.AppendUint16(b, 1) // systematic count-based (RFC 5477 §8.2.1)
	b = be.AppendUint32(b, 1)
	return be.AppendUint32(b, p.cfg.Sampling-1)
}

var zeros [4]byte

func appendFields(b []byte, fields []field) []byte {
	for _, f := range fields {
		b = be.AppendUint16(b, f.element)
		b = be.AppendUint16(b, f.length)
	}
	return b
}

func (p *templated) appendHeader(b []byte, e *Encoder, records int, nowMS int64) []byte {
	b = be.AppendUint16(b, p.version)
	if p.version == 9 {
		b = be.AppendUint16(b, uint16(records))
		b = be.AppendUint32(b, p.cfg.uptime(nowMS))
	} else {
		b = be.AppendUint16(b, 0) // the length, which finish knows
	}
	b = be.AppendUint32(b, uint32(nowMS/1000))
	b = be.AppendUint32(b, e.sequence)
	return be.AppendUint32(b, p.cfg.Domain)
}

// appendSet appends a set, padded to four bytes as v9 demands and IPFIX
// allows. No record is as short as the padding.
func (p *templated) appendSet(b []byte, id uint16, body []byte) []byte {
	padding := -len(body) & 3
	b = be.AppendUint16(b, id)
	b = be.AppendUint16(b, uint16(setHeader+len(body)+padding))
	b = append(b, body...)
	return append(b, zeros[:padding]...)
}

func (p *templated) finish(b []byte) []byte {
	if p.version == 10 {
		be.PutUint16(b[2:], uint16(len(b)))
	}
	return b
}
