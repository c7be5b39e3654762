package exporter

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/flowhound/flowhound/internal/flow"
)

// Within a packet IPv4 records come before IPv6 ones, so records are compared
// as sets.
func order(a, b flow.Record) int {
	key := func(r flow.Record) string {
		return fmt.Sprint(r.Src[:], r.Dst[:], r.SrcPort, r.DstPort)
	}
	if x, y := key(a), key(b); x < y {
		return -1
	} else if x > y {
		return 1
	}
	return 0
}

// want is what a protocol can carry of a record.
func want(p Protocol, r flow.Record) flow.Record {
	switch p {
	case NetFlow5:
		r.Direction = 0
	case NetFlow9: // the header has whole seconds only
		r.StartMS -= nowMS % 1000
		r.EndMS -= nowMS % 1000
	case SFlow:
		r.StartMS, r.EndMS, r.Direction, r.Sampling = 0, 0, 0, uint32(r.Packets)
	}
	return r
}

func TestGoflow2ReadsWhatWasWritten(t *testing.T) {
	for _, p := range Protocols {
		for _, perPacket := range []int{0, 1, 5, 24} {
			for _, sampling := range []uint64{1, 100} {
				rng := rand.New(rand.NewPCG(uint64(perPacket), sampling))
				ipv6 := .3
				if p == NetFlow5 {
					ipv6 = 0
				}
				rs := randomRecords(500, ipv6, sampling, rng)
				c := Config{Protocol: p, Domain: 0x1234, PerPacket: perPacket, Sampling: uint32(sampling), TemplateEvery: 20, BootMS: bootMS}
				packets, e := encode(t, c, rs)
				d := decodeAll(t, p, packets)
				got, wanted := d.records, make([]flow.Record, len(rs))
				for i := range rs {
					wanted[i] = want(p, rs[i])
				}
				slices.SortFunc(got, order)
				slices.SortFunc(wanted, order)
				if len(got) != len(wanted) {
					t.Fatalf("%s per %d: got %d records, want %d", p, perPacket, len(got), len(wanted))
				}
				for i := range got {
					if got[i] != wanted[i] {
						t.Fatalf("%s per %d sampling %d record %d:\n got %+v\nwant %+v", p, perPacket, sampling, i, got[i], wanted[i])
					}
				}
				if d.miscounted != 0 {
					t.Errorf("%s: %d headers miscount their records", p, d.miscounted)
				}
				if d.domain != 0x1234 {
					t.Errorf("%s: domain %#x, want 0x1234", p, d.domain)
				}
				if s := e.Sent(); s.Records != 500 || s.Packets != uint64(len(packets)) {
					t.Errorf("%s: sent %+v, want 500 records in %d packets", p, s, len(packets))
				}
				checkSizes(t, c, packets, d)
			}
		}
	}
}

func checkSizes(t *testing.T, c Config, packets [][]byte, d decoded) {
	t.Helper()
	fullest := 0
	for i, p := range packets {
		fullest = max(fullest, d.per[i])
		if c.Protocol == NetFlow9 && len(p)%4 != 0 { // RFC 3954 §5.3
			t.Errorf("v9: packet %d of %d bytes is not padded to words", i, len(p))
		}
		if len(p) > 1400 || c.PerPacket > 0 && d.per[i] > c.PerPacket {
			t.Errorf("%s per %d: packet %d has %d bytes, %d records", c.Protocol, c.PerPacket, i, len(p), d.per[i])
		}
	}
	if c.PerPacket > 0 && c.PerPacket < 8 && fullest != c.PerPacket {
		t.Errorf("%s: fullest packet has %d records, want %d", c.Protocol, fullest, c.PerPacket)
	}
}

// v5 advances by its flows, v9 by packets (RFC 3954 §5.1), IPFIX by data
// records, options included (RFC 7011 §3.1, notes/collector.md §4), sFlow by
// datagrams.
func TestSequenceNumbers(t *testing.T) {
	for _, p := range Protocols {
		rs := randomRecords(300, 0, 1, rand.New(rand.NewPCG(1, 1)))
		packets, _ := encode(t, Config{Protocol: p, PerPacket: 7, TemplateEvery: 10, BootMS: bootMS}, rs)
		d := decodeAll(t, p, packets)
		for i := 1; i < len(packets); i++ {
			step := uint32(1)
			if p == NetFlow5 || p == IPFIX {
				step = uint32(d.per[i-1])
			}
			if got := d.sequences[i] - d.sequences[i-1]; got != step {
				t.Fatalf("%s packet %d: sequence advanced by %d, want %d", p, i, got, step)
			}
		}
	}
}

