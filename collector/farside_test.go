package collector

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flowhound/flowhound/federation/wire"
	"github.com/flowhound/flowhound/internal/flow"
)

// Within a slice the far half of a contact is told once for each set of
// directions, answer and service, and again in the next slice; near halves
// are all told. So both ends know the same topology, also where they are on
// different nodes.
func TestFarHalves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startRig(t, setup{workers: 2})
		time.Sleep(time.Duration(300_000-r.nowMS()%300_000) * time.Millisecond)
		rng := rand.New(rand.NewPCG(5, 6))
		const flushes, pairs = 45, 40
		sent := uint64(0)
		for range flushes {
			for range 25 {
				i := byte(rng.IntN(pairs))
				x := record{src: flowAddr(10, 0, 0, i), dst: flowAddr(10, 9, i, i), sport: 40000, dport: 443, flags: 2}
				if rng.IntN(4) == 0 {
					x.src, x.dst, x.sport, x.dport, x.flags = x.dst, x.src, x.dport, x.sport, 0x12
				}
				if rng.IntN(8) == 0 {
					x.sport, x.dport = 53, 53
				}
				r.sources[rng.IntN(2)].feed(r.v5("127.0.0.1", x))
				sent++
			}
			time.Sleep(r.cfg.Flush)
		}
		r.stop()
		got := r.log.read(t)
		if n := flows(paired(t, got.contacts)); n != sent {
			t.Errorf("%d flows in near halves, want %d", n, sent)
		}
		near, far := make(map[topology]int), make(map[topology]int)
		halves := uint64(0)
		for _, c := range got.contacts {
			halves++
			if c.Local.Compare(c.Remote) < 0 {
				near[topologyOf(c)]++
			} else {
				far[topologyOf(c.Flip())]++
			}
		}
		repeated := 0
		for x, n := range near {
			repeated += n - 1
			if far[x] == 0 {
				t.Errorf("slice %d, bits %b: told to the near host only", x.slice, x.bits)
			}
			// Two workers may tell the same in one flush.
			if far[x] > 2 {
				t.Errorf("slice %d, bits %b: told %d times to the far host", x.slice, x.bits, far[x])
			}
		}
		if len(far) != len(near) || repeated == 0 {
			t.Errorf("%d kinds of far halves, %d of near ones, %d repetitions", len(far), len(near), repeated)
		}
		withheld := r.metric("withheld_contacts_total")
		if committed := r.metric("committed_contacts_total"); committed != float64(halves) || withheld == 0 || committed+withheld != 2*r.metric("contacts_total") {
			t.Errorf("%v halves committed and %v withheld, want %d and the rest of %v contacts", committed, withheld, halves, r.metric("contacts_total"))
		}
		r.conserved()
	})
}

// Nothing is withheld on the ground of a flush that was not committed.
func TestFarHalvesNeedTheCommit(t *testing.T) {
	c := flow.Contact{Local: flow.Host{Shard: 9, Pseudonym: flow.Pseudonym{7}}, Remote: flow.Host{Shard: 3}, Slice: 7, Bits: flow.BitOut}
	f := newFarFilter(minFarFilter)
	defer f.close()
	contacts := []flow.Contact{c}
	for range 2 {
		if _, n := f.choose(contacts); n != 0 {
			t.Fatal("withheld before the commit")
		}
	}
	f.committed()
	g := func(want int, change func(*flow.Contact)) {
		t.Helper()
		x := c
		change(&x)
		if _, n := f.choose([]flow.Contact{x}); n != want {
			t.Errorf("%+v: %d withheld, want %d", x, n, want)
		}
	}
	g(1, func(*flow.Contact) {})
	g(1, func(x *flow.Contact) { *x = x.Flip() })
	g(1, func(x *flow.Contact) { x.Out.Flows, x.FirstMS = 9, 9 })
	g(0, func(x *flow.Contact) { x.Bits = flow.BitIn })
	g(0, func(x *flow.Contact) { x.Bits |= flow.BitAnswered })
	g(0, func(x *flow.Contact) { x.Slice++ })
	g(0, func(x *flow.Contact) { x.Port = 80 })
	g(0, func(x *flow.Contact) { x.Proto = 17 })
	g(0, func(x *flow.Contact) { x.Local.Pseudonym[0] = 1 })
}

