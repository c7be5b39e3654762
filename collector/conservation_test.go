package collector

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flowhound/flowhound/collector/listen"
	"github.com/flowhound/flowhound/internal/flow"
	"github.com/flowhound/flowhound/testbench/exporter"
)

// mixedPackets returns datagrams of several exporters and protocols in a
// hostile order: whole, cut, flipped, without their templates, of strangers,
// with records that are no contacts, twice by two routers.
func mixedPackets(t *testing.T, rng *rand.Rand, nowMS int64) (packets []listen.Packet) {
	t.Helper()
	hosts := []string{"0.0.0.0", "127.0.0.1", "169.254.1.1", "224.0.0.5", "255.255.255.255", "10.66.0.1"}
	for i := range 20 {
		hosts = append(hosts, flowAddr(10, 0, 0, byte(i)))
	}
	for k, p := range append(exporter.Protocols, exporter.IPFIX) {
		silent := k == len(exporter.Protocols) // never tells its template
		every := 1 + rng.IntN(9)
		if silent {
			every = 1 << 30
		}
		e, err := exporter.New(exporter.Config{Protocol: p, PerPacket: 1 + rng.IntN(20), BootMS: nowMS - 1e7, TemplateEvery: every, Sampling: uint32(1 + rng.IntN(3))})
		if err != nil {
			t.Fatal(err)
		}
		from := netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(k)}), 9)
		emit := func(pkt []byte) error {
			data := slices.Clone(pkt)
			if silent {
				silent = false
				return nil
			}
			switch rng.IntN(12) {
			case 0:
				data = data[:rng.IntN(len(data)+1)]
			case 1:
				data[rng.IntN(len(data))] ^= 1 << rng.IntN(8)
			case 2:
				return nil
			case 3:
				from := netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, 100, byte(rng.IntN(9))}), 9)
				packets = append(packets, listen.Packet{From: from, Data: slices.Grow(slices.Clone(data), listen.Slack)})
			}
			packets = append(packets, listen.Packet{From: from, Data: slices.Grow(data, listen.Slack)})
			return nil
		}
		for range 150 {
			r := flow.Record{Src: addrOf(hosts[rng.IntN(len(hosts))]), Dst: addrOf(hosts[rng.IntN(len(hosts))]), SrcPort: uint16(rng.IntN(3)), DstPort: 443,
				Proto: 6, Packets: 6, Bytes: 600, EndMS: nowMS - rng.Int64N(400_000), Direction: uint8(rng.IntN(2)), Sampling: 1}
			r.StartMS = r.EndMS - 10
			if err := e.Add(&r, nowMS, emit); err != nil {
				t.Fatal(err)
			}
		}
		if err := e.Flush(nowMS, emit); err != nil {
			t.Fatal(err)
		}
	}
	rng.Shuffle(len(packets), func(i, j int) { packets[i], packets[j] = packets[j], packets[i] })
	return packets
}

// Nothing vanishes: over the whole path, whatever arrives, every datagram, set,
// record and half of a contact is in exactly one place, at any time and in the
// end, with every reason to drop at work: strangers, bad packets, missing
// templates, rivals, filtered hosts, an exporter's limit, a log that is away
// for longer than the queue lasts.
func TestConservation(t *testing.T) {
	reasons := map[string]float64{}
	for seed := range uint64(24) {
		synctest.Test(t, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 9))
			r := startRig(t, setup{workers: 2, config: func(c *Config) {
				c.Exporters = []Exporter{{Name: "routers", From: []Prefix{{netip.MustParsePrefix("192.0.2.0/24")}}}}
				c.Ignore = []Prefix{{netip.MustParsePrefix("10.66.0.0/16")}}
				c.NewContacts, c.Queue, c.Contacts = 60, 100, 256
				c.Dedup.Mode = []string{dedupOff, dedupIngress, dedupFirstCome}[seed%3]
			}})
			for round := range 8 {
				if round == 3 {
					r.log.setFault(func(int, string) fault { return refuses })
				}
				if round == 6 {
					r.log.setFault(nil)
				}
				for batch := range slices.Chunk(mixedPackets(t, rng, r.nowMS()), 40) {
					for i := range r.sources { // an exporter belongs to one worker
						own := slices.Clone(batch)
						own = slices.DeleteFunc(own, func(p listen.Packet) bool { return int(p.From.Addr().As4()[3])%2 != i })
						r.sources[i].feed(own...)
					}
				}
				time.Sleep(r.cfg.Flush + time.Second)
			}
			r.stop()
			r.conserved()
			paired(t, r.log.read(t).contacts)
			for _, m := range []string{"datagrams_dropped_total", "decode_drops_total", "records_filtered_total", "dropped_records_total",
				"dropped_contacts_total", "withheld_contacts_total", "records_unweighted_total", "template_contests_total", "records_late_total"} {
				reasons[m] += r.metric(m)
			}
			for _, why := range []string{"exporter", "too_short", "no_template", "ignored", "multicast", "new_contacts"} {
				for _, m := range []string{"datagrams_dropped_total", "decode_drops_total", "records_filtered_total"} {
					reasons[why] += r.labelled(m, why)
				}
			}
		})
	}
	for why, n := range reasons {
		if n == 0 {
			t.Errorf("%s never happened: the test does not test it", why)
		}
	}
}

// labelled returns a metric's value for a label, 0 where it has no such label.
func (r *rig) labelled(name, label string) float64 {
	families, err := r.registry.Gather()
	if err != nil {
		r.t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "flowhound_collector_"+name && hasLabel(m, label) {
				return m.GetCounter().GetValue()
			}
		}
	}
	return 0
}
