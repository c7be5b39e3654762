package decode_test

import (
	"encoding/binary"
	"math/rand"
	"net/netip"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/flowhound/flowhound/collector/decode"
	"github.com/flowhound/flowhound/internal/flow"
)

// Bounds on one datagram of any contents.
const (
	maxAlloc = 64 << 10
	maxTime  = 50 * time.Millisecond
)

// bomb is a datagram, or a sequence of them, that hurt other collectors.
type bomb struct {
	name    string
	packets [][]byte
	records int // that must come out nevertheless
}

// bombs are those of goflow2 v2.2.6 (D1 to D16), and of other collectors.
func bombs() []bomb {
	zeros := func(n int) []byte { return make([]byte, n) }
	huge := func(n uint16) []field {
		f := make([]field, n)
		for i := range f {
			f[i] = field{id: 1, length: 1}
		}
		return f
	}
	var flap, many, sets [][]byte
	for i := range 2000 {
		flap = append(flap, packet9(header{}, set(0, templateRecord(256, field{id: uint16(i), length: 4}, field{id: 1, length: 4})), set(256, zeros(400))))
		var list [][]byte
		for k := range 100 {
			list = append(list, templateRecord(uint16(256+(100*i+k)%65000), field{id: 1, length: 4}))
		}
		many = append(many, packet9(header{}, set(0, list...)))
	}
	for i := range 2250 {
		sets = append(sets, set(uint16(256+i)))
	}
	var tiny [][]byte
	for i := range 1100 {
		tiny = append(tiny, templateRecord(uint16(256+i), field{id: 8, length: 4}))
	}
	sampled := block(3, cat(u32(1), u32(0), u32(3), u32(1), u32(1), u32(0), u32(0), u32(1), u32(0), u32(2), u32(0x0fffffff)))
	rec5 := record5{src: src4, dst: dst4}
	lying5 := packet5(header{}, 0, 0, 0)
	be.PutUint16(lying5[2:], 65535)
	understated := packet9(header{count: 1}, set(0, templateRecord(256, pair4...)), set(999, u32(1)), set(256, bytes4, bytes4))
	short := packet10(header{}, set(2, templateRecord(256, pair4...)))
	be.PutUint16(short[2:], 3)
	return []bomb{
		{"D1 withdrawal, then data", [][]byte{packet10(header{}, set(2, templateRecord(256)), set(256, u32(1)))}, 0},
		{"D2 field of no length", [][]byte{packet9(header{}, set(0, templateRecord(256, field{id: 8})), set(256, u32(1)))}, 0},
		{"D2 all fields of no length", [][]byte{packet10(header{}, set(2, templateRecord(256, field{id: 8}, field{id: 12}, field{1, 0, 9})), set(256, zeros(8000)))}, 0},
		{"D3 options template of no length", [][]byte{packet9(header{}, set(1, cat(u16(256), u16(0), u16(0))), set(256, u32(1)))}, 0},
		{"D3 options of fields of no length", [][]byte{packet10(header{}, set(3, optionsRecord10(256, []field{{id: 149}}, []field{{id: 305}})), set(256, u32(1)))}, 0},
		{"D4 expanded sample of 2^28 records", [][]byte{sflowPacket(exporterA, 0, 0, sampled)}, 0},
		{"D4 2^32 samples", [][]byte{cat(sflowPacket(exporterA, 0, 0)[:24], u32(1<<32-1))}, 0},
		{"D5 v5 count of 65535", [][]byte{lying5}, 0},
		{"D6 65535 fields", [][]byte{packet9(header{}, set(0, cat(u16(256), u16(65535))))}, 0},
		{"D6 65535 fields of options", [][]byte{packet10(header{}, set(3, cat(u16(256), u16(65535), u16(1)))), packet9(header{}, set(1, cat(u16(256), u16(65535), u16(65535))))}, 0},
		{"D6 more fields than the cap", [][]byte{packet9(header{}, set(0, templateRecord(256, huge(2000)...)), set(256, zeros(900)))}, 0},
		{"most fields allowed", [][]byte{packet9(header{}, set(0, templateRecord(256, huge(512)...)))}, 0},
		{"most templates in a datagram", [][]byte{packet9(header{}, set(0, tiny...))}, 0},
		{"D7 templates without end", many, 0},
		{"layout that flaps", flap, 0},
		{"D9 a set without template", [][]byte{packet10(header{}, set(999, zeros(40)), set(2, templateRecord(256, pair4...)), set(256, bytes4))}, 1},
		{"D10 sampling interval of 2 bytes", [][]byte{packet9(header{}, set(1, optionsRecord9(300, nil, []field{{id: 34, length: 2}})), set(300, u16(10)), set(0, templateRecord(256, pair4...)), set(256, bytes4))}, 1},
		{"D13 understated count", [][]byte{understated}, 2},
		{"D14 lying variable length", [][]byte{packet10(header{}, set(2, templateRecord(256, field{id: 96, length: 65535}, field{id: 1, length: 4})), set(256, cat(u8(250), zeros(5))))}, 0},
		{"D14 truncated last field", [][]byte{packet10(header{}, set(2, templateRecord(256, with(pair4, field{id: 1, length: 4})...)), set(256, bytes4, u16(1)))}, 0},
		{"IPFIX length below the header", [][]byte{short}, 0},
		{"only variable fields, all empty", [][]byte{packet10(header{}, set(2, templateRecord(256, field{id: 96, length: 65535})), set(256, zeros(9000)))}, 0},
		{"512 variable fields", [][]byte{packet10(header{}, set(2, templateRecord(256, slices.Repeat([]field{{id: 96, length: 65535}}, 512)...))), packet10(header{}, set(256, zeros(9000)))}, 0},
		{"records of one byte", [][]byte{packet9(header{}, set(0, templateRecord(256, field{id: 5, length: 1}))), packet9(header{}, set(256, zeros(9000)))}, 0},
		{"options of one byte", [][]byte{packet9(header{}, set(1, optionsRecord9(256, nil, []field{{id: 34, length: 1}}))), packet9(header{}, set(256, slices.Repeat([]byte{7}, 9000)))}, 0},
		{"a thousand samplers", [][]byte{packet9(header{}, set(1, optionsRecord9(256, nil, []field{{id: 48, length: 2}, {id: 34, length: 1}}))), packet9(header{}, set(256, samplers(3000)))}, 0},
		{"records of 8 bytes", [][]byte{packet9(header{}, set(0, templateRecord(256, pair4...))), packet9(header{}, set(256, zeros(9000)))}, 1125},
		{"sets of no bytes without template", [][]byte{packet9(header{}, sets...)}, 0},
		{"zeros that end in a one", [][]byte{packet9(header{}, set(0, zeros(8000), u8(1))), cat(packet9(header{}), zeros(9000), u8(1))}, 0},
		{"records of 65535 bytes", [][]byte{packet9(header{}, set(0, templateRecord(256, field{id: 94, length: 65534}, field{id: 1, length: 1}))), packet9(header{}, set(256, zeros(9000)))}, 0},
		{"records above 65535 bytes", [][]byte{packet9(header{}, set(0, templateRecord(256, field{id: 94, length: 65534}, field{id: 95, length: 65534}))), packet9(header{}, set(256, zeros(9000)))}, 0},
		{"set ids on the edge", [][]byte{packet9(header{}, set(2), set(255), set(256), set(65535)), packet10(header{}, set(0), set(1), set(255), set(256), set(65535))}, 0},
		{"v5 of every count", v5Counts(rec5), 0},
		{"sFlow header of 2^32 bytes", [][]byte{sflowPacket(exporterA, 0, 0, sflowSample(false, 1, block(1, cat(u32(1), u32(1), u32(1), u32(1<<32-1)))))}, 0},
		{"sFlow sample length of 2^32-1", [][]byte{cat(sflowPacket(exporterA, 0, 0)[:24], u32(1), u32(1), u32(1<<32-1))}, 0},
		{"VLAN tags without end", [][]byte{sflowPacket(exporterA, 0, 0, sflowSample(false, 1, headerRecord(1, 1, ethernet(0x8100, slices.Repeat([]byte{0, 1, 0x81, 0}, 2000)))))}, 0},
		{"IPv6 extensions without end", [][]byte{sflowPacket(exporterA, 0, 0, sflowSample(false, 1, headerRecord(12, 1, ip6(src6, dst6, 0, zeros(8000)))))}, 1},
	}
}

