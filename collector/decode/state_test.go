package decode_test

import (
	"math/rand"
	"net/netip"
	"slices"
	"sync"
	"testing"

	"github.com/flowhound/flowhound/collector/decode"
	"github.com/flowhound/flowhound/internal/flow"
)

// accounts are the sequence accounts of a decoder.
type accounts struct{ lost, reordered, duplicates, resets uint64 }

func accountsOf(d *decode.Decoder) accounts {
	s := d.Stats()
	return accounts{s.Lost, s.Reordered, s.Duplicates, s.Resets}
}

// step is one datagram of a sequence test: its number, its units, its uptime
// in seconds, its arrival in ms.
type step struct {
	sequence, units, uptime uint32
	ms                      int64
}

// steady returns n datagrams in step from a number on, enough to close gaps.
func steady(from, units uint32, n int) (steps []step) {
	for i := range uint32(n) {
		steps = append(steps, step{from + i*units, units, 1000, 0})
	}
	return steps
}

// protocols send a step as a datagram. v5 and IPFIX number records, v9 and
// sFlow number datagrams.
var protocols = map[string]struct {
	perRecord bool
	packet    func(s step) []byte
}{
	"v5": {true, func(s step) []byte {
		return packet5(header{sequence: s.sequence, uptime: s.uptime * 1000, secs: secs}, 0, 0, 0, slices.Repeat([]record5{{src: src4, dst: dst4}}, int(s.units))...)
	}},
	"v9": {false, func(s step) []byte { return packet9(header{sequence: s.sequence, uptime: s.uptime * 1000, secs: secs}) }},
	// Options records count like data records (RFC 7011 §3.1, and Cisco IOS XR).
	"ipfix": {true, func(s step) []byte {
		data, options := int(s.units)/2, int(s.units)-int(s.units)/2
		return packet10(header{sequence: s.sequence, secs: secs},
			set(2, templateRecord(256, pair4...)), set(3, optionsRecord10(257, []field{{id: 149, length: 4}}, []field{{id: 41, length: 4}})),
			set(256, slices.Repeat(bytes4, data)), set(257, make([]byte, 8*options)))
	}},
	"sflow": {false, func(s step) []byte {
		p := sflowPacket(exporterA, 3, s.sequence)
		be.PutUint32(p[20:], s.uptime*1000)
		return p
	}},
}

// TestSequence: gaps, reordering, duplicates, restarts, by the rule of each
// protocol (RFC 7011 §3.1, RFC 3954 §5.1, NetFlow v5, sFlow v5 §5).
func TestSequence(t *testing.T) {
	for name, proto := range protocols {
		f := func(what string, want accounts, steps ...step) {
			t.Helper()
			x := newTester(t, decode.Config{})
			for _, s := range steps {
				x.from(exporterA, proto.packet(s), now+s.ms)
			}
			if got := accountsOf(x.d); got != want {
				t.Errorf("%s, %s: got %+v, want %+v", name, what, got, want)
			}
			e := x.d.Exporters(nil)[0]
			if (accounts{e.Lost, e.Reordered, e.Duplicates, e.Resets}) != want {
				t.Errorf("%s, %s: the exporter shows %+v, want %+v", name, what, e, want)
			}
		}
		u := uint32(1)
		if proto.perRecord {
			u = 6
		}
		s := func(k uint32) step { return step{1000 + k*u, u, 1000, 0} }
		f("in step", accounts{}, steady(1000, u, 300)...)
		f("wraps", accounts{}, steady(0-100*u, u, 200)...)
		f("gap", accounts{lost: uint64(3 * u)}, append([]step{s(0), s(4)}, steady(1000+5*u, u, 70)...)...)
		f("gap still open", accounts{}, s(0), s(4))
		f("gap closed by time", accounts{lost: uint64(3 * u)}, s(0), s(4), step{1000 + 5*u, u, 1000, 6000})
		f("reordered", accounts{reordered: 2}, append([]step{s(0), s(3), s(2), s(1)}, steady(1000+4*u, u, 70)...)...)
		f("middle of a gap", accounts{reordered: 1, lost: uint64(2 * u)}, append([]step{s(0), s(4), s(2)}, steady(1000+5*u, u, 70)...)...)
		f("duplicate", accounts{duplicates: 1}, append([]step{s(0), s(1), s(1)}, steady(1000+2*u, u, 70)...)...)
		f("reset", accounts{resets: 1}, append([]step{s(0), {4_000_000_000, u, 1000, 0}}, steady(4_000_000_000+u, u, 70)...)...)
		f("more gaps than are kept", accounts{lost: uint64(20 * u)}, append([]step{s(0), s(2), s(4), s(6), s(8), s(10), s(12), s(14), s(16), s(18), s(20), s(22), s(24), s(26), s(28), s(30), s(32), s(34), s(36), s(38), s(40)}, steady(1000+41*u, u, 70)...)...)
		if name != "ipfix" { // it has no uptime
			f("restart", accounts{resets: 1}, step{1000, u, 100_000, 0}, step{1000 - 2*u, u, 3, 0}, step{1000 - u, u, 4, 0})
			f("uptime wraps", accounts{}, step{1000, u, 4_294_960, 0}, step{1000 + u, u, 3, 0})
		}
	}
}

