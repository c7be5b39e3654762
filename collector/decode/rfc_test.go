package decode_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/flowhound/flowhound/collector/decode"
	"github.com/flowhound/flowhound/internal/flow"
)

// fullFields is a template with every element that fills a record, and its
// record as bytes.
func fullFields() ([]field, []byte) {
	fields := with(pair4, field{id: 7, length: 2}, field{id: 11, length: 2}, field{id: 4, length: 1}, field{id: 6, length: 2},
		field{id: 2, length: 8}, field{id: 1, length: 8}, field{id: 152, length: 8}, field{id: 153, length: 8},
		field{id: 10, length: 4}, field{id: 14, length: 4}, field{id: 61, length: 1}, field{id: 5, length: 1})
	record := cat(bytes4, u16(1234), u16(443), u8(6), u16(0x011b), u64(10), u64(1<<40), u64(uint64(now-3000)), u64(uint64(now-1000)),
		u32(7), u32(8), u8(1), u8(99))
	return fields, record
}

const fullText = "198.51.100.7:1234>203.0.113.9:443 p6 10/1099511627776 flags 0x1b t -3000..-1000 1:1 if 7>8 dir 1 v10 dom 5"

// RFC 7011 §3.1, §3.3, §3.4.1: message, sets, template and data records.
func TestRFC7011Section3DataRecord(t *testing.T) {
	x := newTester(t, decode.Config{})
	fields, record := fullFields()
	x.want(packet10(header{secs: secs, domain: 5}, set(2, templateRecord(256, fields...)), set(256, record, record)), fullText, fullText)
	x.only(nil)
	if s := x.d.Stats(); s.Templates != 1 || s.DataRecords != 2 || s.DataSets != 1 {
		t.Errorf("got %+v", s)
	}
}

// RFC 7011 §3.3.1: a set may end in padding shorter than a record.
func TestRFC7011Section331Padding(t *testing.T) {
	x := newTester(t, decode.Config{})
	fields, record := fullFields()
	x.want(packet10(header{secs: secs, domain: 5}, set(2, templateRecord(256, fields...), make([]byte, 3)), set(256, record, make([]byte, 2))), fullText)
	x.only(nil)
}

// RFC 7011 §3.4.1: ids below 256 are no templates; set ids 0, 1 and 4 to 255
// are not used.
func TestRFC7011Section34ReservedIDs(t *testing.T) {
	x := newTester(t, decode.Config{})
	x.want(packet10(header{secs: secs}, set(2, templateRecord(255, pair4...)), set(0, u32(1)), set(1), set(4), set(255, bytes4)))
	x.only(map[decode.Reason]uint64{decode.TemplateMalformed: 1, decode.SetReserved: 4})
}

// RFC 7011 §6.2: numbers may be sent in fewer bytes; all of 1 to 8 are read.
func TestRFC7011Section62ReducedSize(t *testing.T) {
	x := newTester(t, decode.Config{})
	for n := 1; n <= 8; n++ {
		value := be.AppendUint64(nil, 0x0102030405060708)[8-n:]
		p := packet10(header{secs: secs}, set(2, templateRecord(uint16(300+n), with(pair4, field{id: 1, length: uint16(n)}, field{id: 2, length: uint16(n)})...)),
			set(uint16(300+n), bytes4, value, value))
		recs := x.decode(p)
		want := uint64(0x0102030405060708) & (1<<(8*n) - 1)
		if n == 8 {
			want = 0x0102030405060708
		}
		if len(recs) != 1 || recs[0].Bytes != want || recs[0].Packets != want {
			t.Errorf("%d bytes: got %+v, want %#x", n, recs, want)
		}
	}
	// Addresses may not be shortened: such a template has no address.
	x.want(packet10(header{secs: secs}, set(2, templateRecord(256, field{id: 8, length: 3}, field{id: 12, length: 4})), set(256, make([]byte, 7))))
	x.only(map[decode.Reason]uint64{decode.NoAddress: 1})
}