func samplers(n int) (b []byte) {
	for i := range n {
		b = append(be.AppendUint16(b, uint16(i)), 9)
	}
	return b
}

func v5Counts(r record5) (packets [][]byte) {
	for count := range 65536 {
		if count%97 != 0 {
			continue
		}
		p := packet5(header{}, 0, 0, 0, r)
		binary.BigEndian.PutUint16(p[2:], uint16(count))
		packets = append(packets, p[:24+count%48])
	}
	return packets
}

// TestBombs: each datagram stays within its bounds of time and allocation,
// and does not keep the good parts of its datagram, nor an honest exporter,
// from being decoded.
func TestBombs(t *testing.T) {
	honest, data := benchPackets(10, 24)
	for _, b := range bombs() {
		x := newTester(t, decode.Config{})
		recs := make([]flow.Record, 0, 2400)
		recs = x.d.Decode(recs, dst4, honest, now)
		got := 0
		for i, p := range b.packets {
			p = append(make([]byte, 0, len(p)+16), p...)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			start := time.Now()
			recs = x.d.Decode(recs[:0], exporterA, p, now)
			took := time.Since(start)
			runtime.ReadMemStats(&after)
			// The runtime allocates a little of its own meanwhile.
			if n := after.TotalAlloc - before.TotalAlloc; n > maxAlloc {
				t.Errorf("%s, datagram %d of %d bytes: allocated %d bytes, want at most %d", b.name, i, len(p), n, maxAlloc)
			}
			if took > maxTime {
				t.Errorf("%s, datagram %d: took %v, want at most %v", b.name, i, took, maxTime)
			}
			got += len(recs)
			stats := x.d.Stats()
			checkLaws(t, &stats)
			if i > 200 {
				break
			}
		}
		if b.name != "v5 of every count" && got != b.records {
			t.Errorf("%s: got %d records, want %d", b.name, got, b.records)
		}
		if n := len(x.d.Decode(nil, dst4, data[0], now)); n != 24 {
			t.Errorf("%s: the honest exporter's packet gave %d records, want 24", b.name, n)
		}
	}
}

