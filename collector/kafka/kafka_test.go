package kafka

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const topic = "flow-messages"

// broker is franz-go's broker in process, which speaks Kafka's protocol over
// loopback.
type broker struct {
	*kfake.Cluster
	t      *testing.T
	client *kgo.Client
	sent   int
}

func newBroker(t *testing.T, opts ...kfake.Opt) *broker {
	t.Helper()
	cluster, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1), kfake.SeedTopics(3, topic)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	return &broker{Cluster: cluster, t: t}
}

func (b *broker) connect(opts ...kgo.Opt) *broker {
	b.t.Helper()
	var err error
	if b.client, err = kgo.NewClient(append(opts, kgo.SeedBrokers(b.ListenAddrs()...), kgo.DefaultProduceTopic(topic),
		kgo.RecordPartitioner(kgo.RoundRobinPartitioner()))...); err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(b.client.Close)
	return b
}

// send writes n messages, numbered on by their packets.
func (b *broker) send(n int) {
	b.t.Helper()
	var records []*kgo.Record
	for range n {
		pb := full()
		b.sent++
		pb.Packets = uint64(b.sent)
		records = append(records, &kgo.Record{Value: delimited(b.t, pb)})
	}
	b.write(records...)
}

func (b *broker) write(records ...*kgo.Record) {
	b.t.Helper()
	if err := b.client.ProduceSync(context.Background(), records...).FirstErr(); err != nil {
		b.t.Fatal(err)
	}
}

func (b *broker) config() Config {
	return Config{Brokers: b.ListenAddrs(), Topic: topic, Group: "flowhound", Beginning: true, Logger: slog.New(slog.DiscardHandler)}
}

// reader collects what a consumer reads.
type reader struct {
	*Consumer
	t   *testing.T
	end func()

	mu   sync.Mutex     // guards all below
	seen map[uint64]int // times by number
	last *Position
}

func start(t *testing.T, cfg Config) *reader {
	t.Helper()
	c, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	r := &reader{Consumer: c, t: t, seen: make(map[uint64]int)}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := c.Receive(ctx, r.take); err != nil {
			t.Error(err)
		}
	})
	r.end = sync.OnceFunc(func() { cancel(); running.Wait(); c.Close() })
	t.Cleanup(r.end)
	return r
}

func (r *reader) take(b Batch) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range b.Messages {
		r.seen[m.Record.Packets]++
	}
	r.last = b.Position
}

func (r *reader) position() *Position {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.last
}

// count returns how many of the numbers from..to were seen, and how often.
func (r *reader) count(from, to int) (distinct, times int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := from; i <= to; i++ {
		if n := r.seen[uint64(i)]; n > 0 {
			distinct++
			times += n
		}
	}
	return distinct, times
}

