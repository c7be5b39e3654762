package kafka

import (
	"bytes"
	"math/rand/v2"
	"net/netip"
	"testing"

	flowpb "github.com/netsampler/goflow2/v2/pb"
	"google.golang.org/protobuf/encoding/protodelim"
	"google.golang.org/protobuf/proto"

	"github.com/flowhound/flowhound/internal/flow"
)

func delimited(t testing.TB, m *flowpb.FlowMessage) []byte {
	t.Helper()
	var b bytes.Buffer
	if _, err := protodelim.MarshalTo(&b, m); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func full() *flowpb.FlowMessage {
	return &flowpb.FlowMessage{
		Type: flowpb.FlowMessage_IPFIX, TimeReceivedNs: 1_700_000_009_999_000_000, SequenceNum: 5, SamplingRate: 100,
		SamplerAddress:  []byte{192, 0, 2, 1},
		TimeFlowStartNs: 1_700_000_001_234_567_890, TimeFlowEndNs: 1_700_000_002_345_678_901,
		Bytes: 1 << 40, Packets: 77, SrcAddr: []byte{198, 51, 100, 7}, DstAddr: []byte{203, 0, 113, 9},
		Etype: 0x800, Proto: 6, SrcPort: 1234, DstPort: 65535, InIf: 7, OutIf: 1<<32 - 1, TcpFlags: 0x1b,
		ObservationDomainId: 42, SrcMac: 1 << 47, NextHop: []byte{10, 0, 0, 1}, AsPath: []uint32{64496, 64497},
		MplsIp: [][]byte{{1, 2, 3, 4}}, LayerStack: []flowpb.FlowMessage_LayerStack{flowpb.FlowMessage_IPv4, flowpb.FlowMessage_TCP},
	}
}

var fullRecord = flow.Record{
	Src: flow.AddrFrom(netip.MustParseAddr("198.51.100.7")), Dst: flow.AddrFrom(netip.MustParseAddr("203.0.113.9")),
	Packets: 77, Bytes: 1 << 40, StartMS: 1_700_000_001_234, EndMS: 1_700_000_002_345, Sampling: 100, Domain: 42,
	InIf: 7, OutIf: 1<<32 - 1, SrcPort: 1234, DstPort: 65535, Proto: 6, TCPFlags: 0x1b, Direction: flow.DirectionUnknown, Version: 10,
}

// goflow2's own type of the message is the reference.
func TestRead(t *testing.T) {
	f := func(change func(*flowpb.FlowMessage), want func(*Message), fault Fault) {
		t.Helper()
		pb, m := full(), Message{Record: fullRecord, Exporter: netip.MustParseAddr("192.0.2.1")}
		change(pb)
		if want(&m); fault != Fine {
			m = Message{}
		}
		bare, err := proto.Marshal(pb)
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range [][]byte{delimited(t, pb), bare} {
			if got, bad := Read(b); got != m || bad != fault {
				t.Errorf("got %+v, %v\nwant %+v, %v", got, bad, m, fault)
			}
		}
	}
	same := func(*Message) {}
	f(func(*flowpb.FlowMessage) {}, same, Fine)
	f(func(p *flowpb.FlowMessage) {
		p.SrcAddr, p.DstAddr = bytes.Repeat([]byte{0x20}, 16), bytes.Repeat([]byte{0x30}, 16)
		p.SamplerAddress = netip.MustParseAddr("2001:db8::1").AsSlice()
	}, func(m *Message) {
		m.Record.Src = flow.AddrFrom(netip.AddrFrom16([16]byte(bytes.Repeat([]byte{0x20}, 16))))
		m.Record.Dst = flow.AddrFrom(netip.AddrFrom16([16]byte(bytes.Repeat([]byte{0x30}, 16))))
		m.Exporter = netip.MustParseAddr("2001:db8::1")
	}, Fine)
	f(func(p *flowpb.FlowMessage) {
		p.Type = flowpb.FlowMessage_SFLOW_5
		p.TimeFlowStartNs, p.TimeFlowEndNs = 0, 0
	}, func(m *Message) {
		m.Record.Version, m.Record.StartMS, m.Record.EndMS = flow.VersionSFlow, 1_700_000_009_999, 1_700_000_009_999
	}, Fine)
	f(func(p *flowpb.FlowMessage) { p.Type = 99; p.SamplingRate = 0 }, func(m *Message) { m.Record.Version, m.Record.Sampling = 0, 0 }, Fine)
	f(func(p *flowpb.FlowMessage) { p.SrcAddr = nil }, func(m *Message) { m.Record.Src, m.Record.Dst = flow.Addr{}, flow.Addr{} }, Fine)
	f(func(p *flowpb.FlowMessage) { p.SamplerAddress = nil }, func(m *Message) { m.Exporter = netip.Addr{} }, Fine)
	f(func(p *flowpb.FlowMessage) { p.DstAddr = make([]byte, 16); p.DstAddr[0] = 0x20 }, same, BadAddress)
	f(func(p *flowpb.FlowMessage) { p.DstAddr = make([]byte, 5) }, same, BadAddress)
	f(func(p *flowpb.FlowMessage) { p.SamplerAddress = []byte{1} }, same, BadAddress)
	f(func(p *flowpb.FlowMessage) { p.SrcPort = 65536 }, same, BadRange)
	f(func(p *flowpb.FlowMessage) { p.Proto = 256 }, same, BadRange)
	for _, b := range [][]byte{nil, {0}, []byte(`{"type":"IPFIX"}`), delimited(t, full())[:50], {0xff}} {
		if _, bad := Read(b); bad != BadMessage {
			t.Errorf("%q: %v", b, bad)
		}
	}
	b := delimited(t, full())
	if n := testing.AllocsPerRun(100, func() { _, _ = Read(b) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzRead holds Read to goflow2's type: what one takes, the other takes, but
// for what our records have no room for.
func FuzzRead(f *testing.F) {
	b := delimited(f, full())
	f.Add(b)
	f.Add([]byte{0})
	for range 20 {
		b = bytes.Clone(b)
		b[rand.New(rand.NewPCG(1, uint64(len(b)))).IntN(len(b))] ^= 0x55
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, fault := Read(b)
		var pb flowpb.FlowMessage
		in := bytes.NewReader(b)
		if err := protodelim.UnmarshalFrom(in, &pb); err != nil || in.Len() != 0 || proto.Size(&pb) == 0 {
			return // no message of the whole length, or an empty one
		}
		if fault == BadMessage {
			t.Fatalf("goflow2 reads %+v", &pb)
		}
		if fault == Fine && (m.Record.Bytes != pb.Bytes || m.Record.Packets != pb.Packets || uint32(m.Record.SrcPort) != pb.SrcPort ||
			uint32(m.Record.Proto) != pb.Proto || m.Record.Domain != pb.ObservationDomainId) {
			t.Fatalf("got %+v, want %+v", m.Record, &pb)
		}
	})
}

func BenchmarkRead(b *testing.B) {
	msg := delimited(b, full())
	b.SetBytes(int64(len(msg)))
	for b.Loop() {
		if _, fault := Read(msg); fault != Fine {
			b.Fatal(fault)
		}
	}
}