// TestForgedSources: exporters without number that do not exist, each with a
// template and sets without one, leave no more than the caps allow, and an
// exporter that goes on sending keeps its templates.
func TestForgedSources(t *testing.T) {
	n := 100_000
	if testing.Short() {
		n = 20_000
	}
	var fields []field
	for i := range 300 {
		fields = append(fields, field{id: uint16(i), length: 4})
	}
	p := packet9(header{}, set(0, templateRecord(256, fields...)), set(300, make([]byte, 150)))
	p = append(make([]byte, 0, len(p)+16), p...)
	honest, data := benchPackets(10, 24)
	d := decode.New(decode.Config{})
	d.Decode(nil, dst4, honest, now)
	recs := make([]flow.Record, 0, 64)
	var peak uint64
	for i := range n {
		addr := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		d.Decode(recs[:0], addr, p, now)
		if i%1000 == 0 {
			if got := len(d.Decode(recs[:0], dst4, data[0], now)); got != 24 {
				t.Fatalf("after %d forged sources the honest exporter's packet gave %d records, want 24", i, got)
			}
		}
		if i%(n/4) == n/4-1 {
			var m runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&m)
			peak = max(peak, m.HeapAlloc)
		}
	}
	s := d.Stats()
	checkLaws(t, &s)
	const limit = decode.MaxTemplateBytes + decode.MaxHeldBytes + 32<<20
	if s.Exporters > decode.MaxExporters || peak > limit {
		t.Errorf("%d exporters and %d bytes of heap, want at most %d and %d", s.Exporters, peak, decode.MaxExporters, limit)
	}
	t.Logf("%d sources: %d exporters, heap %d MiB", n, s.Exporters, peak>>20)
}

