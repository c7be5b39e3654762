package collector

import (
	"net/netip"
	"testing"
	"testing/synctest"

	"github.com/flowhound/flowhound/collector/listen"
	"github.com/flowhound/flowhound/internal/flow"
	"github.com/flowhound/flowhound/testbench/exporter"
)

// IPv6 flow records over IPFIX, from an IPv6 exporter: the temporary addresses
// of one /64 are one host.
func TestIPv6ReachesTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startRig(t, setup{})
		nowMS := r.nowMS()
		e, err := exporter.New(exporter.Config{Protocol: exporter.IPFIX, BootMS: nowMS - 1e6})
		if err != nil {
			t.Fatal(err)
		}
		emit := func(b []byte) error {
			data := make([]byte, len(b), len(b)+listen.Slack)
			copy(data, b)
			r.sources[0].feed(listen.Packet{From: netip.MustParseAddrPort("[2001:db8:ffff::1]:9999"), Data: data})
			return nil
		}
		for _, src := range []string{"2001:db8:1:1::a", "2001:db8:1:1::b", "2001:db8:1:1:ffff::c"} {
			err := e.Add(&flow.Record{Src: flow.AddrFrom(netip.MustParseAddr(src)), Dst: flow.AddrFrom(netip.MustParseAddr("2001:db8:2:2::1")),
				Packets: 1, Bytes: 100, StartMS: nowMS, EndMS: nowMS, SrcPort: 5000, DstPort: 443, Proto: 6, Sampling: 1}, nowMS, emit)
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := e.Flush(nowMS, emit); err != nil {
			t.Fatal(err)
		}
		r.stop()
		pairs := paired(t, r.log.read(t).contacts)
		if len(pairs) != 1 || flows(pairs) != 3 {
			t.Fatalf("contacts %+v, want one of 3 flows", pairs)
		}
		a, b := r.host("2001:db8:1:1::"), r.host("2001:db8:2:2::")
		if c := pairs[0]; !(c.Local == a && c.Remote == b || c.Local == b && c.Remote == a) {
			t.Errorf("contact %v – %v, want %v – %v", c.Local, c.Remote, a, b)
		}
		r.conserved()
	})
}