// RFC 7011 §7: variable-length elements carry their length in one byte or,
// after 255, in two.
func TestRFC7011Section7VariableLength(t *testing.T) {
	x := newTester(t, decode.Config{})
	tpl := set(2, templateRecord(256, field{id: 96, length: 65535}, pair4[0], field{id: 371, length: 65535}, pair4[1], field{id: 1, length: 4}))
	record := func(first, second int, n uint32) []byte {
		varlen := func(k int) []byte {
			if k < 255 {
				return append([]byte{byte(k)}, make([]byte, k)...)
			}
			return append([]byte{255, byte(k >> 8), byte(k)}, make([]byte, k)...)
		}
		return cat(varlen(first), src4.AsSlice(), varlen(second), dst4.AsSlice(), u32(n))
	}
	line := func(n string) string {
		return "198.51.100.7:0>203.0.113.9:0 p0 0/" + n + " flags 0x0 t 0..0 1:1 if 0>0 dir 255 v10 dom 0"
	}
	x.want(packet10(header{secs: secs}, tpl, set(256, record(0, 0, 1), record(7, 254, 2), record(255, 300, 3), record(1, 0, 4))),
		line("1"), line("2"), line("3"), line("4"))
	x.only(nil)
	// A short value in the long form is allowed.
	long := cat([]byte{255, 0, 1, 9}, src4.AsSlice(), []byte{0}, dst4.AsSlice(), u32(5))
	x.want(packet10(header{secs: secs}, set(256, long)), line("5"))
	// A lying length ends the set; what was whole is kept.
	x.want(packet10(header{secs: secs}, set(256, record(2, 2, 6), cat([]byte{250}, make([]byte, 20)))), line("6"))
	x.only(map[decode.Reason]uint64{decode.RecordTruncated: 1})
}

// RFC 7011 §3.2: enterprise elements with an IANA number mean something else.
func TestRFC7011Section32Enterprise(t *testing.T) {
	x := newTester(t, decode.Config{})
	tpl := templateRecord(256, field{1, 4, 9}, pair4[0], field{8, 4, 35632}, pair4[1], field{id: 1, length: 4})
	x.want(packet10(header{secs: secs}, set(2, tpl), set(256, u32(77), src4.AsSlice(), u32(88), dst4.AsSlice(), u32(99))),
		"198.51.100.7:0>203.0.113.9:0 p0 0/99 flags 0x0 t 0..0 1:1 if 0>0 dir 255 v10 dom 0")
}

// RFC 7011 §8.1, §8.4: over UDP a withdrawal is ignored, and a template that
// is sent again with another layout replaces the first: here once it was
// repeated, as anybody can send one (see TestContest).
func TestRFC7011Section84Withdrawal(t *testing.T) {
	x := newTester(t, decode.Config{})
	line := "198.51.100.7:0>203.0.113.9:0 p0 0/0 flags 0x0 t 0..0 1:1 if 0>0 dir 255 v10 dom 0"
	x.want(packet10(header{secs: secs}, set(2, templateRecord(256, pair4...)), set(256, bytes4)), line)
	x.want(packet10(header{secs: secs}, set(2, templateRecord(256)), set(256, bytes4)), line)
	x.want(packet10(header{secs: secs}, set(3, cat(u16(256), u16(0))), set(2, cat(u16(2), u16(0))), set(256, bytes4)), line)
	x.only(map[decode.Reason]uint64{decode.TemplateWithdrawn: 3})
	other := set(2, templateRecord(256, field{id: 96, length: 4}, pair4[0], pair4[1]))
	x.want(packet10(header{secs: secs}, other, set(256, u32(0), bytes4)))
	x.want(packet10(header{secs: secs}, other), line)
	if n := x.d.Stats().TemplateChanges; n != 1 {
		t.Errorf("template changes: got %d, want 1", n)
	}
}

