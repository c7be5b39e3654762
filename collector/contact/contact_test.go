package contact

import (
	"bytes"
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"net/netip"
	"testing"

	"pgregory.net/rapid"

	"github.com/flowhound/flowhound/internal/flow"
)

// plainHosts lets tests see the addresses that a drained contact is of.
type plainHosts struct{}

func (plainHosts) Name(h *flow.Host, a *flow.Addr) { *h = flow.Host{Pseudonym: flow.Pseudonym(*a)} }

type pairSlice struct {
	a, b  flow.Pseudonym
	slice flow.Slice
}

// twin is the definition of a contact with Go's own map, big numbers for the
// sums and no regard for speed.
type twin map[pairSlice]*twinContact

type twinContact struct {
	first, last  int64
	flows        [2]uint32
	sums         [2][2]*big.Int // packets and bytes by sender
	port         uint16
	proto, flags uint8
	answered     bool
}

func (w twin) add(r flow.Record, s flow.Slice) {
	k, from := pairSlice{flow.Pseudonym(r.Src), flow.Pseudonym(r.Dst), s}, 0
	if bytes.Compare(k.a[:], k.b[:]) > 0 {
		k.a, k.b, from = k.b, k.a, 1
	}
	c := w[k]
	if c == nil {
		c = &twinContact{first: r.StartMS, last: r.EndMS, port: min(r.SrcPort, r.DstPort), proto: r.Proto}
		for i := range c.sums {
			c.sums[i] = [2]*big.Int{new(big.Int), new(big.Int)}
		}
		w[k] = c
	}
	c.first, c.last = min(c.first, r.StartMS), max(c.last, r.EndMS)
	c.flows[from]++
	c.sums[from][0].Add(c.sums[from][0], new(big.Int).SetUint64(r.Packets))
	c.sums[from][1].Add(c.sums[from][1], new(big.Int).SetUint64(r.Bytes))
	c.flags |= r.TCPFlags
	if r.Proto == 6 && r.TCPFlags&0x10 != 0 && r.SrcPort < r.DstPort {
		c.answered = true
	}
}

func (c *twinContact) contact(k pairSlice) flow.Contact {
	sum := func(i int) flow.Counters {
		n := func(b *big.Int) uint64 {
			if !b.IsUint64() {
				return math.MaxUint64
			}
			return b.Uint64()
		}
		return flow.Counters{Flows: c.flows[i], Packets: n(c.sums[i][0]), Bytes: n(c.sums[i][1])}
	}
	f := flow.Contact{
		Local: flow.Host{Pseudonym: k.a}, Remote: flow.Host{Pseudonym: k.b}, Slice: k.slice,
		FirstMS: c.first, LastMS: c.last, Out: sum(0), In: sum(1), Port: c.port, Proto: c.proto, Flags: c.flags,
	}
	if c.flows[0] > 0 {
		f.Bits |= flow.BitOut
	}
	if c.flows[1] > 0 {
		f.Bits |= flow.BitIn
	}
	if c.answered || c.flows[0] > 0 && c.flows[1] > 0 {
		f.Bits |= flow.BitAnswered
	}
	return f
}

func (w twin) diff(got []flow.Contact) error {
	if len(got) != len(w) {
		return fmt.Errorf("%d contacts, want %d", len(got), len(w))
	}
	for _, c := range got {
		k := pairSlice{c.Local.Pseudonym, c.Remote.Pseudonym, c.Slice}
		if w[k] == nil {
			return fmt.Errorf("contact %v that was never added", k)
		}
		if want := w[k].contact(k); c != want {
			return fmt.Errorf("contact %v:\ngot  %+v\nwant %+v", k, c, want)
		}
	}
	return nil
}

func drawRecord(t *rapid.T) (flow.Record, flow.Slice) {
	addr := rapid.Custom(func(t *rapid.T) flow.Addr {
		n := rapid.ByteRange(0, 6).Draw(t, "host")
		if rapid.Bool().Draw(t, "v4") {
			return flow.AddrFrom(netip.AddrFrom4([4]byte{10, 0, 0, n}))
		}
		return flow.AddrFrom(netip.AddrFrom16([16]byte{0x20, 1, 7: n >> 1, 15: n & 1}))
	})
	start := rapid.Int64Range(1_700_000_000_000, 1_700_000_100_000).Draw(t, "start")
	return flow.Record{
		Src: addr.Draw(t, "src"), Dst: addr.Draw(t, "dst"),
		StartMS: start, EndMS: start + rapid.Int64Range(0, 1e6).Draw(t, "took"),
		Packets: rapid.Uint64().Draw(t, "packets"), Bytes: rapid.Uint64().Draw(t, "bytes"),
		SrcPort: rapid.Uint16Range(1, 3).Draw(t, "sport"), DstPort: rapid.Uint16Range(1, 3).Draw(t, "dport"),
		Proto:    rapid.SampledFrom([]uint8{6, 17}).Draw(t, "proto"),
		TCPFlags: rapid.Uint8().Draw(t, "flags"),
	}, flow.Slice(rapid.Uint32Range(5, 7).Draw(t, "slice"))
}

