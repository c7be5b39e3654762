package collector

import (
	"bytes"
	"context"
	"encoding/binary"
	"log/slog"
	"net/netip"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/flowhound/flowhound/collector/decode"
	"github.com/flowhound/flowhound/collector/listen"
	"github.com/flowhound/flowhound/collector/pseudonym"
	"github.com/flowhound/flowhound/internal/flow"
)

// fakeSource is a Source that tests feed.
type fakeSource struct {
	batches chan []listen.Packet
	last    chan []listen.Packet // handled after Receive was asked to end, as what waits in a socket is
}

func (s fakeSource) Receive(ctx context.Context, handle func([]listen.Packet), _ func()) error {
	for {
		select {
		case b := <-s.batches:
			handle(b)
			s.batches <- nil
		case <-ctx.Done():
			time.Sleep(time.Second)
			select {
			case b := <-s.last:
				handle(b)
			default:
			}
			return nil
		}
	}
}

// feed returns once the packets are handled.
func (s fakeSource) feed(packets ...listen.Packet) {
	s.batches <- packets
	<-s.batches
}

type fakeInput []fakeSource

func (f fakeInput) Workers() int                { return len(f) }
func (f fakeInput) Source(i int) Source         { return f[i] }
func (f fakeInput) Stats() []listen.SocketStats { return nil }
func (f fakeInput) Close() error                { return nil }

// rig is a collector with its surroundings.
type rig struct {
	*Collector
	t        *testing.T
	log      *memLog
	registry *prometheus.Registry
	logs     *logBuffer
	sources  fakeInput
	clock    *atomic.Int64 // nanoseconds added to the bubble's clock
}

// logBuffer is a buffer that may be read while it is written.
type logBuffer struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// setup is what tests change before the start.
type setup struct {
	workers int
	log     *memLog
	keys    string // path of the key file
	config  func(*Config)
}