// RFC 7011 §8.1: templates belong to a domain, and to their exporter; the
// port a message came from does not matter, as Decode is not even told it.
func TestRFC7011Section81Scope(t *testing.T) {
	x := newTester(t, decode.Config{})
	x.decode(packet10(header{secs: secs, domain: 1}, set(2, templateRecord(256, pair4...))))
	if n := len(x.decode(packet10(header{secs: secs, domain: 2}, set(256, bytes4)))); n != 0 {
		t.Errorf("other domain: %d records, want 0", n)
	}
	if n := len(x.decode(packet9(header{secs: secs, domain: 1}, set(256, bytes4)))); n != 0 {
		t.Errorf("other version: %d records, want 0", n)
	}
	if n := len(x.from(src6, packet10(header{secs: secs, domain: 1}, set(256, bytes4)), now)); n != 0 {
		t.Errorf("other exporter: %d records, want 0", n)
	}
	if n := len(x.decode(packet10(header{secs: secs, domain: 1}, set(256, bytes4)))); n != 1 {
		t.Errorf("same domain: %d records, want 1", n)
	}
}

// RFC 7011 §3.1: length and count are not trusted. Real exporters understate
// (telegraf issue 14370) and overstate them, and pad with zeros.
func TestRFC7011Section31Length(t *testing.T) {
	x := newTester(t, decode.Config{})
	fields, record := fullFields()
	tpl, data := set(2, templateRecord(256, fields...)), set(256, record)
	p := packet10(header{secs: secs, domain: 5}, tpl, data)
	be.PutUint16(p[2:], uint16(len(p)-2))
	x.want(p, fullText)
	x.want(append(p, make([]byte, 64)...), fullText)
	x.only(nil)
	be.PutUint16(p[2:], 0)
	x.want(p, fullText)
	be.PutUint16(p[2:], 65535)
	x.want(p, fullText)
	x.only(map[decode.Reason]uint64{decode.MessageTruncated: 1})
	p = packet9(header{secs: secs, domain: 5, count: 1}, set(0, templateRecord(256, fields...)), set(999, u32(1)), data)
	x.want(p, strings.Replace(fullText, "v10", "v9", 1))
	// A set that reaches past the datagram: its whole records count.
	q := packet10(header{secs: secs, domain: 5}, set(256, record, record))
	x.want(q[:len(q)-1], fullText)
	x.only(map[decode.Reason]uint64{decode.MessageTruncated: 2, decode.SetTruncated: 1})
}

// RFC 3954 §5.2, §5.3: flow sets of NetFlow v9, both address families.
func TestRFC3954Section5(t *testing.T) {
	x := newTester(t, decode.Config{})
	six := set(0, templateRecord(256, pair4...), templateRecord(257, with(pair6, field{id: 7, length: 2})...))
	x.want(packet9(header{secs: secs, domain: 9}, six, set(257, bytes6, u16(53)), set(256, bytes4)),
		"2001:db8::7:53>2001:db8:1::9:0 p0 0/0 flags 0x0 t 0..0 1:1 if 0>0 dir 255 v9 dom 9",
		"198.51.100.7:0>203.0.113.9:0 p0 0/0 flags 0x0 t 0..0 1:1 if 0>0 dir 255 v9 dom 9")
	// Templates with both families leave one of them zero.
	both := set(0, templateRecord(258, with(pair6, pair4...)...))
	line4 := "198.51.100.7:0>203.0.113.9:0 p0 0/0 flags 0x0 t 0..0 1:1 if 0>0 dir 255 v9 dom 9"
	line6 := "2001:db8::7:0>2001:db8:1::9:0 p0 0/0 flags 0x0 t 0..0 1:1 if 0>0 dir 255 v9 dom 9"
	x.want(packet9(header{secs: secs, domain: 9}, both, set(258, make([]byte, 32), bytes4, bytes6, make([]byte, 8))), line4, line6)
	// :: is no address.
	x.want(packet9(header{secs: secs, domain: 9}, set(257, make([]byte, 34))))
	x.only(map[decode.Reason]uint64{decode.NoAddress: 1})
}

