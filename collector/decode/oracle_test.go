package decode_test

import (
	"bytes"
	"fmt"
	"math/rand"
	"net/netip"
	"testing"
	"time"

	"github.com/netsampler/goflow2/v2/decoders/netflow"
	"github.com/netsampler/goflow2/v2/decoders/netflowlegacy"
	"github.com/netsampler/goflow2/v2/decoders/sflow"
	"github.com/netsampler/goflow2/v2/producer"
	protoproducer "github.com/netsampler/goflow2/v2/producer/proto"

	"github.com/flowhound/flowhound/collector/decode"
	"github.com/flowhound/flowhound/internal/flow"
)

// goflow2 decodes packets by goflow2's own decoders and producer: the
// independent source of the differential tests.
type goflow2 struct {
	templates netflow.NetFlowTemplateSystem
	producer  producer.ProducerInterface
}

func newGoflow2(t *testing.T) *goflow2 {
	t.Helper()
	cfg, err := (*protoproducer.ProducerConfig)(nil).Compile()
	if err != nil {
		t.Fatal(err)
	}
	p, err := protoproducer.CreateProtoProducer(cfg, protoproducer.CreateSamplingSystem)
	if err != nil {
		t.Fatal(err)
	}
	return &goflow2{netflow.CreateTemplateSystem(), p}
}

// decode returns the records that goflow2 makes of a packet.
func (g *goflow2) decode(t *testing.T, pkt []byte) (recs []flow.Record) {
	t.Helper()
	buf := bytes.NewBuffer(bytes.Clone(pkt))
	var msg any
	var err error
	switch be.Uint16(pkt) {
	case 0:
		p := &sflow.Packet{}
		msg, err = p, sflow.DecodeMessageVersion(buf, p)
	case 5:
		p := &netflowlegacy.PacketNetFlowV5{}
		msg, err = p, netflowlegacy.DecodeMessageVersion(buf, p)
	case 9:
		p := &netflow.NFv9Packet{}
		msg, err = p, netflow.DecodeMessageVersion(buf, g.templates, p, nil)
	default:
		p := &netflow.IPFIXPacket{}
		msg, err = p, netflow.DecodeMessageVersion(buf, g.templates, nil, p)
	}
	if err != nil {
		t.Fatalf("goflow2: %v", err)
	}
	out, err := g.producer.Produce(msg, &producer.ProduceArgs{
		Src: netip.AddrPortFrom(exporterA, 1), SamplerAddress: exporterA, TimeReceived: time.UnixMilli(now),
	})
	if err != nil {
		t.Fatalf("goflow2: %v", err)
	}
	for _, m := range out {
		f := m.(*protoproducer.ProtoProducerMessage)
		r := flow.Record{
			SrcPort: uint16(f.SrcPort), DstPort: uint16(f.DstPort), Proto: uint8(f.Proto), TCPFlags: uint8(f.TcpFlags),
			Packets: f.Packets, Bytes: f.Bytes, InIf: f.InIf, OutIf: f.OutIf, Sampling: uint32(max(f.SamplingRate, 1)),
			StartMS: int64(f.TimeFlowStartNs) / 1e6, EndMS: int64(f.TimeFlowEndNs) / 1e6,
		}
		src, _ := netip.AddrFromSlice(f.SrcAddr)
		dst, _ := netip.AddrFromSlice(f.DstAddr)
		if src.IsValid() && dst.IsValid() {
			r.Src, r.Dst = flow.AddrFrom(src), flow.AddrFrom(dst)
		}
		recs = append(recs, r)
	}
	return recs
}

// oracleText prints what both decoders tell. goflow2 does not multiply.
func oracleText(r flow.Record) string {
	return fmt.Sprintf("%v:%d>%v:%d p%d %d/%d flags %#x t %d..%d 1:%d if %d>%d", r.Src.NetIP(), r.SrcPort, r.Dst.NetIP(), r.DstPort,
		r.Proto, r.Packets, r.Bytes, r.TCPFlags, r.StartMS, r.EndMS, r.Sampling, r.InIf, r.OutIf)
}

// compare gives packets to both decoders.
func compare(t *testing.T, what string, packets ...[]byte) {
	t.Helper()
	g := newGoflow2(t)
	d := decode.New(decode.Config{})
	for k, p := range packets {
		want, got := g.decode(t, p), d.Decode(nil, exporterA, p, now)
		if len(got) != len(want) {
			t.Fatalf("%s packet %d: got %d records, want %d", what, k, len(got), len(want))
		}
		for i := range got {
			if s := got[i].Sampling; s > 1 {
				want[i].Packets *= uint64(s)
				want[i].Bytes *= uint64(s)
			}
			if a, b := oracleText(got[i]), oracleText(want[i]); a != b {
				t.Fatalf("%s packet %d record %d:\n got %s\nwant %s", what, k, i, a, b)
			}
		}
	}
}