// TestSequenceUnknown: while a template is missing, what is missing of IPFIX
// is unknown, not lost.
func TestSequenceUnknown(t *testing.T) {
	x := newTester(t, decode.Config{})
	x.decode(packet10(header{sequence: 10, secs: secs}))
	x.decode(packet10(header{sequence: 10, secs: secs}, set(256, bytes4, bytes4)))
	for i := range uint32(80) {
		x.decode(packet10(header{sequence: 12 + i, secs: secs}, set(2, templateRecord(256, pair4...)), set(256, bytes4)))
	}
	if got := accountsOf(x.d); got != (accounts{}) {
		t.Errorf("got %+v, want none", got)
	}
}

// TestSequenceShuffled: a stream that is lost, doubled and reordered within
// the window at random: what is missing in the end is what was lost.
func TestSequenceShuffled(t *testing.T) {
	for seed := range int64(50) {
		r := rand.New(rand.NewSource(seed))
		x := newTester(t, decode.Config{})
		var order []uint32
		lost := uint64(0)
		for i := range uint32(2000) {
			if r.Intn(100) == 0 && i > 0 && i < 1900 {
				lost++
				continue
			}
			order = append(order, i)
		}
		for i := 1; i < len(order)-100; i++ {
			if r.Intn(20) == 0 {
				k := i + r.Intn(3)
				order[i], order[k] = order[k], order[i]
			}
		}
		for _, n := range order {
			x.decode(packet9(header{sequence: n, secs: secs}))
		}
		// A gap may be given up early when more than eight are open.
		if got := accountsOf(x.d); got.lost != lost || got.duplicates != 0 || got.resets != 0 {
			t.Errorf("seed %d: got %+v, want %d lost", seed, got, lost)
		}
	}
}

// TestHold: sets that come before their template are decoded when it comes,
// with the times of their own message, in order.
func TestHold(t *testing.T) {
	x := newTester(t, decode.Config{})
	tpl := set(0, templateRecord(256, with(pair4, field{id: 2, length: 4}, field{id: 21, length: 4})...))
	x.want(packet9(header{uptime: 5000, secs: secs}, set(256, bytes4, u32(1), u32(4000)), set(257, make([]byte, 100))))
	x.want(packet9(header{uptime: 6000, secs: secs + 1, sequence: 1}, set(256, bytes4, u32(2), u32(4000))))
	x.want(packet9(header{uptime: 7000, secs: secs + 2, sequence: 2}, tpl, set(256, bytes4, u32(3), u32(4000))),
		"198.51.100.7:0>203.0.113.9:0 p0 1/0 flags 0x0 t -1000..-1000 1:1 if 0>0 dir 255 v9 dom 0",
		"198.51.100.7:0>203.0.113.9:0 p0 2/0 flags 0x0 t -1000..-1000 1:1 if 0>0 dir 255 v9 dom 0",
		"198.51.100.7:0>203.0.113.9:0 p0 3/0 flags 0x0 t -1000..-1000 1:1 if 0>0 dir 255 v9 dom 0")
	if s := x.d.Stats(); s.HeldSets != 1 {
		t.Errorf("held %d sets, want 1", s.HeldSets)
	}
	if e := x.d.Exporters(nil)[0]; e.Held != 1 || e.Waited != 3 || e.Records != 3 {
		t.Errorf("got %+v", e)
	}
	// Another exporter's template does not serve.
	x.from(src6, packet9(header{secs: secs}, set(0, templateRecord(257, pair4...))), now)
	// What has waited for more than a minute is lost, and counted.
	x.from(exporterA, packet9(header{secs: secs, sequence: 3}, set(0, templateRecord(257, pair4...))), now+60_001)
	x.only(map[decode.Reason]uint64{decode.NoTemplate: 1})
}