// A large window is asked for as a whole only while half of what it tells was
// told before; from then on a sample watches for that.
func TestFarHalvesJudge(t *testing.T) {
	const contacts, repeat = 4 * farSmall, true
	rng := rand.New(rand.NewPCG(7, 8))
	window := make([]flow.Contact, contacts)
	f := newFarFilter(minFarFilter)
	defer f.close()
	g := func(windows int, same bool, low, high int) {
		t.Helper()
		n := 0
		for range windows {
			for i := range window {
				if !same {
					window[i].Local, window[i].Remote = hostOf(rng), hostOf(rng)
				}
			}
			_, n = f.choose(window)
			f.committed()
		}
		if n < low || n > high {
			t.Errorf("%d of %d withheld after %d windows, the same %v: want %d to %d", n, contacts, windows, same, low, high)
		}
	}
	few, many := contacts/32, contacts/8 // around a sixteenth
	g(1, !repeat, 0, 0)
	g(1, repeat, few, many)
	g(100, repeat, contacts, contacts)
	g(100, !repeat, 0, 0)
	g(1, repeat, few, many)
}

// BenchmarkFarHalves tells what the filter costs and saves, up to the encoded
// batches, by the share of a window's contacts that were told in the slice
// before: without it, where it always asks, and where it judges for itself.
func BenchmarkFarHalves(b *testing.B) {
	const contacts = 100_000
	f := func(name string, far *farFilter, recurring int) {
		b.Run(fmt.Sprintf("%s/recurring=%d%%", name, recurring), func(b *testing.B) {
			defer far.close()
			rng := rand.New(rand.NewPCG(1, 2))
			window := make([]flow.Contact, contacts)
			for i := range window {
				window[i] = flow.Contact{Local: hostOf(rng), Remote: hostOf(rng), Bits: flow.BitOut, FirstMS: 1_700_000_000_000, LastMS: 1_700_000_001_000,
					Out: flow.Counters{Flows: 2, Packets: 20, Bytes: 9000}, Port: 443, Proto: 6}
			}
			size, halves, took := 0, 0, time.Duration(0)
			var deal batcher
			var arena []byte
			for range b.N {
				for i := range window {
					if i%100 >= recurring {
						window[i].Local, window[i].Remote = hostOf(rng), hostOf(rng)
					}
				}
				begin := cpu(b)
				withheld, _ := far.choose(window)
				err := deal.deal(window, withheld, func(s flow.Shard, batch []half) error {
					arena = deal.encode(arena[:0], wire.Header{Collector: "pop-1", Shard: s}, wire.OriginOf(window), window, batch)
					size += len(arena)
					halves += len(batch)
					return nil
				})
				if err != nil {
					b.Fatal(err)
				}
				far.committed()
				took += cpu(b) - begin
			}
			n := float64(b.N) * contacts
			b.ReportMetric(float64(took.Nanoseconds())/n, "cpu-ns/contact")
			b.ReportMetric(float64(size)/n, "B/contact")
			b.ReportMetric(float64(halves)/n, "halves/contact")
		})
	}
	for _, recurring := range []int{0, 30, 60, 90} {
		f("off", newFarFilter(0), recurring)
		always := newFarFilter(minFarFilter)
		always.found, always.looked = 1e18, 1e18
		f("always", always, recurring)
		f("judging", newFarFilter(minFarFilter), recurring)
	}
}

func hostOf(rng *rand.Rand) (h flow.Host) {
	binary.LittleEndian.PutUint64(h.Pseudonym[:], rng.Uint64())
	binary.LittleEndian.PutUint64(h.Pseudonym[8:], rng.Uint64())
	h.Shard = flow.Shard(rng.Uint32())
	return h
}
