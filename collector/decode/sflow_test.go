package decode_test

import (
	"net/netip"
	"testing"

	"github.com/flowhound/flowhound/collector/decode"
)

// TestSFlow: the shapes of sFlow version 5 §5 that tell who talked to whom.
func TestSFlow(t *testing.T) {
	tcp4 := ip4(src4, dst4, 6, tcp(5000, 80, 0x12))
	line := "198.51.100.7:5000>203.0.113.9:80 p6 10/15000 flags 0x12 t 0..0 1:10 if 11>12 dir 255 v105 dom 4"
	line6 := "2001:db8::7:0>2001:db8:1::9:53 p17 10/15000 flags 0x0 t 0..0 1:10 if 11>12 dir 255 v105 dom 4"
	f := func(name string, record []byte, want ...string) {
		t.Helper()
		for _, expanded := range []bool{false, true} {
			x := newTester(t, decode.Config{})
			x.want(sflowPacket(exporterA, 4, 0, sflowSample(expanded, 10, record)), want...)
			drops := map[decode.Reason]uint64{}
			if len(want) == 0 {
				drops[decode.NoAddress] = 1
			}
			x.only(drops)
			if t.Failed() {
				t.Fatalf("%s, expanded %v", name, expanded)
			}
		}
	}
	f("Ethernet", headerRecord(1, 1500, ethernet(0x0800, tcp4)), line)
	f("VLAN", headerRecord(1, 1500, ethernet(0x8100, cat([]byte{0, 5, 8, 0}, tcp4))), line)
	f("QinQ", headerRecord(1, 1500, ethernet(0x88a8, cat([]byte{0, 5, 0x81, 0, 0, 6, 8, 0}, tcp4))), line)
	f("MPLS", headerRecord(1, 1500, ethernet(0x8847, cat([]byte{0, 1, 0, 9, 0, 2, 1, 9}, tcp4))), line)
	f("MPLS pseudowire", headerRecord(1, 1500, ethernet(0x8847, cat([]byte{0, 1, 1, 9, 0, 0, 0, 0}, ethernet(0x0800, tcp4)))), line)
	f("PPPoE", headerRecord(1, 1500, ethernet(0x8864, cat([]byte{0x11, 0, 0, 1, 0, 9, 0, 0x21}, tcp4))), line)
	f("header protocol 11 (D16)", headerRecord(11, 1500, tcp4), line)
	f("header protocol 12", headerRecord(12, 1500, ip6(src6, dst6, 17, udp(0, 53, nil))), line6)
	f("header protocol 13", headerRecord(13, 1500, cat([]byte{0, 1, 1, 9}, tcp4)), line)
	f("IPv6 extensions", headerRecord(12, 1500, ip6(src6, dst6, 0, cat([]byte{60, 0, 0, 0, 0, 0, 0, 0}, []byte{17, 0, 0, 0, 0, 0, 0, 0}, udp(0, 53, nil)))), line6)
	f("sampled IPv4", block(3, cat(u32(1500), u32(6), bytes4, u32(5000), u32(80), u32(0x12), u32(0))), line)
	f("sampled IPv6", block(4, cat(u32(1500), u32(17), bytes6, u32(0), u32(53), u32(0), u32(0))), line6)
	f("header above sampled IPv4", cat(block(3, cat(u32(1), u32(1), bytes4, u32(1), u32(1), u32(1), u32(1)))), "198.51.100.7:1>203.0.113.9:1 p1 10/10 flags 0x1 t 0..0 1:10 if 11>12 dir 255 v105 dom 4")
	f("ARP", headerRecord(1, 64, ethernet(0x0806, make([]byte, 28))))
	f("only a switch record", block(1001, make([]byte, 16)))
	f("duplicate address detection", headerRecord(12, 64, ip6(netip.IPv6Unspecified(), dst6, 58, nil)))
	f("sampled IPv6 without destination", block(4, cat(u32(64), u32(17), bytes6[:16], make([]byte, 16), u32(0), u32(53), u32(0), u32(0))))
	f("token ring", headerRecord(2, 64, tcp4))
	f("short header", headerRecord(1, 64, ethernet(0x0800, tcp4[:19])))
	fragment := ip4(src4, dst4, 17, udp(1, 2, nil))
	fragment[7] = 1
	first := ip4(src4, dst4, 6, tcp(5000, 80, 0x12))
	first[6] = 0x20 // more fragments: the first has the ports
	f("first fragment", headerRecord(11, 1500, first), line)
	f("fragment", headerRecord(11, 1500, fragment), "198.51.100.7:0>203.0.113.9:0 p17 10/15000 flags 0x0 t 0..0 1:10 if 11>12 dir 255 v105 dom 4")
}