func (r *reader) eventually(what string, f func() bool) {
	r.t.Helper()
	for range 3000 {
		if f() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	r.t.Fatalf("never: %s; %+v", what, r.Stats())
}

// all waits until the numbers from..to were seen.
func (r *reader) all(from, to int) {
	r.t.Helper()
	r.eventually(fmt.Sprintf("%d to %d", from, to), func() bool { n, _ := r.count(from, to); return n == to-from+1 })
}

// Offsets move only by Commit: what was read and not committed comes again,
// what was committed does not.
func TestAtLeastOnce(t *testing.T) {
	b := newBroker(t).connect()
	b.send(100)
	r := start(t, b.config())
	r.all(1, 100)
	r.end() // a crash before the log had anything

	r = start(t, b.config())
	r.all(1, 100)
	safe := r.position()
	b.send(50)
	r.all(101, 150)
	r.Commit(safe)
	r.end()

	r = start(t, b.config())
	b.send(1)
	r.all(101, 151)
	if n, _ := r.count(1, 100); n != 0 {
		t.Errorf("%d committed messages came again", n)
	}
	r.Commit(r.position())
	r.end()

	r = start(t, b.config())
	b.send(1)
	r.all(152, 152)
	if n, _ := r.count(1, 151); n != 0 {
		t.Errorf("%d committed messages came again", n)
	}
}

// After a Rewind everything behind the last commit comes again, and positions
// from before it move nothing.
func TestRewind(t *testing.T) {
	b := newBroker(t).connect()
	b.send(30)
	r := start(t, b.config())
	r.all(1, 30)
	r.Commit(r.position())
	b.send(30)
	r.all(31, 60)
	lost := r.position()
	r.Rewind()
	r.Commit(lost)
	r.eventually("31 to 60 again", func() bool { _, n := r.count(31, 60); return n == 60 })
	if _, n := r.count(1, 30); n != 30 {
		t.Errorf("committed messages came %d times", n)
	}
	if s := r.Stats(); s.Rewinds != 1 {
		t.Errorf("%+v", s)
	}
	r.Commit(r.position())
	r.end()
	r = start(t, b.config())
	b.send(1)
	r.all(61, 61)
	if n, _ := r.count(1, 60); n != 0 {
		t.Errorf("%d committed messages came again", n)
	}
}

// Two members share the partitions; when one leaves, the other has all, and
// nothing is skipped.
func TestTwoMembers(t *testing.T) {
	b := newBroker(t).connect()
	first := start(t, b.config())
	b.send(30)
	first.all(1, 30)
	first.Commit(first.position())
	second := start(t, b.config())
	second.eventually("a partition for the second", func() bool {
		b.send(30)
		time.Sleep(100 * time.Millisecond)
		n, _ := second.count(1, b.sent)
		return n > 0
	})
	first.end() // without a commit since
	b.send(30)
	sent := b.sent
	second.eventually("all, from one or the other", func() bool {
		first.mu.Lock()
		defer first.mu.Unlock()
		second.mu.Lock()
		defer second.mu.Unlock()
		for i := 31; i <= sent; i++ {
			if second.seen[uint64(i)] == 0 {
				return false // the first one's were not committed
			}
		}
		return true
	})
}

// Bad messages are counted and passed over; they end up behind the position
// like all others.
func TestBadMessages(t *testing.T) {
	b := newBroker(t).connect()
	broken, wide := full(), full()
	broken.SrcAddr, wide.DstPort = []byte{1, 2, 3}, 1<<20
	for range 10 {
		b.send(1)
		b.write(&kgo.Record{Value: []byte("not protobuf")}, &kgo.Record{Value: nil},
			&kgo.Record{Value: delimited(t, broken)}, &kgo.Record{Value: delimited(t, wide)})
	}
	r := start(t, b.config())
	r.all(1, 10)
	r.eventually("all bad ones", func() bool {
		s := r.Stats()
		return s.Bad == [Faults]uint64{BadMessage: 20, BadAddress: 10, BadRange: 10} && s.Messages == 50 && s.Lag == 0
	})
	r.Commit(r.position())
	r.end()
	r = start(t, b.config())
	b.send(1)
	r.all(11, 11)
	if s := r.Stats(); s.Messages != 1 {
		t.Errorf("%d messages after the commit, want 1", s.Messages)
	}
}

// A new group begins at the end, unless it is told to begin at the beginning.
func TestNewGroup(t *testing.T) {
	b := newBroker(t).connect()
	b.send(10)
	cfg := b.config()
	cfg.Beginning = false
	r := start(t, cfg)
	r.eventually("a message", func() bool { b.send(1); time.Sleep(20 * time.Millisecond); return r.position() != nil })
	if n, _ := r.count(1, 10); n != 0 {
		t.Errorf("%d messages from before the group", n)
	}
}

// A client that the broker does not know, and one that it does.
func TestSASL(t *testing.T) {
	b := newBroker(t, kfake.EnableSASL(), kfake.Superuser("SCRAM-SHA-256", "flowhound", "geheim"), kfake.Superuser("PLAIN", "plain", "geheim"))
	password := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(password, []byte("geheim\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	mechanism, err := SASL{"scram-sha-256", "flowhound", password}.load()
	if err != nil {
		t.Fatal(err)
	}
	b.connect(kgo.SASL(mechanism)).send(5)
	for i, s := range []SASL{{"scram-sha-256", "flowhound", password}, {"plain", "plain", password}} {
		cfg := b.config()
		cfg.SASL, cfg.Group = s, fmt.Sprint("group", i)
		r := start(t, cfg)
		r.all(1, 5)
		r.end()
	}
	cfg := b.config()
	cfg.SASL = SASL{"plain", "stranger", password}
	r := start(t, cfg)
	time.Sleep(time.Second)
	if n, _ := r.count(1, 5); n != 0 {
		t.Errorf("a stranger read %d messages", n)
	}
}

// A broker that is away is waited for, without spinning.
func TestBrokerAway(t *testing.T) {
	cfg := Config{Brokers: []string{"127.0.0.1:1"}, Topic: topic, Group: "g", Logger: slog.New(slog.DiscardHandler)}
	r := start(t, cfg)
	time.Sleep(1500 * time.Millisecond)
	if s := r.Stats(); s.FetchErrors > 10 || s.Messages != 0 {
		t.Errorf("%+v", s)
	}
	begin := time.Now()
	r.end()
	if took := time.Since(begin); took > closeTime+2*time.Second {
		t.Errorf("closing took %v", took)
	}
}

func TestValidate(t *testing.T) {
	good := Config{Brokers: []string{"b:9092"}, Topic: "t", Group: "g"}
	f := func(change func(*Config)) {
		t.Helper()
		c := good
		change(&c)
		if err := c.Validate(); err == nil {
			t.Errorf("%+v is fine", c)
		}
	}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	f(func(c *Config) { c.Topic = "" })
	f(func(c *Config) { c.Group = "" })
	f(func(c *Config) { c.TLS.Key = "key.pem" })
	f(func(c *Config) { c.SASL.Mechanism = "gssapi" })
	f(func(c *Config) { c.SASL = SASL{Mechanism: "plain", User: "u"} })
}