// A collector that starts in the middle must find templates soon.
func TestTemplatesAreRepeated(t *testing.T) {
	for _, p := range []Protocol{NetFlow9, IPFIX} {
		rs := randomRecords(100, .5, 1, rand.New(rand.NewPCG(1, 1)))
		packets, e := encode(t, Config{Protocol: p, PerPacket: 1, TemplateEvery: 10, BootMS: bootMS}, rs)
		if got := e.Sent(); got.Templates != 30 || got.Options != 10 {
			t.Errorf("%s: sent %+v, want 30 templates and 10 options records", p, got)
		}
		d := decodeAll(t, p, packets[11:]) // the first packet after 10 data packets
		if len(d.records) != 90 {
			t.Errorf("%s from the second templates on: %d records, want 90", p, len(d.records))
		}
	}
}

func TestUptimeWraps(t *testing.T) {
	for _, p := range []Protocol{NetFlow5, NetFlow9} {
		boot := int64(nowMS) - 1<<32 - 5000 // the uptime wrapped five seconds ago
		rs := randomRecords(20, 0, 1, rand.New(rand.NewPCG(1, 1)))
		packets, _ := encode(t, Config{Protocol: p, BootMS: boot}, rs)
		for i, r := range decodeAll(t, p, packets).records {
			if w := want(p, rs[i]); r.StartMS != w.StartMS || r.EndMS != w.EndMS {
				t.Errorf("%s: %d … %d, want %d … %d", p, r.StartMS, r.EndMS, w.StartMS, w.EndMS)
			}
		}
	}
}

// RFC 1071: the sum over a header that contains its checksum is all ones.
func TestFrameChecksum(t *testing.T) {
	for _, r := range randomRecords(50, 0, 1, rand.New(rand.NewPCG(1, 1))) {
		sum := uint32(0)
		header := appendFrame(nil, &r, 777)[14:34]
		for i := 0; i < len(header); i += 2 {
			sum += uint32(header[i])<<8 | uint32(header[i+1])
		}
		if sum = sum>>16 + sum&0xffff; sum>>16+sum&0xffff != 0xffff {
			t.Fatalf("header %x: sum %x, want ffff", header, sum)
		}
	}
}

func TestRefusals(t *testing.T) {
	f := func(c Config) {
		t.Helper()
		if _, err := New(c); err == nil {
			t.Errorf("%+v: no error", c)
		}
	}
	f(Config{Protocol: "v7"})
	f(Config{Protocol: NetFlow5, Domain: 1 << 16})
	f(Config{Protocol: NetFlow5, Sampling: 1 << 14})
	f(Config{Protocol: IPFIX, MTU: 100})
	f(Config{Protocol: NetFlow9, PerPacket: -1})
	e, err := New(Config{Protocol: NetFlow5})
	if err != nil {
		t.Fatal(err)
	}
	six := randomRecords(1, 1, 1, rand.New(rand.NewPCG(1, 1)))
	if err := e.Add(&six[0], nowMS, nil); !errors.Is(err, ErrFamily) {
		t.Errorf("IPv6 in v5: got %v, want ErrFamily", err)
	}
	failed := errors.New("network is down")
	e, _ = New(Config{Protocol: IPFIX, PerPacket: 1})
	if err := e.Add(&six[0], nowMS, func([]byte) error { return failed }); !errors.Is(err, failed) {
		t.Errorf("failing emit: got %v", err)
	}
}

func TestEncodingDoesNotAllocate(t *testing.T) {
	for _, p := range Protocols {
		rs := randomRecords(1000, 0, 1, rand.New(rand.NewPCG(1, 1)))
		e, _ := New(Config{Protocol: p, PerPacket: 24, TemplateEvery: 1 << 30})
		emit := func([]byte) error { return nil }
		run := func() {
			for i := range rs {
				_ = e.Add(&rs[i], nowMS, emit)
			}
		}
		run()
		if n := testing.AllocsPerRun(5, run); n > 0 {
			t.Errorf("%s: %v allocations for 1000 records, want none", p, n)
		}
	}
}

func BenchmarkEncode(b *testing.B) {
	for _, p := range Protocols {
		b.Run(string(p), func(b *testing.B) {
			rs := randomRecords(1024, 0, 1, rand.New(rand.NewPCG(1, 1)))
			e, _ := New(Config{Protocol: p})
			emit := func([]byte) error { return nil }
			n := 0
			for b.Loop() {
				for i := range rs {
					_ = e.Add(&rs[i], nowMS, emit)
				}
				n += len(rs)
			}
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "records/s")
		})
	}
}