func newRig(t *testing.T, s setup) *rig {
	t.Helper()
	r := &rig{t: t, log: s.log, registry: prometheus.NewRegistry(), logs: new(logBuffer), clock: new(atomic.Int64)}
	if r.log == nil {
		r.log = newMemLog()
	}
	for range max(s.workers, 1) {
		r.sources = append(r.sources, fakeSource{make(chan []listen.Packet), make(chan []listen.Packet, 1)})
	}
	cfg := DefaultConfig()
	cfg.Name, cfg.Contacts, cfg.ContactsIPv6 = "pop-1", 1024, 256
	if cfg.Keys.File = s.keys; s.keys == "" {
		cfg.Keys.File = filepath.Join(t.TempDir(), "keys")
	}
	if s.config != nil {
		s.config(&cfg)
	}
	var err error
	r.Collector, err = New(cfg, Deps{Log: r.log, Registerer: r.registry, Input: r.sources,
		Logger: slog.New(slog.NewTextHandler(r.logs, nil)),
		Now:    func() time.Time { return time.Now().Add(time.Duration(r.clock.Load())) }})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func startRig(t *testing.T, s setup) *rig {
	t.Helper()
	r := newRig(t, s)
	if err := r.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return r
}

// stop stops the collector and fails on errors.
func (r *rig) stop() {
	r.t.Helper()
	if err := r.Stop(context.Background()); err != nil {
		r.t.Fatal(err)
	}
}

// kill ends the collector's goroutines as kill -9 would: nothing more is
// written.
func (r *rig) kill() {
	r.log.setFault(func(int, string) fault { return refuses })
	r.stopPublishing()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = r.Stop(ctx)
}

func (r *rig) nowMS() int64 { return r.deps.Now().UnixMilli() }

// metric returns the sum of a metric over all its labels.
func (r *rig) metric(name string, label ...string) (sum float64) {
	r.t.Helper()
	families, err := r.registry.Gather()
	if err != nil {
		r.t.Fatal(err)
	}
	found := false
	for _, f := range families {
		if f.GetName() != "flowhound_collector_"+name {
			continue
		}
		for _, m := range f.GetMetric() {
			if len(label) == 0 || hasLabel(m, label[0]) {
				found = true
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	if !found {
		r.t.Fatalf("no metric %s%v", name, label)
	}
	return sum
}

func hasLabel(m *dto.Metric, value string) bool {
	for _, l := range m.GetLabel() {
		if l.GetValue() == value {
			return true
		}
	}
	return false
}

// conserved checks the laws that metrics promise, once everything is at rest.
func (r *rig) conserved() {
	r.t.Helper()
	f := func(sum string, parts ...string) {
		r.t.Helper()
		total := 0.0
		for _, p := range parts {
			total += r.metric(p)
		}
		if got := r.metric(sum); got != total {
			r.t.Errorf("%s %v is not the sum %v of %v", sum, got, total, parts)
		}
	}
	f("datagrams_total", "datagrams_decoded_total", "datagrams_dropped_total")
	f("records_total", "records_filtered_total", "contact_records_total")
	f("contact_records_total", "committed_records_total", "dropped_records_total", "table_records")
	halves := r.metric("committed_contacts_total") + r.metric("withheld_contacts_total") +
		2*r.metric("dropped_contacts_total") + 2*r.metric("queue_contacts")
	if got := 2 * r.metric("contacts_total"); got != halves {
		r.t.Errorf("%v halves of contacts, of which %v are told, withheld, dropped or waiting", got, halves)
	}
	for i, w := range r.workers {
		s := w.decoder.Stats()
		if s.DataSets != s.DecodedSets+s.Drops[decode.NoTemplate]+s.HeldSets ||
			s.DataRecords+s.FlowSamples+s.Reversed != s.Records+s.Drops[decode.NoAddress] {
			r.t.Errorf("worker %d: sets or records of the decoder do not add up: %+v", i, s)
		}
	}
}

// record is a flow record for v5.
type record struct {
	src, dst     string
	sport, dport uint16
	start, end   time.Duration // relative to now
	packets      uint32
	bytes        uint32
	flags        uint8
}

// v5 encodes records as one NetFlow v5 datagram (Cisco's format document:
// header 24 bytes, record 48).
func (r *rig) v5(from string, records ...record) listen.Packet {
	r.t.Helper()
	const uptime = 40 * 24 * time.Hour
	now := r.deps.Now()
	b := binary.BigEndian.AppendUint16(nil, 5)
	b = binary.BigEndian.AppendUint16(b, uint16(len(records)))
	b = binary.BigEndian.AppendUint32(b, uint32(uptime.Milliseconds()))
	b = binary.BigEndian.AppendUint32(b, uint32(now.Unix()))
	b = binary.BigEndian.AppendUint32(b, uint32(now.Nanosecond()))
	b = append(b, make([]byte, 8)...) // sequence, engine, sampling
	for _, x := range records {
		src, dst := netip.MustParseAddr(x.src).As4(), netip.MustParseAddr(x.dst).As4()
		b = append(append(b, src[:]...), dst[:]...)
		b = append(b, make([]byte, 8)...) // next hop, interfaces
		b = binary.BigEndian.AppendUint32(b, max(x.packets, 1))
		b = binary.BigEndian.AppendUint32(b, max(x.bytes, 1))
		b = binary.BigEndian.AppendUint32(b, uint32((uptime + x.start).Milliseconds()))
		b = binary.BigEndian.AppendUint32(b, uint32((uptime + x.end).Milliseconds()))
		b = binary.BigEndian.AppendUint16(b, x.sport)
		b = binary.BigEndian.AppendUint16(b, x.dport)
		b = append(b, 0, x.flags, 6)
		b = append(b, make([]byte, 9)...)
	}
	data := make([]byte, len(b), len(b)+listen.Slack)
	copy(data, b)
	return listen.Packet{From: netip.AddrPortFrom(netip.MustParseAddr(from), 9999), Data: data}
}

// permuterOf returns the permuter that the collector uses.
func (r *rig) permuterOf() *pseudonym.Permuter {
	r.t.Helper()
	k, err := pseudonym.ReadKeyFile(r.cfg.Keys.File)
	if err != nil {
		r.t.Fatal(err)
	}
	p, err := k.Permuter(k.Newest())
	if err != nil {
		r.t.Fatal(err)
	}
	return p
}

// host returns the host of an address.
func (r *rig) host(addr string) flow.Host {
	return r.permuterOf().Host(flow.AddrFrom(netip.MustParseAddr(addr)))
}

// flows sums the flows of pairs.
func flows(pairs []flow.Contact) (n uint64) {
	for _, c := range pairs {
		n += uint64(c.Out.Flows) + uint64(c.In.Flows)
	}
	return n
}

func flowAddr(a, b, c, d byte) string { return netip.AddrFrom4([4]byte{a, b, c, d}).String() }
