package decode_test

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/flowhound/flowhound/collector/decode"
	"github.com/flowhound/flowhound/internal/flow"
)

// Common addresses and times of the tests.
var (
	src4 = netip.MustParseAddr("198.51.100.7")
	dst4 = netip.MustParseAddr("203.0.113.9")
	src6 = netip.MustParseAddr("2001:db8::7")
	dst6 = netip.MustParseAddr("2001:db8:1::9")
)

const (
	secs = 1_700_000_000
	now  = int64(secs) * 1000
)

// tester decodes the packets of exporterA and checks the conservation laws
// after each.
type tester struct {
	t testing.TB
	d *decode.Decoder
}

func newTester(t testing.TB, cfg decode.Config) tester { return tester{t, decode.New(cfg)} }

// decode returns the records of a packet.
func (x tester) decode(pkt []byte) []flow.Record { return x.from(exporterA, pkt, now) }

func (x tester) from(exporter netip.Addr, pkt []byte, receivedMS int64) []flow.Record {
	x.t.Helper()
	before := x.d.Stats()
	recs := x.d.Decode(nil, exporter, pkt, receivedMS)
	after := x.d.Stats()
	if got := after.Records - before.Records; got != uint64(len(recs)) {
		x.t.Fatalf("counted %d records, want the %d returned", got, len(recs))
	}
	checkLaws(x.t, &after)
	return recs
}

// checkLaws checks the conservation laws of decode.Stats.
func checkLaws(t testing.TB, s *decode.Stats) {
	t.Helper()
	refused := uint64(0)
	for r := range decode.DatagramReasons {
		refused += s.Drops[r]
	}
	if s.Datagrams != s.Accepted+refused {
		t.Fatalf("%d datagrams, but %d accepted and %d refused", s.Datagrams, s.Accepted, refused)
	}
	if in, out := s.DataRecords+s.FlowSamples+s.Reversed, s.Records+s.Drops[decode.NoAddress]; in != out {
		t.Fatalf("%d records and samples read, but %d returned or dropped", in, out)
	}
	if out := s.DecodedSets + s.Drops[decode.NoTemplate] + s.HeldSets; s.DataSets != out {
		t.Fatalf("%d data sets, but %d decoded, dropped or held", s.DataSets, out)
	}
}

// only checks that the drops are exactly those named.
func (x tester) only(want map[decode.Reason]uint64) {
	x.t.Helper()
	s := x.d.Stats()
	for r, got := range s.Drops {
		if got != want[decode.Reason(r)] {
			x.t.Errorf("drops for %v: got %d, want %d", decode.Reason(r), got, want[decode.Reason(r)])
		}
	}
}

// text prints a record for comparison.
func text(r flow.Record) string {
	return fmt.Sprintf("%v:%d>%v:%d p%d %d/%d flags %#x t %d..%d 1:%d if %d>%d dir %d v%d dom %d",
		r.Src.NetIP(), r.SrcPort, r.Dst.NetIP(), r.DstPort, r.Proto, r.Packets, r.Bytes, r.TCPFlags,
		r.StartMS-now, r.EndMS-now, r.Sampling, r.InIf, r.OutIf, r.Direction, r.Version, r.Domain)
}

// want checks the records of a packet.
func (x tester) want(pkt []byte, want ...string) {
	x.t.Helper()
	recs := x.decode(pkt)
	for i := range max(len(recs), len(want)) {
		got, expect := "nothing", "nothing"
		if i < len(recs) {
			got = text(recs[i])
		}
		if i < len(want) {
			expect = want[i]
		}
		if got != expect {
			x.t.Errorf("record %d:\n got %s\nwant %s", i, got, expect)
		}
	}
}

// cat puts byte strings together.
func cat(parts ...[]byte) (b []byte) {
	for _, p := range parts {
		b = append(b, p...)
	}
	return b
}

func u8(v uint8) []byte   { return []byte{v} }
func u16(v uint16) []byte { return be.AppendUint16(nil, v) }
func u32(v uint32) []byte { return be.AppendUint32(nil, v) }
func u64(v uint64) []byte { return be.AppendUint64(nil, v) }

// pair is an address pair as the first two fields of most test templates.
var (
	pair4  = []field{{id: 8, length: 4}, {id: 12, length: 4}}
	pair6  = []field{{id: 27, length: 16}, {id: 28, length: 16}}
	bytes4 = cat(src4.AsSlice(), dst4.AsSlice())
	bytes6 = cat(src6.AsSlice(), dst6.AsSlice())
)

func with(fields []field, more ...field) []field {
	return append(append([]field{}, fields...), more...)
}

// TestVersion5 checks every field, the clock, the sampling word and the count
// that is believed only as far as the datagram goes.
func TestVersion5(t *testing.T) {
	x := newTester(t, decode.Config{})
	r := record5{src4, dst4, 3, 4, 10, 1000, 90_000, 95_000, 1234, 80, 0x1b, 6}
	h := header{uptime: 100_000, secs: secs, domain: 0}
	p := packet5(h, 500_000_000, 0x0102, 0x4000|100, r, r)
	line := "198.51.100.7:1234>203.0.113.9:80 p6 1000/100000 flags 0x1b t -9500..-4500 1:100 if 3>4 dir 255 v5 dom 258"
	x.want(p, line, line)
	be.PutUint16(p[2:], 65535)
	h.sequence = 2
	x.want(p, line, line)
	x.only(map[decode.Reason]uint64{decode.MessageTruncated: 1})
	be.PutUint16(p[2:], 1)
	x.want(p, line)
	x.want(p[:24+48-1])
	x.want(p[:23])
	x.only(map[decode.Reason]uint64{decode.MessageTruncated: 2, decode.TooShort: 1})
}