func TestTableEqualsItsTwin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		table := New(Config{Seed: [2]uint64{rapid.Uint64().Draw(t, "seed"), 7}})
		for range rapid.IntRange(1, 3).Draw(t, "windows") {
			want := make(twin)
			for range rapid.IntRange(0, 4).Draw(t, "calls") {
				var records []flow.Record
				var slices []flow.Slice
				for range rapid.IntRange(0, 70).Draw(t, "records") {
					r, s := drawRecord(t)
					records, slices = append(records, r), append(slices, s)
				}
				n := table.Add(records, slices)
				for i := range records[:n] {
					want.add(records[i], slices[i])
				}
			}
			if table.Len() != len(want) {
				t.Fatalf("Len: %d, want %d", table.Len(), len(want))
			}
			if err := want.diff(table.Drain(nil, plainHosts{})); err != nil {
				t.Fatal(err)
			}
			if table.Len() != 0 || table.Records() != 0 {
				t.Fatalf("after Drain: %d contacts of %d records", table.Len(), table.Records())
			}
		}
	})
}

// A table takes every record until an eighth of it is free, asks for the flush
// before that, and what it refuses it has not counted.
func TestFullTableTakesAPrefix(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		table := New(Config{IPv4: 1024, IPv6: 1024, Seed: [2]uint64{1, 2}})
		records, slices := traffic(2000, 1<<20, v6), make([]flow.Slice, 2000)
		want, added, asked := make(twin), 0, 0
		for added < len(records) {
			n := table.Add(records[added:min(added+7, len(records))], slices)
			for _, r := range records[added : added+n] {
				want.add(r, 0)
			}
			added += n
			if table.Full() && asked == 0 {
				asked = table.Len()
			}
			if n == 0 {
				break
			}
		}
		if asked < 768 || asked > 775 {
			t.Errorf("v6 %v: Full at %d of 1024 slots, want at 768", v6, asked)
		}
		if table.Len() < 1024/8*7-7 || table.Len() > 1024/8*7 {
			t.Errorf("v6 %v: stopped at %d of 1024 slots, want at 896", v6, table.Len())
		}
		if table.Records() != uint64(added) {
			t.Errorf("v6 %v: Records %d, want %d", v6, table.Records(), added)
		}
		if err := want.diff(table.Drain(nil, plainHosts{})); err != nil {
			t.Errorf("v6 %v: %v", v6, err)
		}
	}
}

// Hostile times far apart stay within 24 days of the first record's.
func TestTimesSaturate(t *testing.T) {
	table := New(Config{})
	a, b := flow.AddrFrom(netip.MustParseAddr("10.0.0.1")), flow.AddrFrom(netip.MustParseAddr("10.0.0.2"))
	table.Add([]flow.Record{
		{Src: a, Dst: b, StartMS: 1e12, EndMS: 1e12},
		{Src: a, Dst: b, StartMS: 0, EndMS: 1e15},
	}, []flow.Slice{1, 1})
	c := table.Drain(nil, plainHosts{})[0]
	if c.FirstMS != 1e12+math.MinInt32 || c.LastMS != 1e12+math.MaxInt32 {
		t.Errorf("first %d, last %d, want ±2³¹ ms around 10¹²", c.FirstMS, c.LastMS)
	}
}

// traffic returns n records between hosts whose popularity is a power law.
func traffic(n int, hosts uint64, v6 bool) []flow.Record {
	rng := rand.New(rand.NewPCG(1, 2))
	zipf := rand.NewZipf(rng, 1.2, 1, hosts-1)
	addr := func(h uint64) flow.Addr {
		a := [4]byte{byte(h >> 24), byte(h >> 16), byte(h >> 8), byte(h)}
		if v6 {
			return flow.AddrFrom(netip.AddrFrom16([16]byte{0x20, 1, 4: a[0], 5: a[1], 6: a[2], 7: a[3]}))
		}
		return flow.AddrFrom(netip.AddrFrom4(a))
	}
	records := make([]flow.Record, n)
	for i := range records {
		r := &records[i]
		r.Src, r.Dst = addr(1<<31|rng.Uint64N(hosts)), addr(zipf.Uint64())
		if rng.IntN(2) == 0 {
			r.Src, r.Dst = r.Dst, r.Src
		}
		r.Packets, r.Bytes, r.StartMS, r.EndMS = 3, 1000, 1e12, 1e12+int64(rng.IntN(1000))
		r.SrcPort, r.DstPort, r.Proto, r.TCPFlags = 40000, 443, 6, 0x1b
	}
	return records
}

