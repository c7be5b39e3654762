package collector

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flowhound/flowhound/collector/listen"
	"github.com/flowhound/flowhound/internal/flow"
	"github.com/flowhound/flowhound/testbench/exporter"
)

// router encodes records as v9 datagrams of one exporter.
func (r *rig) router(from string, records []flow.Record) {
	r.t.Helper()
	e, err := exporter.New(exporter.Config{Protocol: exporter.NetFlow9, BootMS: r.nowMS() - 1e7})
	if err != nil {
		r.t.Fatal(err)
	}
	emit := func(pkt []byte) error {
		data := make([]byte, len(pkt), len(pkt)+listen.Slack)
		copy(data, pkt)
		r.sources[int(from[len(from)-1])%len(r.sources)].feed(
			listen.Packet{From: netip.AddrPortFrom(netip.MustParseAddr(from), 9999), Data: data})
		return nil
	}
	for i := range records {
		if err := e.Add(&records[i], r.nowMS(), emit); err != nil {
			r.t.Fatal(err)
		}
	}
	if err := e.Flush(r.nowMS(), emit); err != nil {
		r.t.Fatal(err)
	}
}

// Two routers on the path of the same flows, one where they enter the network
// and one where they leave: the graph is the same in every mode, and the
// counters are those of one router unless dedup is off.
func TestDedup(t *testing.T) {
	type sum struct{ flows, packets, bytes uint64 }
	run := func(mode string, direction uint8) (total sum, graph map[topology]bool, unweighted float64) {
		synctest.Test(t, func(t *testing.T) {
			keys := t.TempDir() + "/keys"
			r := startRig(t, setup{workers: 2, keys: keys, config: func(c *Config) { c.Dedup.Mode = mode }})
			var records []flow.Record
			for i := range 60 {
				x := flow.Record{Src: addrOf(flowAddr(10, 0, 0, byte(i%20))), Dst: addrOf(flowAddr(10, 1, 0, byte(i%7))),
					SrcPort: uint16(40000 + i), DstPort: 443, Proto: 17, Packets: 2, Bytes: 100, StartMS: r.nowMS() - 2000, EndMS: r.nowMS() - 1000}
				if i%3 == 0 {
					x.Src, x.Dst, x.SrcPort, x.DstPort = x.Dst, x.Src, x.DstPort, x.SrcPort
				}
				records = append(records, x)
			}
			r.router("192.0.2.1", records)
			for i := range records {
				records[i].Direction = direction
			}
			r.router("192.0.2.2", records)
			r.stop()
			r.conserved()
			graph = make(map[topology]bool)
			for _, c := range paired(t, r.log.read(t).contacts) {
				x := topologyOf(c)
				x.local, x.remote = flow.Host{}, flow.Host{} // the keys differ
				graph[x] = true
				for _, n := range []flow.Counters{c.Out, c.In} {
					total.flows += uint64(n.Flows)
					total.packets += n.Packets
					total.bytes += n.Bytes
				}
			}
			unweighted = r.metric("records_unweighted_total")
		})
		return total, graph, unweighted
	}
	once, twice := sum{60, 120, 6000}, sum{120, 240, 12000}
	var first map[topology]bool
	f := func(mode string, direction uint8, want sum, wantUnweighted float64) {
		t.Helper()
		got, graph, unweighted := run(mode, direction)
		if got != want || unweighted != wantUnweighted {
			t.Errorf("%s, second router %d: got %+v with %v records without weight, want %+v and %v", mode, direction, got, unweighted, want, wantUnweighted)
		}
		if first == nil {
			first = graph
		}
		if fmt.Sprint(graph) != fmt.Sprint(first) {
			t.Errorf("%s, second router %d: the graph is %v, want %v", mode, direction, graph, first)
		}
	}
	f(dedupOff, flow.Egress, twice, 0)
	f(dedupIngress, flow.Egress, once, 60)
	f(dedupIngress, flow.Ingress, twice, 0)
	f(dedupFirstCome, flow.Egress, once, 60)
	f(dedupFirstCome, flow.Ingress, once, 60)
}

func addrOf(s string) flow.Addr { return flow.AddrFrom(netip.MustParseAddr(s)) }

// The table says what a map without bounds says while it has room.
func TestFirstComeAgainstMap(t *testing.T) {
	type owner struct {
		who  netip.Addr
		last int64
	}
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 1))
		f := newFirstCome(1<<12, 10*time.Second, rng.Uint64(), rng.Uint64())
		model := make(map[flow.Record]owner)
		ms := int64(1_700_000_000_000)
		for step := range 3000 {
			ms += rng.Int64N(400)
			who := netip.AddrFrom4([4]byte{192, 0, 2, byte(rng.IntN(3))})
			r := flow.Record{Src: addrOf(flowAddr(10, 0, 0, byte(rng.IntN(5)))), Dst: addrOf(flowAddr(10, 0, 1, byte(rng.IntN(5)))), SrcPort: uint16(rng.IntN(5)), Proto: uint8(rng.IntN(2))}
			want := uint8(flow.DirectionUnknown)
			if o, ok := model[r]; ok && o.who != who && ms/1000-o.last <= 10 {
				want = flow.Egress
			} else {
				model[r] = owner{who, ms / 1000}
			}
			got := []flow.Record{r}
			f.mark(got, who, ms)
			if got[0].Direction != want {
				t.Fatalf("seed %d step %d: direction %d, want %d", seed, step, got[0].Direction, want)
			}
		}
		if f.forgotten() != 0 {
			t.Errorf("seed %d: %d evictions of %d flows in 4096 slots", seed, f.forgotten(), len(model))
		}
	}
}

// A full table forgets and counts, and keeps its size; workers may share it.
func TestFirstComeBounds(t *testing.T) {
	f := newFirstCome(1<<10, time.Minute, 0x243f6a8885a308d3, 0x13198a2e03707344)
	var workers sync.WaitGroup
	for w := range 2 {
		workers.Go(func() {
			from := netip.AddrFrom4([4]byte{192, 0, 2, byte(w)})
			for i := range 20_000 {
				r := []flow.Record{{Src: addrOf(flowAddr(10, byte(w), byte(i>>8), byte(i)))}}
				if f.mark(r, from, 1_700_000_000_000); r[0].Direction == flow.Egress {
					t.Errorf("flow %d of exporter %d is not its own", i, w)
				}
			}
		})
	}
	workers.Wait()
	if n := f.forgotten(); n < 38_000 || n > 39_000 || len(f.slots) != 1<<10 {
		t.Errorf("%d forgotten of 40000 flows in %d slots, want all but the slots", n, len(f.slots))
	}
}

func BenchmarkFirstCome(b *testing.B) {
	f := newFirstCome(1<<20, time.Minute, 0x243f6a8885a308d3, 0x13198a2e03707344)
	rng := rand.New(rand.NewPCG(1, 2))
	records := make([]flow.Record, 1<<16)
	for i := range records {
		records[i] = flow.Record{Src: addrOf(addr(rng)), Dst: addrOf(addr(rng)), SrcPort: 9, Proto: 6}
	}
	from := netip.MustParseAddr("192.0.2.1")
	b.ResetTimer()
	for i := 0; i < b.N; i += 24 {
		at := i % (len(records) - 24)
		f.mark(records[at:at+24], from, 1_700_000_000_000)
	}
}