func TestVersion5RawSampling(t *testing.T) {
	x := newTester(t, decode.Config{V5RawSampling: true})
	recs := x.decode(packet5(header{secs: secs}, 0, 0, 0x4000, record5{src: src4, dst: dst4, packets: 1, bytes: 2}))
	if len(recs) != 1 || recs[0].Sampling != 0x4000 || recs[0].Bytes != 0x8000 {
		t.Errorf("got %+v, want sampling 16384", recs)
	}
}

// TestUptimeWrap: RFC 3954 §5.1 sysUptime is 32 bits of ms and wraps after
// 49.7 days; a flow before the wrap and a header after it are minutes apart.
func TestUptimeWrap(t *testing.T) {
	x := newTester(t, decode.Config{})
	for _, c := range []struct {
		uptime, first, last uint32
		start, end          int64
	}{
		{5000, 1000, 4000, -4000, -1000},
		{5000, 1<<32 - 1000, 2000, -6000, -3000},
		{1<<32 - 1, 1<<32 - 1001, 1<<32 - 1, -1000, 0},
		{5000, 5000, 5040, 0, 40}, // stamped a moment after the header
		{0, 0, 0, 0, 0},
	} {
		r := x.decode(packet5(header{uptime: c.uptime, secs: secs}, 0, 0, 0, record5{src: src4, dst: dst4, first: c.first, last: c.last}))
		if r[0].StartMS-now != c.start || r[0].EndMS-now != c.end {
			t.Errorf("v5 uptime %d first %d last %d: got %d..%d, want %d..%d", c.uptime, c.first, c.last, r[0].StartMS-now, r[0].EndMS-now, c.start, c.end)
		}
		tpl := set(0, templateRecord(256, with(pair4, field{id: 22, length: 4}, field{id: 21, length: 4})...))
		r = x.decode(packet9(header{uptime: c.uptime, secs: secs}, tpl, set(256, bytes4, u32(c.first), u32(c.last))))
		if r[0].StartMS-now != c.start || r[0].EndMS-now != c.end {
			t.Errorf("v9 uptime %d first %d last %d: got %d..%d, want %d..%d", c.uptime, c.first, c.last, r[0].StartMS-now, r[0].EndMS-now, c.start, c.end)
		}
	}
}

// TestUnknownVersions: what is not an export datagram leaves no trace but a
// count, and no exporter.
func TestUnknownVersions(t *testing.T) {
	x := newTester(t, decode.Config{})
	for _, p := range [][]byte{nil, {}, {0}, {0, 5, 0}, {0, 9, 0, 1}, {0, 10, 0, 16}, {0, 5, 0, 1}, {0, 0, 0, 5}} {
		x.want(p)
	}
	for _, v := range []uint16{1, 2, 6, 7, 8, 11, 255, 0xffff} {
		x.want(append(u16(v), make([]byte, 100)...))
	}
	x.want([]byte{0, 0, 0, 4, 0, 0, 0, 1})
	x.want([]byte{0, 0, 0, 5, 0, 0, 0, 3, 0, 0, 0, 0})
	x.only(map[decode.Reason]uint64{decode.TooShort: 8, decode.UnknownVersion: 9, decode.BadAgent: 1})
	if n := x.d.Stats().Exporters; n != 0 {
		t.Errorf("%d exporters known, want none", n)
	}
}

// TestNoAllocations is the gate of issue 3: no packet and no record costs an
// allocation once its exporter is known. Templates and options repeated in
// every packet, and sets that always lack a template, cost none either.
func TestNoAllocations(t *testing.T) {
	v9, data9 := benchPackets(9, 24)
	v10, data10 := benchPackets(10, 24)
	varlen := set(2, templateRecord(300, with(pair4, field{id: 96, length: 65535}, field{id: 1, length: 4})...))
	biflow := set(2, templateRecord(301, with(pair4, field{id: 1, length: 4}, field{1, 4, 29305})...))
	sampler := set(3, optionsRecord10(302, []field{{id: 149, length: 4}}, []field{{id: 302, length: 2}, {id: 305, length: 4}}))
	for name, p := range map[string][]byte{
		"v5":         packet5(header{}, 0, 0, 0, record5{src: src4, dst: dst4}),
		"v9":         data9[0],
		"v9 tpl":     v9,
		"ipfix":      data10[0],
		"ipfix tpl":  v10,
		"variable":   packet10(header{}, varlen, set(300, bytes4, []byte("\x03abc"), u32(9))),
		"biflow":     packet10(header{}, biflow, set(301, bytes4, u32(1), u32(2))),
		"options":    packet10(header{}, sampler, set(302, u32(0), u16(1), u32(100))),
		"no tpl":     packet10(header{}, set(999, make([]byte, 1000))),
		"sflow":      sflowPacket(exporterA, 0, 0, sflowSample(false, 10, headerRecord(1, 100, ethernet(0x800, ip4(src4, dst4, 6, tcp(1, 2, 3)))))),
		"malformed":  packet9(header{}, set(0, templateRecord(256, field{8, 0, 0})), set(7), []byte{1, 0, 0, 1, 1}),
		"irrelevant": make([]byte, 100),
	} {
		d := decode.New(decode.Config{})
		d.Decode(nil, exporterA, v9, now)
		d.Decode(nil, exporterA, v10, now)
		recs := make([]flow.Record, 0, 1024)
		for range 1000 { // fill what waits for a template
			recs = d.Decode(recs[:0], exporterA, p, now)
		}
		if n := testing.AllocsPerRun(200, func() { recs = d.Decode(recs[:0], exporterA, p, now) }); n != 0 {
			t.Errorf("%s: %v allocations a packet, want 0", name, n)
		}
	}
}