// TestHoldBounds: the oldest sets go when an exporter's bound is reached, and
// none is lost from the account.
func TestHoldBounds(t *testing.T) {
	x := newTester(t, decode.Config{})
	for i := range uint32(1000) {
		x.decode(packet10(header{sequence: i, secs: secs}, set(256, make([]byte, 996), u32(i))))
	}
	s := x.d.Stats()
	if s.HeldSets < 200 || s.HeldSets > 256 || s.HeldSets+s.Drops[decode.NoTemplate] != 1000 {
		t.Errorf("held %d, lost %d", s.HeldSets, s.Drops[decode.NoTemplate])
	}
	recs := x.decode(packet10(header{secs: secs}, set(2, templateRecord(256, field{id: 94, length: 988}, pair4[0], pair4[1], field{id: 2, length: 4}))))
	if len(recs) != int(s.HeldSets) || recs[len(recs)-1].Packets != 999 {
		t.Errorf("got %d records of %d held sets", len(recs), s.HeldSets)
	}
	if s := x.d.Stats(); s.HeldSets != 0 {
		t.Errorf("held %d sets after the template", s.HeldSets)
	}
}

// TestTemplateCaps: an exporter's templates are forgotten by last use, and a
// datagram that brings more than the learning allowance is learnt when it is
// repeated.
func TestTemplateCaps(t *testing.T) {
	x := newTester(t, decode.Config{})
	data := packet9(header{secs: secs}, set(60000, bytes4))
	x.decode(packet9(header{secs: secs}, set(0, templateRecord(60000, pair4...))))
	for i := range uint16(5000) {
		x.decode(packet9(header{secs: secs}, set(0, templateRecord(256+i, pair4...))))
		if i%500 == 0 && len(x.decode(data)) != 1 {
			t.Fatalf("after %d templates the one in use was forgotten", i)
		}
	}
	if s := x.d.Stats(); s.TemplateEvicted != 5001-1024 {
		t.Errorf("evicted %d, want %d", s.TemplateEvicted, 5001-1024)
	}
	x = newTester(t, decode.Config{})
	var list [][]byte
	for i := range uint16(100) {
		list = append(list, templateRecord(256+i, pair4...))
	}
	p := packet9(header{secs: secs}, set(0, list...))
	x.decode(p)
	x.only(map[decode.Reason]uint64{decode.TemplateLimit: 100 - decode.MaxNewTemplates})
	x.decode(p)
	if n := x.d.Exporters(nil)[0].Templates; n != 100 {
		t.Errorf("knows %d templates, want 100", n)
	}
}

// TestExporters: the view of an exporter.
func TestExporters(t *testing.T) {
	x := newTester(t, decode.Config{})
	x.from(exporterA, packet9(header{secs: secs - 2}), now)
	x.from(exporterA, packet5(header{secs: secs - 3}, 0, 0, 0, record5{src: src4, dst: dst4}), now+5)
	x.from(exporterA, sflowPacket(src6, 0, 0), now+6)
	got := x.d.Exporters(nil)
	if len(got) != 1 {
		t.Fatalf("got %d exporters", len(got))
	}
	e := got[0]
	if e.Address != exporterA || e.Packets != 3 || e.Records != 1 || e.LastSeenMS != now+6 || e.ClockSkewMS != -3005 ||
		!slices.Equal(e.Versions, []uint8{5, 9, flow.VersionSFlow}) {
		t.Errorf("got %+v", e)
	}
}

// TestConcurrentReaders: the counts may be read while Decode runs (under
// -race), and every copy obeys the laws.
func TestConcurrentReaders(t *testing.T) {
	d := decode.New(decode.Config{})
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for range 2 {
		wg.Go(func() {
			var buf []decode.Exporter
			for {
				select {
				case <-stop:
					return
				default:
				}
				s := d.Stats()
				checkLaws(t, &s)
				buf = d.Exporters(buf[:0])
				d.SetSampling(func(netip.Addr) decode.SamplingRule { return decode.SamplingRule{Rate: 2} })
			}
		})
	}
	for i := range 3000 {
		d.Decode(nil, netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), packetSet()[i%9], now)
	}
	close(stop)
	wg.Wait()
}

// TestOnHeld: what sets that waited add is told with their origin.
func TestOnHeld(t *testing.T) {
	records := map[int]uint64{}
	d := decode.New(decode.Config{OnHeld: func(origin int, before, after *decode.Stats) {
		records[origin] += after.DataRecords - before.DataRecords
	}})
	for i, p := range [][]byte{
		packet10(header{}, set(256, bytes4, bytes4)),
		packet10(header{}, set(256, bytes4), set(300, bytes4)),
		packet10(header{}, set(2, templateRecord(256, pair4...)), set(256, bytes4)),
	} {
		d.SetOrigin(i)
		d.Decode(nil, exporterA, p, 0)
	}
	if records[0] != 2 || records[1] != 1 || records[2] != 0 {
		t.Errorf("got %v", records)
	}
	var waiting []int
	d.Waiting(func(origin int) { waiting = append(waiting, origin) })
	if !slices.Equal(waiting, []int{1}) {
		t.Errorf("waiting: %v, want [1]", waiting)
	}
}