// packetSet are packets of every kind that the decoder reads.
func packetSet() [][]byte {
	fields, record := fullFields()
	varlen := with(pair6, field{id: 96, length: 65535}, field{id: 1, length: 4}, field{1, 4, 29305})
	eth := ethernet(0x8100, cat([]byte{0, 5, 0x88, 0x47}, []byte{0, 1, 0x01, 64}, ip4(src4, dst4, 6, tcp(1, 2, 3))))
	return [][]byte{
		packet5(header{uptime: 9, secs: secs}, 1, 2, 3, record5{src: src4, dst: dst4}, record5{src: dst4, dst: src4}),
		packet9(header{secs: secs, count: 4}, set(0, templateRecord(256, fields...)), set(256, record, record, u16(0))),
		packet9(header{secs: secs}, set(1, optionsRecord9(260, []field{{id: 1, length: 4}}, []field{{id: 48, length: 1}, {id: 34, length: 2}}), u16(0)), set(260, u32(0), u8(1), u16(1000))),
		packet10(header{secs: secs}, set(2, templateRecord(257, varlen...)), set(257, bytes6, []byte("\x05hello"), u32(1), u32(2), bytes6, []byte("\xff\x00\x03abc"), u32(3), u32(4))),
		packet10(header{secs: secs}, set(3, optionsRecord10(258, []field{{id: 149, length: 4}}, []field{{id: 302, length: 2}, {305, 4, 0}, {7, 2, 99}})), set(258, u32(1), u16(1), u32(9), u16(3))),
		packet10(header{secs: secs, domain: 3}, set(900, make([]byte, 60)), set(2, templateRecord(900, pair4...))),
		sflowPacket(src4, 1, 2, sflowSample(false, 10, headerRecord(1, 100, eth)), block(2, make([]byte, 40)), block(5, make([]byte, 12))),
		sflowPacket(src6, 1, 2, sflowSample(true, 10, block(1001, make([]byte, 16)), headerRecord(12, 100, ip6(src6, dst6, 44, cat([]byte{17, 0, 0, 0, 0, 0, 0, 0}, udp(1, 4789, cat([]byte{8, 0, 0, 0, 0, 0, 0, 0}, eth))))))),
		sflowPacket(src4, 1, 2, sflowSample(false, 10, block(3, cat(u32(100), u32(6), bytes4, u32(1), u32(2), u32(3), u32(4))), block(4, cat(u32(100), u32(6), bytes6, u32(1), u32(2), u32(3), u32(4))))),
	}
}

// TestTruncationsAndFlips decodes every prefix of every packet, and every
// packet with each byte replaced by each of several others. Nothing panics,
// the conservation laws hold, and no more records come out than fit.
func TestTruncationsAndFlips(t *testing.T) {
	for k, p := range packetSet() {
		check := func(what string, q []byte) {
			x := newTester(t, decode.Config{VXLAN: true})
			x.decode(p)
			if n := len(x.decode(q)); n > 2*len(q)/8+2 {
				t.Errorf("packet %d %s: %d records of %d bytes", k, what, n, len(q))
			}
			x.decode(p)
		}
		for n := range p {
			check("cut", p[:n:n])
		}
		for i := range p {
			for _, flip := range []byte{0x01, 0x80, 0xff, p[i], 0x7f} {
				q := slices.Clone(p)
				q[i] ^= flip
				check("flipped", q)
			}
		}
	}
}

// TestMutants decodes packets with several random bytes changed, cut or
// doubled, by one decoder that thus gets into every state.
func TestMutants(t *testing.T) {
	n := 200_000
	if testing.Short() {
		n = 20_000
	}
	const seed = 1
	r := rand.New(rand.NewSource(seed))
	set := packetSet()
	d := decode.New(decode.Config{VXLAN: true})
	recs := make([]flow.Record, 0, 2400)
	for i := range n {
		p := slices.Clone(set[r.Intn(len(set))])
		for range r.Intn(4) {
			p[r.Intn(len(p))] = byte(r.Intn(256))
		}
		if r.Intn(8) == 0 {
			p = p[:r.Intn(len(p)+1)]
		}
		if r.Intn(8) == 0 && len(p) > 0 {
			at := r.Intn(len(p))
			p = slices.Insert(p, at, p[r.Intn(len(p)):]...)
		}
		recs = d.Decode(recs[:0], netip.AddrFrom4([4]byte{10, 0, 0, byte(r.Intn(4))}), p, now+int64(i))
		if i%1000 == 0 {
			s := d.Stats()
			checkLaws(t, &s)
		}
	}
}