func TestAddDoesNotAllocate(t *testing.T) {
	table := New(Config{})
	records, s := traffic(100, 50, false), make([]flow.Slice, 100)
	dst := make([]flow.Contact, 0, 256)
	n := testing.AllocsPerRun(50, func() {
		table.Add(records, s)
		dst = table.Drain(dst[:0], plainHosts{})
	})
	if n != 0 {
		t.Errorf("%v allocations per window, want 0", n)
	}
}

// BenchmarkAdd has the distinctness of notes/collector.md §2.4 (3 of 4 updates
// are new) and that of issue 3 (12 records per contact). As in a worker, the
// records themselves are in the cache.
func BenchmarkAdd(b *testing.B) {
	f := func(name string, n int, repeat int, v6 bool) {
		b.Run(name, func(b *testing.B) {
			table := New(Config{IPv4: 1 << 20, IPv6: 1 << 20, Seed: [2]uint64{3, 4}})
			distinct := traffic(n/repeat, 1<<22, v6)
			order := make([]uint32, n)
			for i := range order {
				order[i] = uint32(i % len(distinct))
			}
			rand.New(rand.NewPCG(5, 6)).Shuffle(n, func(i, j int) { order[i], order[j] = order[j], order[i] })
			pairs := make([][2]flow.Addr, n)
			for i, o := range order {
				pairs[i] = [2]flow.Addr{distinct[o].Src, distinct[o].Dst}
			}
			records, s := distinct[:768:768], make([]flow.Slice, 768)
			var dst []flow.Contact
			b.ReportAllocs()
			done := 0
			for b.Loop() {
				if done+len(records) > n {
					b.StopTimer()
					dst = table.Drain(dst[:0], plainHosts{})
					done = 0
					b.StartTimer()
				}
				for i := range records {
					records[i].Src, records[i].Dst = pairs[done+i][0], pairs[done+i][1]
				}
				table.Add(records, s)
				done += len(records)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(records)), "ns/record")
		})
	}
	f("v4/new", 700_000, 1, false)
	f("v4/12-per-contact", 6_000_000, 12, false)
	f("v6/12-per-contact", 1_200_000, 12, true)
}

func BenchmarkDrain(b *testing.B) {
	table := New(Config{IPv4: 1 << 19})
	records := traffic(500_000, 1<<22, false)
	s := make([]flow.Slice, len(records))
	var dst []flow.Contact
	n := 0
	for b.Loop() {
		b.StopTimer()
		table.Add(records, s)
		b.StartTimer()
		dst = table.Drain(dst[:0], plainHosts{})
		n += len(dst)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/contact")
}

// A record without weight tells who sent, when and how, and adds to no
// counter, whether it comes first or last.
func TestWithoutWeight(t *testing.T) {
	a, b := flow.AddrFrom(netip.MustParseAddr("10.0.0.1")), flow.AddrFrom(netip.MustParseAddr("10.0.0.2"))
	there := flow.Record{Src: a, Dst: b, SrcPort: 40000, DstPort: 80, Proto: 6, TCPFlags: 2, Packets: 3, Bytes: 300, StartMS: 1000, EndMS: 2000}
	back := flow.Record{Src: b, Dst: a, SrcPort: 80, DstPort: 40000, Proto: 6, TCPFlags: 0x12, Packets: 4, Bytes: 400, StartMS: 1500, EndMS: 2500, Direction: flow.Egress}
	for _, records := range [][]flow.Record{{there, back}, {back, there}} {
		table := New(Config{})
		table.Add(records, []flow.Slice{1, 1})
		got := table.Drain(nil, mirror{})
		if len(got) != 1 {
			t.Fatalf("%d contacts, want 1", len(got))
		}
		c := got[0]
		c.Local, c.Remote = flow.Host{}, flow.Host{}
		want := flow.Contact{Slice: 1, FirstMS: 1000, LastMS: 2500, Out: flow.Counters{Flows: 1, Packets: 3, Bytes: 300},
			Port: 80, Proto: 6, Flags: 0x12, Bits: flow.BitOut | flow.BitIn | flow.BitAnswered}
		if c != want {
			t.Errorf("got %+v, want %+v", c, want)
		}
	}
}

// mirror takes an address for its pseudonym.
type mirror struct{}

func (mirror) Name(h *flow.Host, a *flow.Addr) { *h = flow.Host{Pseudonym: flow.Pseudonym(*a)} }