// RFC 3954 §6.1: options templates count in bytes, scopes have numbers of
// their own. Here scope 1 (system) must not be taken for octets, and the
// sampler's rate must reach the records that name it.
func TestRFC3954Section61Options(t *testing.T) {
	x := newTester(t, decode.Config{})
	options := set(1, optionsRecord9(260, []field{{id: 1, length: 4}}, []field{{id: 48, length: 1}, {id: 50, length: 2}}), []byte{0, 0})
	samplers := set(260, u32(0), u8(1), u16(1000), u32(0), u8(2), u16(50))
	tpl := set(0, templateRecord(256, with(pair4, field{id: 48, length: 1}, field{id: 2, length: 4})...))
	recs := x.decode(packet9(header{secs: secs}, options, samplers, tpl,
		set(256, bytes4, u8(1), u32(1), bytes4, u8(2), u32(1), bytes4, u8(3), u32(1))))
	if len(recs) != 3 || recs[0].Packets != 1000 || recs[1].Packets != 50 || recs[2].Packets != 1 || recs[1].Sampling != 50 {
		t.Errorf("got %+v, want rates 1000, 50 and 1", recs)
	}
	if s := x.d.Stats(); s.Options != 2 || s.OptionsTemplates != 1 {
		t.Errorf("got %d options, %d options templates", s.Options, s.OptionsTemplates)
	}
}

// RFC 5103 §4.1, §6.1: a biflow is two records, the second with swapped ends.
// One without anything in the other direction is one.
func TestRFC5103Biflow(t *testing.T) {
	x := newTester(t, decode.Config{})
	const reverse = 29305
	tpl := set(2, templateRecord(256, with(pair4, field{id: 7, length: 2}, field{id: 11, length: 2}, field{id: 2, length: 4}, field{2, 4, reverse},
		field{id: 1, length: 4}, field{1, 4, reverse}, field{id: 6, length: 1}, field{6, 1, reverse}, field{id: 10, length: 1}, field{id: 305, length: 1})...))
	r := cat(bytes4, u16(5000), u16(80), u32(3), u32(2), u32(300), u32(200), u8(0x02), u8(0x12), u8(6), u8(10))
	oneWay := cat(bytes4, u16(5000), u16(80), u32(3), u32(0), u32(300), u32(0), u8(0x02), u8(0), u8(6), u8(10))
	x.want(packet10(header{secs: secs}, tpl, set(256, oneWay, r)),
		"198.51.100.7:5000>203.0.113.9:80 p0 30/3000 flags 0x2 t 0..0 1:10 if 6>0 dir 255 v10 dom 0",
		"198.51.100.7:5000>203.0.113.9:80 p0 30/3000 flags 0x2 t 0..0 1:10 if 6>0 dir 255 v10 dom 0",
		"203.0.113.9:80>198.51.100.7:5000 p0 20/2000 flags 0x12 t 0..0 1:10 if 0>6 dir 255 v10 dom 0")
	if s := x.d.Stats(); s.DataRecords != 2 || s.Reversed != 1 {
		t.Errorf("got %d data records, %d reversed", s.DataRecords, s.Reversed)
	}
}

// NSEL of ASA firewalls counts by initiator and responder (231, 232, 298,
// 299) and stamps the event (323).
func TestNSEL(t *testing.T) {
	x := newTester(t, decode.Config{})
	tpl := set(0, templateRecord(256, with(pair4, field{id: 231, length: 4}, field{id: 232, length: 4}, field{id: 298, length: 4}, field{id: 299, length: 4},
		field{id: 152, length: 8}, field{id: 323, length: 8})...))
	x.want(packet9(header{secs: secs}, tpl, set(256, bytes4, u32(100), u32(900), u32(1), u32(9), u64(uint64(now-5000)), u64(uint64(now-100)))),
		"198.51.100.7:0>203.0.113.9:0 p0 1/100 flags 0x0 t -5000..-100 1:1 if 0>0 dir 255 v9 dom 0",
		"203.0.113.9:0>198.51.100.7:0 p0 9/900 flags 0x0 t -5000..-100 1:1 if 0>0 dir 255 v9 dom 0")
}