// randomTemplate returns fields of a template in random order and widths,
// among ones that nobody reads, and the bytes of n records.
func randomTemplate(r *rand.Rand, version int, variable bool) []field {
	fields := with(pair4)
	if r.Intn(3) == 0 {
		fields = with(pair6)
	}
	width := func(most int) uint16 { return uint16(1 + r.Intn(most)) }
	for _, f := range []field{
		{id: 7, length: 2}, {id: 11, length: 2}, {id: 4, length: 1}, {id: 6, length: width(2)}, {id: 1, length: width(8)}, {id: 2, length: width(8)},
		{id: 10, length: width(4)}, {id: 14, length: width(4)}, {id: 5, length: 1}, {id: 56, length: 6}, {id: 9, length: 1}, {id: 16, length: 4}, {id: 15, length: 4},
	} {
		if r.Intn(4) != 0 {
			fields = append(fields, f)
		}
	}
	if version == 9 {
		fields = append(fields, field{id: 22, length: 4}, field{id: 21, length: 4})
	} else {
		times := [][]field{{{id: 150, length: 4}, {id: 151, length: 4}}, {{id: 152, length: 8}, {id: 153, length: 8}}, {{id: 158, length: 4}, {id: 159, length: 4}}, nil}
		fields = append(fields, times[r.Intn(4)]...)
		if r.Intn(2) == 0 {
			fields = append(fields, field{1, 4, 9})
		}
	}
	r.Shuffle(len(fields), func(i, k int) { fields[i], fields[k] = fields[k], fields[i] })
	if variable {
		at := r.Intn(len(fields) + 1)
		fields = append(fields[:at:at], append([]field{{id: 96, length: 65535}, {id: 82, length: 65535}}, fields[at:]...)...)
	}
	return fields
}

// randomData returns n records of random contents, with times that goflow2's
// arithmetic can hold.
func randomData(r *rand.Rand, fields []field, n int) (b []byte) {
	for range n {
		for _, f := range fields {
			v := make([]byte, f.length)
			switch {
			case f.length == 65535:
				v = make([]byte, 1+r.Intn(20))
				r.Read(v[1:])
				v[0] = byte(len(v) - 1)
			case f.pen == 0 && (f.id == 152 || f.id == 153):
				v = u64(uint64(now - r.Int63n(1e6)))
			case f.pen == 0 && (f.id == 150 || f.id == 151):
				v = u32(secs - uint32(r.Intn(1000)))
			case f.pen == 0 && (f.id == 21 || f.id == 22):
				v = u32(uint32(r.Intn(100_000_000)))
			case f.pen == 0 && (f.id == 158 || f.id == 159):
				v = u32(uint32(r.Intn(1e6)) * 1000)
			default:
				r.Read(v)
			}
			b = append(b, v...)
		}
	}
	return b
}

// TestOracleGenerated compares with goflow2 on random templates and records.
func TestOracleGenerated(t *testing.T) {
	for seed := range int64(300) {
		r := rand.New(rand.NewSource(seed))
		var recs []record5
		for range r.Intn(31) {
			rec := randomRecord5(r)
			rec.first, rec.last = uint32(r.Intn(1e8)), uint32(r.Intn(1e8))
			recs = append(recs, rec)
		}
		compare(t, fmt.Sprintf("seed %d v5", seed), packet5(header{secs: secs, uptime: 1e8}, 123_000_000, 7, uint16(r.Intn(1<<14)), recs...))
		nine := randomTemplate(r, 9, false)
		compare(t, fmt.Sprintf("seed %d v9", seed),
			packet9(header{secs: secs, uptime: 1e8, count: 2}, set(0, templateRecord(300, nine...)), set(300, randomData(r, nine, 1+r.Intn(9)))),
			packet9(header{secs: secs, uptime: 1e8, count: 1}, set(300, randomData(r, nine, 1+r.Intn(9)))))
		ten := randomTemplate(r, 10, r.Intn(2) == 0)
		compare(t, fmt.Sprintf("seed %d IPFIX", seed),
			packet10(header{secs: secs}, set(2, templateRecord(300, ten...)), set(300, randomData(r, ten, 1+r.Intn(9)))),
			packet10(header{secs: secs}, set(300, randomData(r, ten, 1+r.Intn(9)))))
	}
}

// TestOracleSampling compares the rates that options tell, in the 4 bytes
// that goflow2 wants.
func TestOracleSampling(t *testing.T) {
	for _, id := range []uint16{34, 50, 305} {
		compare(t, fmt.Sprintf("element %d", id),
			packet9(header{secs: secs, count: 2}, set(1, optionsRecord9(300, []field{{id: 1, length: 4}}, []field{{id: id, length: 4}})), set(300, u32(0), u32(77))),
			packet9(header{secs: secs, count: 2}, set(0, templateRecord(301, with(pair4, field{id: 2, length: 4})...)), set(301, bytes4, u32(5))))
	}
}

// TestOracleSFlow compares sampled frames.
func TestOracleSFlow(t *testing.T) {
	for seed := range int64(200) {
		r := rand.New(rand.NewSource(seed))
		var samples [][]byte
		for range 1 + r.Intn(8) {
			l4, proto := tcp(uint16(r.Uint32()), uint16(r.Uint32()), uint8(r.Uint32())), uint8(6)
			if r.Intn(2) == 0 {
				l4, proto = udp(uint16(r.Uint32()), uint16(1+r.Intn(1000)), make([]byte, 20)), 17
			}
			kind, ip := uint16(0x0800), ip4(randomIP4(r), randomIP4(r), proto, l4)
			if r.Intn(2) == 0 {
				kind, ip = 0x86dd, ip6(src6, dst6, proto, l4)
			}
			if r.Intn(2) == 0 {
				kind, ip = 0x8100, cat(u16(5), u16(kind), ip)
			}
			samples = append(samples, sflowSample(r.Intn(2) == 0, 1+uint32(r.Intn(5000)), headerRecord(1, uint32(64+r.Intn(1400)), ethernet(kind, ip))))
		}
		compare(t, fmt.Sprintf("seed %d", seed), sflowPacket(exporterA, 0, 0, samples...))
	}
}
