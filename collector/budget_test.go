package collector

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flowhound/flowhound/collector/contact"
	"github.com/flowhound/flowhound/collector/listen"
	"github.com/flowhound/flowhound/internal/flow"
)

// An exporter that begins more contacts than it may loses those, counted; its
// known contacts and other exporters go on, and the next flush's time gives it
// a new budget.
func TestNewContactsBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startRig(t, setup{config: func(c *Config) {
			c.NewContacts = 100
			c.Exporters = []Exporter{
				{Name: "forged", From: []Prefix{{netip.MustParsePrefix("192.0.2.1/32")}}, NewContacts: 10},
				{Name: "honest", From: []Prefix{{netip.MustParsePrefix("192.0.2.2/32")}}},
			}
		}})
		packet := func(from string, net byte, pairs ...byte) listen.Packet {
			var records []record
			for _, i := range pairs {
				records = append(records, record{src: flowAddr(10, net, 0, i), dst: flowAddr(10, net, 1, i)})
			}
			return r.v5(from, records...)
		}
		many := func(first, n byte) (pairs []byte) {
			for i := range n {
				pairs = append(pairs, first+i)
			}
			return pairs
		}
		r.sources[0].feed(packet("192.0.2.1", 1, many(0, 25)...), packet("192.0.2.2", 2, many(0, 30)...), // 15 too many
			packet("192.0.2.1", 1, many(5, 10)...), // 5 known, 5 not
			packet("192.0.2.2", 2, many(20, 30)...))
		f := func(contacts, dropped float64) {
			t.Helper()
			synctest.Wait()
			if got, drops := r.metric("contacts_total"), r.metric("records_filtered_total", "new_contacts"); got != contacts || drops != dropped {
				t.Errorf("%v contacts and %v records dropped, want %v and %v", got, drops, contacts, dropped)
			}
			r.conserved()
		}
		time.Sleep(r.cfg.Flush + time.Second)
		f(10+50, 20)
		if got := flows(paired(t, r.log.read(t).contacts)); got != 10+5+60 {
			t.Errorf("%d flows, want 75", got)
		}
		r.sources[0].feed(packet("192.0.2.1", 1, many(100, 12)...))
		time.Sleep(r.cfg.Flush)
		f(10+50+10, 22)
		r.stop()
	})
}

// Whatever the mix of exporters, budgets and early flushes: no exporter begins
// more contacts than it may, and no record is unaccounted for. The reference
// is a map.
func TestNewContactsAgainstMap(t *testing.T) {
	for seed := range uint64(30) {
		synctest.Test(t, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 3))
			limit := 20 + rng.IntN(60)
			r := startRig(t, setup{config: func(c *Config) { c.NewContacts = limit; c.FarFilter = 0 }})
			left := map[byte]int{}
			known := map[[2]string]bool{}
			kept, dropped := uint64(0), 0
			for range 40 {
				var batch []listen.Packet
				for range 1 + rng.IntN(6) {
					from := byte(rng.IntN(3))
					if _, ok := left[from]; !ok {
						left[from] = limit
					}
					var records []record
					for range 1 + rng.IntN(9) {
						x := record{src: flowAddr(10, 0, 0, byte(rng.IntN(12))), dst: flowAddr(10, 1, 0, byte(rng.IntN(12)))}
						records = append(records, x)
						switch pair := [2]string{x.src, x.dst}; {
						case known[pair]:
							kept++
						case left[from] > 0:
							left[from]--
							known[pair] = true
							kept++
						default:
							dropped++
						}
					}
					batch = append(batch, r.v5(flowAddr(192, 0, 2, from), records...))
				}
				r.sources[0].feed(batch...)
			}
			r.stop()
			if got := r.metric("records_filtered_total", "new_contacts"); got != float64(dropped) || r.metric("contacts_total") != float64(len(known)) {
				t.Errorf("seed %d: %v dropped and %v contacts, want %d and %d", seed, got, r.metric("contacts_total"), dropped, len(known))
			}
			if got := flows(paired(t, r.log.read(t).contacts)); got != kept {
				t.Errorf("seed %d: %d flows, want %d", seed, got, kept)
			}
			r.conserved()
		})
	}
}

// Addresses without end share one budget, in bounded space.
func TestBudgetOfManyAddresses(t *testing.T) {
	r := newRig(t, setup{})
	b := budget{access: &r.access, general: 50, everyMS: 1000}
	b.covers(nil, 0, 1)
	for i := range 10_000 {
		from := netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})
		b.of(from)
		b.charge([]run{{from: from, end: 1}}, 0, []int32{0})
	}
	if len(b.left) > 4097 || b.of(netip.MustParseAddr("10.9.9.9")) > 0 {
		t.Errorf("%d budgets, %d left to a newcomer, want 4097 at most and nothing", len(b.left), b.of(netip.MustParseAddr("10.9.9.9")))
	}
}

// AddKnown never begins a contact.
func TestAddKnown(t *testing.T) {
	table := contact.New(contact.Config{})
	x := []flow.Record{{Src: addrOf("10.0.0.1"), Dst: addrOf("10.0.0.2")}}
	six := []flow.Record{{Src: addrOf("2001:db8::1"), Dst: addrOf("2001:db8::2")}}
	one, two := []flow.Slice{1}, []flow.Slice{2}
	if table.AddKnown(x, one) || table.AddKnown(six, one) || table.Len() != 0 {
		t.Error("an unknown contact was added")
	}
	table.Add(x, one)
	table.Add(six, one)
	if !table.AddKnown(x, one) || !table.AddKnown(six, one) || table.AddKnown(x, two) || table.Len() != 2 || table.Records() != 4 {
		t.Errorf("%d contacts of %d records, want 2 of 4", table.Len(), table.Records())
	}
}
