package collector

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/flowhound/flowhound/collector/listen"
	"github.com/flowhound/flowhound/collector/pseudonym"
	"github.com/flowhound/flowhound/federation/wire"
	"github.com/flowhound/flowhound/internal/flow"
)

// memLog is a Log in memory. As in life, a batch is stored some time between
// its Publish and the end of the next Sync; payloads are read only then, so
// that a caller who changes one too early is found out.
type memLog struct {
	mu      sync.Mutex // guards all below
	pending []stored
	batches []stored
	ids     map[string]bool
	control []stored // sequence number = index + 1
	ops     int
	// fault decides what happens to the n-th operation, n = 1, 2, …
	fault func(n int, op string) fault
}

type stored struct {
	key     string // message id or control key
	shard   flow.Shard
	payload []byte
}

// fault is how an operation fails.
type fault int

const (
	works      fault = iota
	refuses          // nothing happens, the caller gets an error
	unanswered       // it happens, the caller gets an error
)

var errFault = errors.New("injected fault")

func newMemLog() *memLog { return &memLog{ids: make(map[string]bool)} }

// begin counts an operation; mu is held.
func (l *memLog) begin(op string) fault {
	l.ops++
	if l.fault == nil {
		return works
	}
	return l.fault(l.ops, op)
}

func (f fault) err() error {
	if f == works {
		return nil
	}
	return errFault
}

func (l *memLog) Publish(shard flow.Shard, id string, payload []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.begin("publish")
	if f != refuses {
		l.pending = append(l.pending, stored{id, shard, payload})
	}
	return f.err()
}

func (l *memLog) Sync(context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.begin("sync")
	if f != refuses {
		l.settle(func() bool { return true })
	}
	return f.err()
}

// settle stores those pending batches that arrives says; mu is held.
func (l *memLog) settle(arrives func() bool) {
	for _, b := range l.pending {
		if !l.ids[b.key] && arrives() {
			l.ids[b.key] = true
			b.payload = bytes.Clone(b.payload)
			l.batches = append(l.batches, b)
		}
	}
	l.pending = nil
}

// crash is what the end of the writing process does to batches on their way.
func (l *memLog) crash(rng *rand.Rand) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.settle(func() bool { return rng.IntN(2) == 0 })
	l.fault = nil
}

func (l *memLog) AppendControl(_ context.Context, key string, last uint64, payload []byte) (uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.begin("append")
	if f == refuses {
		return 0, errFault
	}
	if seq, _ := l.last(key); seq != last {
		return 0, fmt.Errorf("last sequence of %s is %d, not %d", key, seq, last)
	}
	l.control = append(l.control, stored{key: key, payload: bytes.Clone(payload)})
	return uint64(len(l.control)), f.err()
}

func (l *memLog) LastControl(_ context.Context, key string) (uint64, []byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if f := l.begin("last"); f != works {
		return 0, nil, errFault
	}
	seq, payload := l.last(key)
	return seq, payload, nil
}

func (l *memLog) last(key string) (uint64, []byte) {
	for i := len(l.control) - 1; i >= 0; i-- {
		if l.control[i].key == key {
			return uint64(i + 1), l.control[i].payload
		}
	}
	return 0, nil
}

// operations returns how many there were since setFault.
func (l *memLog) operations() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ops
}

func (l *memLog) setFault(f func(n int, op string) fault) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ops, l.fault = 0, f
}

// reading is what a reader of the log makes of it.
type reading struct {
	commits  []wire.Commit
	seeds    []wire.Seeds
	contacts []flow.Contact // covered by commits, both halves
}

// read follows the rules for readers: the control stream in order, a batch
// counts when a commit of its incarnation covers it, and every batch that is
// covered must be there.
func (l *memLog) read(t *testing.T) (r reading) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	byID := make(map[string][]byte)
	for _, b := range l.batches {
		byID[b.key] = b.payload
	}
	var last wire.Commit
	for _, m := range l.control {
		c, err := wire.ReadControl(m.payload)
		if err != nil {
			t.Fatal(err)
		}
		commit, ok := c.(wire.Commit)
		if !ok {
			r.seeds = append(r.seeds, c.(wire.Seeds))
			continue
		}
		if commit.Incarnation != last.Incarnation {
			if commit.Incarnation < last.Incarnation || commit.Flush != 1 || commit.Last != [256]uint64{} {
				t.Fatalf("after incarnation %d flush %d: incarnation %d begins with flush %d", last.Incarnation, last.Flush, commit.Incarnation, commit.Flush)
			}
			last.Last = [256]uint64{}
		} else if commit.Flush != last.Flush+1 {
			t.Fatalf("incarnation %d: flush %d after %d", commit.Incarnation, commit.Flush, last.Flush)
		}
		contacts := covered(t, byID, last, commit)
		if uint64(len(contacts)) != commit.Contacts {
			t.Fatalf("flush %d covers %d contacts, says %d", commit.Flush, len(contacts), commit.Contacts)
		}
		for _, c := range contacts {
			if c.Slice <= last.Ended {
				t.Fatalf("flush %d brings slice %d after %d had ended", commit.Flush, c.Slice, last.Ended)
			}
		}
		if commit.Ended < last.Ended {
			t.Fatalf("flush %d: ended slice went back from %d to %d", commit.Flush, last.Ended, commit.Ended)
		}
		r.contacts = append(r.contacts, contacts...)
		r.commits = append(r.commits, commit)
		last = commit
	}
	return r
}

func covered(t *testing.T, byID map[string][]byte, last, c wire.Commit) (contacts []flow.Contact) {
	t.Helper()
	for s := range c.Last {
		for seq := last.Last[s] + 1; seq <= c.Last[s]; seq++ {
			id := wire.Header{Collector: c.Collector, Incarnation: c.Incarnation, Shard: flow.Shard(s), Seq: seq}.ID()
			h, batch, err := wire.ReadBatch(byID[id], nil)
			if err != nil {
				t.Fatalf("batch %s, covered by flush %d: %v", id, c.Flush, err)
			}
			if h.ID() != id {
				t.Fatalf("batch %s says it is %s", id, h.ID())
			}
			contacts = append(contacts, batch...)
		}
	}
	return contacts
}

// paired fails unless every half has its other half, and returns one of each
// pair: that of the lower host.
func paired(t *testing.T, contacts []flow.Contact) (pairs []flow.Contact) {
	t.Helper()
	balance := make(map[flow.Contact]int)
	for _, c := range contacts {
		if c.Local.Compare(c.Remote) < 0 {
			balance[c]++
			pairs = append(pairs, c)
		} else {
			balance[c.Flip()]--
		}
	}
	for c, n := range balance {
		if n != 0 {
			t.Fatalf("contact %v – %v: %+d halves more of the one than of the other", c.Local.Pseudonym, c.Remote.Pseudonym, n)
		}
	}
	return pairs
}

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