// TestSFlowVXLAN: the inner hosts where they are asked for.
func TestSFlowVXLAN(t *testing.T) {
	frame := ethernet(0x0800, ip4(src4, dst4, 17, udp(999, 4789, cat([]byte{8, 0, 0, 0, 0, 0, 7, 0}, ethernet(0x86dd, ip6(src6, dst6, 6, tcp(1, 2, 3)))))))
	p := sflowPacket(exporterA, 0, 0, sflowSample(false, 1, headerRecord(1, 100, frame)))
	newTester(t, decode.Config{}).want(p, "198.51.100.7:999>203.0.113.9:4789 p17 1/100 flags 0x0 t 0..0 1:1 if 11>12 dir 255 v105 dom 0")
	newTester(t, decode.Config{VXLAN: true}).want(p, "2001:db8::7:1>2001:db8:1::9:2 p6 1/100 flags 0x3 t 0..0 1:1 if 11>12 dir 255 v105 dom 0")
}

// TestSFlowSamples: all samples of a datagram are accounted, and counts and
// lengths that lie cost only what they cover.
func TestSFlowSamples(t *testing.T) {
	good := sflowSample(false, 1, headerRecord(11, 100, ip4(src4, dst4, 1, nil)))
	x := newTester(t, decode.Config{})
	recs := x.decode(sflowPacket(src6, 0, 0, good, block(2, make([]byte, 8)), block(4, make([]byte, 8)), block(5, make([]byte, 8)), block(4300<<12|1, nil), good))
	if s := x.d.Stats(); len(recs) != 2 || s.FlowSamples != 2 || s.CounterSamples != 2 || s.OtherSamples != 2 {
		t.Errorf("got %d records, %+v", len(recs), s)
	}
	x.only(nil)
	short := block(1, make([]byte, 28))
	lying := sflowSample(false, 1, headerRecord(11, 100, ip4(src4, dst4, 1, nil)))
	be.PutUint32(lying[8+28:], 9) // records
	if n := len(x.decode(sflowPacket(src6, 0, 1, short, lying, good))); n != 2 {
		t.Errorf("got %d records, want 2", n)
	}
	x.only(map[decode.Reason]uint64{decode.SampleMalformed: 1})
	cut := sflowPacket(src6, 0, 2, good, good)
	if n := len(x.decode(cut[:len(cut)-1])); n != 1 {
		t.Errorf("got %d records, want 1", n)
	}
	x.only(map[decode.Reason]uint64{decode.SampleMalformed: 2})
}

// TestSFlowForced: the configuration overrides a sample's rate.
func TestSFlowForced(t *testing.T) {
	p := sflowPacket(src6, 0, 0, sflowSample(false, 512, headerRecord(11, 100, ip4(src4, dst4, 1, nil))))
	x := newTester(t, decode.Config{})
	if r := x.decode(p); r[0].Sampling != 512 || r[0].Bytes != 51200 {
		t.Errorf("got %+v", r)
	}
	x.d.SetSampling(func(netip.Addr) decode.SamplingRule { return decode.SamplingRule{Rate: 3, Force: true} })
	if r := x.decode(p); r[0].Sampling != 3 || r[0].Bytes != 300 || r[0].Packets != 3 {
		t.Errorf("got %+v", r)
	}
}