// TestTimes: the clocks of RFC 7011 §6.1.7 to §6.1.10 and RFC 5102 §5.9.
func TestTimes(t *testing.T) {
	const ntp = uint64(secs+2208988800)<<32 | 1<<31 // half a second past
	f := func(name string, start, end int64, fields []field, values ...[]byte) {
		t.Helper()
		x := newTester(t, decode.Config{})
		recs := x.decode(packet10(header{secs: secs}, set(2, templateRecord(256, with(pair4, fields...)...)), set(256, bytes4, cat(values...))))
		if len(recs) != 1 || recs[0].StartMS-now != start || recs[0].EndMS-now != end {
			t.Errorf("%s: got %+v, want %d..%d", name, recs, start, end)
		}
	}
	f("none", 0, 0, nil)
	f("seconds", -10_000, -5000, []field{{id: 150, length: 4}, {id: 151, length: 4}}, u32(secs-10), u32(secs-5))
	f("milliseconds", -10, -5, []field{{id: 152, length: 8}, {id: 153, length: 8}}, u64(uint64(now-10)), u64(uint64(now-5)))
	f("microseconds", 500, 500, []field{{id: 154, length: 8}, {id: 155, length: 8}}, u64(ntp), u64(ntp))
	f("nanoseconds", 500, 500, []field{{id: 156, length: 8}, {id: 157, length: 8}}, u64(ntp), u64(ntp))
	f("NTP era 1", (1<<32-2208988800)*1000-now, 0, []field{{id: 154, length: 8}, {id: 153, length: 8}}, u64(0), u64(uint64(now)))
	f("delta", -3, -2, []field{{id: 158, length: 4}, {id: 159, length: 4}}, u32(3000), u32(2000))
	f("start only", -10, -10, []field{{id: 152, length: 8}}, u64(uint64(now-10)))
	f("end only", -10, -10, []field{{id: 153, length: 8}}, u64(uint64(now-10)))
	f("start and duration", -10, 20, []field{{id: 152, length: 8}, {id: 161, length: 4}}, u64(uint64(now-10)), u32(30))
	f("end and duration", -40, -10, []field{{id: 153, length: 8}, {id: 161, length: 4}}, u64(uint64(now-10)), u32(30))
	f("best of several", -10, -5, []field{{id: 150, length: 4}, {id: 152, length: 8}, {id: 153, length: 8}, {id: 151, length: 4}},
		u32(1), u64(uint64(now-10)), u64(uint64(now-5)), u32(1))
	f("uptime without origin", -200, 0, []field{{id: 22, length: 4}, {id: 21, length: 4}}, u32(1000), u32(1200))
	f("uptime with origin", -500, -300, []field{{id: 160, length: 8}, {id: 22, length: 4}, {id: 21, length: 4}}, u64(uint64(now-1500)), u32(1000), u32(1200))
	// Absurd times are handed on, wrapped, and hurt nobody here.
	f("overflow", -1-now, -now, []field{{id: 152, length: 8}, {id: 153, length: 8}}, u64(1<<64-1), u64(0))
}

// RFC 7011 §6.1.8: the origin of the uptime may come as an option.
func TestInitTimeOption(t *testing.T) {
	x := newTester(t, decode.Config{})
	x.decode(packet10(header{secs: secs}, set(3, optionsRecord10(300, []field{{id: 149, length: 4}}, []field{{id: 160, length: 8}})), set(300, u32(0), u64(uint64(now-1500)))))
	recs := x.decode(packet10(header{secs: secs}, set(2, templateRecord(256, with(pair4, field{id: 22, length: 4}, field{id: 21, length: 4})...)), set(256, bytes4, u32(1000), u32(1200))))
	if recs[0].StartMS-now != -500 || recs[0].EndMS-now != -300 {
		t.Errorf("got %d..%d, want -500..-300", recs[0].StartMS-now, recs[0].EndMS-now)
	}
}

