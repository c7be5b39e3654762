package collector

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/flowhound/flowhound/collector/listen"
	"github.com/flowhound/flowhound/internal/flow"
	"github.com/flowhound/flowhound/testbench/exporter"
)

// discard is a Log that keeps nothing.
type discard struct{ seq uint64 }

func (*discard) Publish(flow.Shard, string, []byte) error { return nil }
func (*discard) Sync(context.Context) error               { return nil }
func (d *discard) AppendControl(context.Context, string, uint64, []byte) (uint64, error) {
	d.seq++
	return d.seq, nil
}
func (*discard) LastControl(context.Context, string) (uint64, []byte, error) { return 0, nil, nil }

// benchContacts is the number of contacts per window, 12 records each: issue
// 3's mix, at a quarter of a million records per 100 ms of one core.
const benchContacts = 200_000

// benchPackets encodes every record of a window, in random order.
func benchPackets(b *testing.B, p exporter.Protocol, perPacket int, nowMS int64) (packets []listen.Packet, records int) {
	b.Helper()
	rng := rand.New(rand.NewPCG(1, 2))
	e, err := exporter.New(exporter.Config{Protocol: p, PerPacket: perPacket, MTU: 1500, BootMS: nowMS - 1e8, TemplateEvery: 1 << 30})
	if err != nil {
		b.Fatal(err)
	}
	emit := func(pkt []byte) error {
		data := make([]byte, len(pkt), len(pkt)+listen.Slack)
		copy(data, pkt)
		packets = append(packets, listen.Packet{From: netip.MustParseAddrPort("192.0.2.1:9999"), Data: data})
		return nil
	}
	order := make([]uint32, 12*benchContacts)
	for i := range order {
		order[i] = uint32(i % benchContacts)
	}
	rng.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	for _, o := range order {
		r := flow.Record{
			Src:     flow.AddrFrom(netip.AddrFrom4([4]byte{10, byte(o % 7919 >> 8), byte(o % 7919), 1})),
			Dst:     flow.AddrFrom(netip.AddrFrom4([4]byte{100, byte(o >> 16), byte(o >> 8), byte(o)})),
			Packets: 10, Bytes: 5000, StartMS: nowMS - 5000, EndMS: nowMS - int64(rng.IntN(5000)),
			SrcPort: 40000, DstPort: 443, Proto: 6, TCPFlags: 0x1b, Sampling: 1, Version: 9,
		}
		if rng.IntN(2) == 0 {
			r.Src, r.Dst, r.SrcPort, r.DstPort = r.Dst, r.Src, r.DstPort, r.SrcPort
		}
		if err := e.Add(&r, nowMS, emit); err != nil {
			b.Fatal(err)
		}
	}
	if err := e.Flush(nowMS, emit); err != nil {
		b.Fatal(err)
	}
	return packets, len(order)
}

// cpu returns the process's CPU time.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkToLog is everything after the socket: decode, contacts, pseudonyms
// and encoded batches, on one core's CPU time.
func BenchmarkToLog(b *testing.B) {
	f := func(name string, p exporter.Protocol, perPacket int, toLog bool) {
		b.Run(name, func(b *testing.B) {
			now := time.Now()
			packets, records := benchPackets(b, p, perPacket, now.UnixMilli())
			cfg := DefaultConfig()
			cfg.Keys.File = filepath.Join(b.TempDir(), "keys")
			cfg.NewContacts = 1 << 30 // the clock stands
			c, err := New(cfg, Deps{Log: &discard{}, Registerer: prometheus.NewRegistry(), Logger: slog.New(slog.DiscardHandler),
				Now: func() time.Time { return now }, Input: fakeInput{{make(chan []listen.Packet), nil}}})
			if err != nil {
				b.Fatal(err)
			}
			if err := c.Start(b.Context()); err != nil {
				b.Fatal(err)
			}
			if err := c.Stop(b.Context()); err != nil { // its goroutines; the parts go on
				b.Fatal(err)
			}
			b.ReportAllocs()
			b.ResetTimer()
			begin := cpu(b)
			for range b.N {
				for at := 0; at < len(packets); at += listen.BatchSize {
					c.workers[0].handle(packets[at:min(at+listen.BatchSize, len(packets))])
				}
				w := c.collect(0, now.UnixMilli())
				if w.records != uint64(records) || len(w.contacts) != benchContacts {
					b.Fatalf("window of %d records in %d contacts, want %d in %d", w.records, len(w.contacts), records, benchContacts)
				}
				if toLog {
					if err := c.publisher.window(b.Context(), w); err != nil {
						b.Fatal(err)
					}
				}
				c.release(w)
			}
			took := cpu(b) - begin
			n := float64(b.N) * float64(records)
			b.ReportMetric(n/took.Seconds()/1e6, "Mrecords/cpu-s")
			b.ReportMetric(float64(took.Nanoseconds())/n, "cpu-ns/record")
		})
	}
	f("v9/24-per-packet", exporter.NetFlow9, 24, true)
	f("v9/24-per-packet/no-publish", exporter.NetFlow9, 24, false)
	f("ipfix/24-per-packet", exporter.IPFIX, 24, true)
	f("v5/24-per-packet", exporter.NetFlow5, 24, true)
	f("v9/5-per-packet", exporter.NetFlow9, 5, true)
}