// TestSamplingPrecedence: record > sampler > domain > configuration > 1, and
// force above all.
func TestSamplingPrecedence(t *testing.T) {
	var rule decode.SamplingRule
	cfg := decode.Config{Sampling: func(netip.Addr) decode.SamplingRule { return rule }}
	domainRate := packet10(header{secs: secs}, set(3, optionsRecord10(300, []field{{id: 149, length: 4}}, []field{{id: 34, length: 4}})), set(300, u32(0), u32(70)))
	samplerRate := packet10(header{secs: secs}, set(3, optionsRecord10(301, []field{{id: 302, length: 8}}, []field{{id: 305, length: 4}, {id: 306, length: 4}})), set(301, u64(9), u32(2), u32(98)))
	plain := packet10(header{secs: secs}, set(2, templateRecord(256, with(pair4, field{id: 2, length: 4})...)), set(256, bytes4, u32(1)))
	withID := packet10(header{secs: secs}, set(2, templateRecord(257, with(pair4, field{id: 302, length: 8}, field{id: 2, length: 4})...)), set(257, bytes4, u64(9), u32(1)))
	withRate := packet10(header{secs: secs}, set(2, templateRecord(258, with(pair4, field{id: 302, length: 8}, field{id: 34, length: 4}, field{id: 2, length: 4})...)), set(258, bytes4, u64(9), u32(7), u32(1)))
	f := func(name string, r decode.SamplingRule, want uint32, packets ...[]byte) {
		t.Helper()
		rule = r
		x := newTester(t, cfg)
		var recs []flow.Record
		for _, p := range packets {
			recs = x.decode(p)
		}
		if len(recs) != 1 || recs[0].Sampling != want || recs[0].Packets != uint64(want) {
			t.Errorf("%s: got %+v, want 1:%d", name, recs, want)
		}
		if e := x.d.Exporters(nil); e[0].Sampling != want {
			t.Errorf("%s: exporter shows 1:%d, want 1:%d", name, e[0].Sampling, want)
		}
	}
	def, force := decode.SamplingRule{Rate: 3}, decode.SamplingRule{Rate: 4, Force: true}
	f("nothing", decode.SamplingRule{}, 1, plain)
	f("default", def, 3, plain)
	f("domain", def, 70, domainRate, plain)
	f("only sampler, records name none", def, 50, samplerRate, plain)
	f("domain above a sampler not named", def, 70, domainRate, samplerRate, plain)
	f("sampler", def, 50, domainRate, samplerRate, withID)
	f("unknown sampler", def, 70, domainRate, withID)
	f("record", def, 7, domainRate, samplerRate, withRate)
	f("force", force, 4, domainRate, samplerRate, withRate)
	// 309/310: size out of population.
	population := packet10(header{secs: secs}, set(3, optionsRecord10(300, []field{{id: 149, length: 4}}, []field{{id: 309, length: 4}, {id: 310, length: 4}})), set(300, u32(0), u32(2), u32(512)))
	f("population", def, 256, population, plain)
	// Counters that sampling would overflow stay at the maximum.
	x := newTester(t, decode.Config{})
	recs := x.decode(packet10(header{secs: secs}, set(2, templateRecord(256, with(pair4, field{id: 34, length: 4}, field{id: 1, length: 8})...)), set(256, bytes4, u32(1<<31), u64(1<<60))))
	if recs[0].Bytes != 1<<64-1 {
		t.Errorf("overflow: got %d bytes", recs[0].Bytes)
	}
}

// TestSetSampling: a new rule reaches exporters that are known already.
func TestSetSampling(t *testing.T) {
	x := newTester(t, decode.Config{})
	p := packet5(header{secs: secs}, 0, 0, 0, record5{src: src4, dst: dst4, packets: 1})
	x.decode(p)
	x.d.SetSampling(func(netip.Addr) decode.SamplingRule { return decode.SamplingRule{Rate: 8} })
	if recs := x.decode(p); recs[0].Packets != 8 {
		t.Errorf("got %d packets, want 8", recs[0].Packets)
	}
}
