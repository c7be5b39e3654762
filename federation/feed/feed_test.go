package feed

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"github.com/flowhound/flowhound/internal/flow"
)

func TestMain(m *testing.M) {
	if role := os.Getenv(childRole); role != "" {
		os.Exit(child(role))
	}
	os.Exit(m.Run())
}

// limit is the context of a test that must not hang.
func limit(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func quiet() Deps { return Deps{Logger: slog.New(slog.DiscardHandler)} }

// testConfig is DefaultConfig in a directory of the test.
func testConfig(dir string) Config {
	c := DefaultConfig()
	c.Dir = dir
	return c
}

func open(t testing.TB, c Config) *Log {
	t.Helper()
	l, err := Open(limit(t), c, quiet())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func publish(t testing.TB, l *Log, shard flow.Shard, id, payload string) {
	t.Helper()
	if err := l.Publish(shard, id, []byte(payload)); err != nil {
		t.Fatal(err)
	}
}

func syncLog(t testing.TB, l *Log) {
	t.Helper()
	if err := l.Sync(limit(t)); err != nil {
		t.Fatal(err)
	}
}

func shut(t testing.TB, l *Log) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// lines reads n messages of a contact stream from message from on, each as
// "seq/shard/payload".
func lines(t testing.TB, l *Log, stream int, shards []flow.Shard, from uint64, n int) string {
	t.Helper()
	r, err := l.Batches(limit(t), stream, shards, from)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var got []string
	for range n {
		seq, shard, payload, err := r.Next(limit(t))
		if err != nil {
			t.Fatalf("after %q: %v", got, err)
		}
		got = append(got, fmt.Sprintf("%d/%d/%s", seq, shard, payload))
	}
	short, cancel := context.WithTimeout(context.Background(), 30*time.Millisecond)
	defer cancel()
	if seq, _, _, err := r.Next(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("after the last message: got message %d, error %v", seq, err)
	}
	return strings.Join(got, " ")
}

func want(t testing.TB, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %q, want %q", what, got, want)
	}
}

func TestPublishAndRead(t *testing.T) {
	dir := t.TempDir()
	l := open(t, testConfig(dir))
	publish(t, l, 0, "a.1.0.1", "one")
	publish(t, l, 8, "a.1.8.1", "two")
	publish(t, l, 1, "a.1.1.1", "other stream")
	publish(t, l, 0, "a.1.0.1", "one again")
	publish(t, l, 255, "a.1.255.1", "last")
	syncLog(t, l)
	publish(t, l, 0, "a.1.0.2", "three")
	syncLog(t, l)

	want(t, "stream 0", lines(t, l, 0, nil, 1, 3), "1/0/one 2/8/two 3/0/three")
	want(t, "from the middle", lines(t, l, 0, nil, 2, 2), "2/8/two 3/0/three")
	want(t, "from the oldest", lines(t, l, 0, nil, 0, 3), "1/0/one 2/8/two 3/0/three")
	want(t, "from the end", lines(t, l, 0, nil, 4, 0), "")
	want(t, "shard 0 only", lines(t, l, 0, []flow.Shard{0, 16}, 1, 2), "1/0/one 3/0/three")
	want(t, "stream 7", lines(t, l, 7, nil, 1, 1), "1/255/last")

	shut(t, l)
	l = open(t, testConfig(dir))
	publish(t, l, 0, "a.1.0.2", "three again")
	publish(t, l, 0, "a.2.0.1", "four")
	syncLog(t, l)
	want(t, "after a restart", lines(t, l, 0, nil, 2, 3), "2/8/two 3/0/three 4/0/four")
}

// A reader that waits gets what is published later, and goes on across a
// lost consumer.
func TestReaderFollows(t *testing.T) {
	l := open(t, testConfig(t.TempDir()))
	r, err := l.Batches(limit(t), 3, nil, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for i := range 40 {
		if i%10 == 5 {
			s, err := l.js.Stream(limit(t), contactStream(3))
			if err != nil {
				t.Fatal(err)
			}
			if err := s.DeleteConsumer(limit(t), r.consumer.CachedInfo().Name); err != nil {
				t.Fatal(err)
			}
		}
		go func() {
			time.Sleep(5 * time.Millisecond)
			_ = l.Publish(3, fmt.Sprint(i), fmt.Append(nil, i))
		}()
		seq, shard, payload, err := r.Next(limit(t))
		if err != nil || seq != uint64(i+1) || shard != 3 || string(payload) != fmt.Sprint(i) {
			t.Fatalf("message %d: got %d, shard %d, %q, error %v", i, seq, shard, payload, err)
		}
	}
	if testutil.ToFloat64(l.metrics.restarts.WithLabelValues("CONTACTS_3")) < 4 {
		t.Error("the reader did not notice that its consumer was gone")
	}
}

func TestControl(t *testing.T) {
	ctx := limit(t)
	dir := t.TempDir()
	l := open(t, testConfig(dir))
	if seq, b, err := l.LastControl(ctx, "commit.a"); seq != 0 || b != nil || err != nil {
		t.Fatalf("last of nothing: got %d, %q, %v", seq, b, err)
	}
	add := func(key string, last uint64, payload string, wantSeq uint64) {
		t.Helper()
		seq, err := l.AppendControl(ctx, key, last, []byte(payload))
		if wantSeq == 0 {
			if !errors.Is(err, ErrConflict) {
				t.Errorf("append %s after %d: got %d, %v, want a conflict", key, last, seq, err)
			}
			return
		}
		if err != nil || seq != wantSeq {
			t.Errorf("append %s after %d: got %d, %v, want %d", key, last, seq, err, wantSeq)
		}
	}
	add("commit.a", 0, "a1", 1)
	add("commit.b", 0, "b1", 2)
	add("commit.a", 0, "a again", 0)
	add("commit.a", 1, "a2", 3)
	add("commit.a", 1, "a3", 0)
	add("commit.a", 2, "a3", 0)
	add("close", 0, "c1", 4)
	shut(t, l)
	l = open(t, testConfig(dir))
	add("commit.a", 1, "a3", 0)
	add("commit.a", 3, "a3", 5)
	if seq, b, err := l.LastControl(ctx, "commit.a"); seq != 5 || string(b) != "a3" || err != nil {
		t.Errorf("last of a: got %d, %q, %v", seq, b, err)
	}
	r, err := l.Control(ctx, 2)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for _, w := range []string{"2 commit.b b1", "3 commit.a a2", "4 close c1", "5 commit.a a3"} {
		seq, key, payload, err := r.Next(ctx)
		if err != nil {
			t.Fatal(err)
		}
		want(t, "control", fmt.Sprintf("%d %s %s", seq, key, payload), w)
	}
	for _, bad := range []string{"", "a..b", "a b", "a.*", ">", "A", "commit."} {
		if _, err := l.AppendControl(ctx, bad, 0, nil); err == nil || errors.Is(err, ErrConflict) {
			t.Errorf("append under key %q: got %v", bad, err)
		}
	}
}

// The answer to an append may be lost; the second try must know its own
// message from another's.
func TestAppendControlInDoubt(t *testing.T) {
	ctx := limit(t)
	l := open(t, testConfig(t.TempDir()))
	if _, err := l.AppendControl(ctx, "close", 0, []byte("x")); err != nil {
		t.Fatal(err)
	}
	m, err := l.lastControl(ctx, "close")
	if err != nil {
		t.Fatal(err)
	}
	if seq, err := l.ownAppend(ctx, "close", m.Header.Get("Nats-Msg-Id")); seq != 1 || err != nil {
		t.Errorf("own message: got %d, %v", seq, err)
	}
	if _, err := l.ownAppend(ctx, "close", "another"); !errors.Is(err, ErrConflict) {
		t.Errorf("another's message: got %v, want a conflict", err)
	}
}

func TestGap(t *testing.T) {
	ctx := limit(t)
	l := open(t, testConfig(t.TempDir()))
	for i := range 10 {
		publish(t, l, 2, fmt.Sprint(i), strings.Repeat("x", 1000))
	}
	syncLog(t, l)
	behind, err := l.Batches(ctx, 2, nil, 3)
	if err != nil {
		t.Fatal(err)
	}
	defer behind.Close()

	// What dropping by size does, without a gibibyte of messages.
	s, err := l.js.Stream(ctx, contactStream(2))
	if err != nil {
		t.Fatal(err)
	}
	cfg := s.CachedInfo().Config
	cfg.MaxMsgs = 4
	if _, err := l.js.UpdateStream(ctx, cfg); err != nil {
		t.Fatal(err)
	}
	isGap := func(err error, want GapError) {
		t.Helper()
		var gap *GapError
		if !errors.As(err, &gap) || *gap != want {
			t.Errorf("got %v, want %v", err, &want)
		}
	}
	next := func(r *BatchReader, want uint64) {
		t.Helper()
		if seq, _, _, err := r.Next(ctx); seq != want || err != nil {
			t.Errorf("next: got %d, %v, want %d", seq, err, want)
		}
	}
	batches := func(from uint64) *BatchReader {
		r, err := l.Batches(ctx, 2, nil, from)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(r.Close)
		return r
	}
	_, _, _, err = behind.Next(ctx)
	isGap(err, GapError{"CONTACTS_2", 3, 7, 7})
	next(behind, 7)
	next(behind, 8)
	_, _, _, err = batches(6).Next(ctx)
	isGap(err, GapError{"CONTACTS_2", 6, 7, 10})
	next(batches(7), 7)
	next(batches(0), 7)
	var skipped error
	skipping := batches(1)
	skipping.OnGap(func(gap *GapError) { skipped = gap })
	next(skipping, 7)
	isGap(skipped, GapError{"CONTACTS_2", 1, 7, 10})
	if first, last, err := l.BatchBounds(ctx, 2); first != 7 || last != 10 || err != nil {
		t.Errorf("bounds: got %d to %d, %v, want 7 to 10", first, last, err)
	}
	if first, last, err := l.ControlBounds(ctx); first != 1 || last != 0 || err != nil {
		t.Errorf("bounds of an empty stream: got %d to %d, %v, want 1 to 0", first, last, err)
	}
	batches(11)
	_, err = l.Batches(ctx, 2, nil, 12)
	isGap(err, GapError{"CONTACTS_2", 12, 0, 10})
}

// Damage may cost messages inside a stream; the reader says which and goes on.
func TestHole(t *testing.T) {
	ctx := limit(t)
	l := open(t, testConfig(t.TempDir()))
	const name = "CONTACTS_0"
	if err := l.js.DeleteStream(ctx, name); err != nil {
		t.Fatal(err)
	}
	c := l.streamConfigs()[1]
	c.DenyDelete = false
	s, err := l.js.CreateStream(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		publish(t, l, 0, fmt.Sprint(i), "x")
	}
	syncLog(t, l)
	for _, seq := range []uint64{3, 4} {
		if err := s.DeleteMsg(ctx, seq); err != nil {
			t.Fatal(err)
		}
	}
	r, err := l.Batches(ctx, 0, nil, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var got []string
	for range 4 {
		seq, _, _, err := r.Next(ctx)
		got = append(got, fmt.Sprint(seq, err))
	}
	want(t, "around the hole", strings.Join(got, ", "),
		"1 <nil>, 2 <nil>, 0 log stream CONTACTS_0: messages 3 to 4 are gone, 5 <nil>")
}

func TestCloseWhileReading(t *testing.T) {
	l := open(t, testConfig(t.TempDir()))
	r, err := l.Control(limit(t), 0)
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan error)
	go func() {
		_, _, _, err := r.Next(context.Background())
		got <- err
	}()
	time.Sleep(20 * time.Millisecond)
	r.Close()
	r.Close()
	if err := <-got; !errors.Is(err, ErrClosed) {
		t.Errorf("next: got %v, want %v", err, ErrClosed)
	}
}

func TestOpenErrors(t *testing.T) {
	f := func(what string, c Config, wantErr string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
		defer cancel()
		l, err := Open(ctx, c, quiet())
		if err == nil {
			_ = l.Close()
			t.Fatalf("%s: no error", what)
		}
		if !strings.Contains(err.Error(), wantErr) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: got %q, want one line with %q", what, err, wantErr)
		}
	}
	dir := t.TempDir()
	l := open(t, testConfig(dir))
	f("second process", testConfig(dir), fmt.Sprintf("state directory %s is used by another process (pid %d)", dir, os.Getpid()))
	if err := l.Health(limit(t)); err != nil {
		t.Errorf("health beside a refused second process: %v", err)
	}

	port, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer port.Close()
	c := testConfig(t.TempDir())
	c.Listen = port.Addr().String()
	f("busy port", c, "log: listen on "+c.Listen+": address already in use")
	c.Listen = ""
	shut(t, open(t, c)) // the directory was given up again

	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	f("file as directory", testConfig(filepath.Join(file, "state")), "state directory "+file+"/state: not a directory")
	f("read-only directory", testConfig("/proc/flowhound"), "state directory /proc/flowhound: ")
	clustered := t.TempDir()
	if err := os.MkdirAll(filepath.Join(clustered, "log"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(clustered, "log", "mode"), []byte("cluster x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f("a clustered store", testConfig(clustered), `the log is of mode "cluster x", not standalone`)
	blocked := t.TempDir()
	if err := os.MkdirAll(filepath.Join(blocked, "log"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(blocked, "log", "jetstream"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	f("a file where JetStream wants a directory", testConfig(blocked), "log: embedded server in "+blocked)

	remote := DefaultConfig()
	remote.URL = "nats://user:secret@127.0.0.1:1"
	f("no server", remote, "log nats://user:xxxxx@127.0.0.1:1: ")

	for _, change := range []func(*Config){
		func(c *Config) { c.Dir = "" },
		func(c *Config) { c.URL, c.Listen = "nats://x", "127.0.0.1:0" },
		func(c *Config) { c.MaxBytes = 5 },
		func(c *Config) { c.MaxAge = time.Second },
		func(c *Config) { c.Replicas = 3 },
		func(c *Config) { c.Replicas = 0 },
		func(c *Config) { c.Listen = "4222" },
	} {
		c := testConfig(t.TempDir())
		change(&c)
		f(fmt.Sprintf("%+v", c), c, "log: ")
	}
}

func TestClose(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	c := testConfig(t.TempDir())
	c.Listen = "127.0.0.1:0"
	l := open(t, c)
	control, err := l.Control(limit(t), 0)
	if err != nil {
		t.Fatal(err)
	}
	batches, err := l.Batches(limit(t), 0, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	waiting := make(chan error)
	go func() {
		_, _, _, err := batches.Next(context.Background())
		waiting <- err
	}()
	time.Sleep(20 * time.Millisecond)
	publish(t, l, 1, "unsynced", "x")
	shut(t, l)
	shut(t, l)
	if err := <-waiting; !errors.Is(err, ErrClosed) {
		t.Errorf("reader waiting at close: got %v, want %v", err, ErrClosed)
	}
	if _, _, _, err := control.Next(limit(t)); !errors.Is(err, ErrClosed) {
		t.Errorf("reader after close: got %v, want %v", err, ErrClosed)
	}
	if err := l.Publish(0, "late", nil); !errors.Is(err, ErrClosed) {
		t.Errorf("publish after close: got %v, want %v", err, ErrClosed)
	}
	if err := l.Sync(limit(t)); !errors.Is(err, ErrClosed) {
		t.Errorf("sync after close: got %v, want %v", err, ErrClosed)
	}
	if _, err := l.AppendControl(limit(t), "close", 0, nil); err == nil {
		t.Error("append after close: no error")
	}
	if err := l.Health(limit(t)); !errors.Is(err, ErrClosed) {
		t.Errorf("health after close: got %v, want %v", err, ErrClosed)
	}
	control.Close()
	batches.Close()

	c.Listen = ""
	l = open(t, c)
	want(t, "published before close", lines(t, l, 1, nil, 1, 1), "1/1/x")
	shut(t, l)
}

func TestPublishTooLarge(t *testing.T) {
	l := open(t, testConfig(t.TempDir()))
	if err := l.Publish(0, "a.1.0.1", make([]byte, l.MaxPayload()+1)); err == nil || !strings.Contains(err.Error(), "a.1.0.1") {
		t.Errorf("too large: got %v", err)
	}
	sizes := []int{l.MaxPayload(), 1, l.MaxPayload(), fetchBytes, l.MaxPayload(), 0}
	for i, n := range sizes {
		if err := l.Publish(0, fmt.Sprint(i), make([]byte, n)); err != nil {
			t.Error(err)
		}
	}
	syncLog(t, l)
	r, err := l.Batches(limit(t), 0, nil, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	begin := time.Now()
	for i, n := range sizes {
		if _, _, b, err := r.Next(limit(t)); len(b) != n || err != nil {
			t.Errorf("message %d: got %d bytes, %v, want %d", i, len(b), err, n)
		}
	}
	if took := time.Since(begin); took > fetchTime/2 {
		t.Errorf("reading took %v: a fetch waited for its end", took)
	}
	if n := testutil.ToFloat64(l.metrics.restarts.WithLabelValues("CONTACTS_0")); n != 0 {
		t.Errorf("%v consumers were made anew for large messages", n)
	}
}

// More than the bound may be published in a row: Publish waits.
func TestPublishBounded(t *testing.T) {
	l := open(t, testConfig(t.TempDir()))
	payload := bytes.Repeat([]byte("x"), 1<<20)
	most := 0
	for i := range 3 * maxFlyingBytes / len(payload) {
		if err := l.Publish(flow.Shard(i), fmt.Sprint(i), payload); err != nil {
			t.Fatal(err)
		}
		most = max(most, l.pub.bytes)
	}
	syncLog(t, l)
	if most > maxFlyingBytes || l.pub.bytes != 0 {
		t.Errorf("on the way: at most %d bytes, want %d; %d after sync, want 0", most, maxFlyingBytes, l.pub.bytes)
	}
	states, err := l.State(limit(t))
	if err != nil {
		t.Fatal(err)
	}
	var messages uint64
	for _, s := range states {
		messages += s.Messages
	}
	if want := uint64(3 * maxFlyingBytes / len(payload)); messages != want {
		t.Errorf("stored: got %d messages, want %d", messages, want)
	}
}

func TestMetrics(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	l, err := Open(limit(t), testConfig(t.TempDir()), Deps{Registerer: reg, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	publish(t, l, 4, "a", "hello")
	syncLog(t, l)
	_, _ = l.AppendControl(limit(t), "close", 7, nil)
	const wantText = `
# HELP flowhound_log_conflicts_total Control messages refused because another process wrote under the same key.
# TYPE flowhound_log_conflicts_total counter
flowhound_log_conflicts_total 1
# HELP flowhound_log_published_bytes_total Payload bytes of the batches handed to the log, repeats not counted.
# TYPE flowhound_log_published_bytes_total counter
flowhound_log_published_bytes_total 5
# HELP flowhound_log_up Whether the log answered the last scrape, 1 or 0.
# TYPE flowhound_log_up gauge
flowhound_log_up 1
`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(wantText),
		"flowhound_log_conflicts_total", "flowhound_log_published_bytes_total", "flowhound_log_up"); err != nil {
		t.Error(err)
	}
	if n, err := testutil.GatherAndCount(reg, "flowhound_log_last_sequence", "flowhound_log_stored_bytes",
		"flowhound_log_reader_restarts_total"); n != 27 || err != nil {
		t.Errorf("series per stream: got %d, %v, want 27", n, err)
	}
	problems, err := testutil.GatherAndLint(reg)
	if err != nil || len(problems) > 0 {
		t.Errorf("lint: %v, %v", problems, err)
	}
	shut(t, l)
	if n, err := testutil.GatherAndCount(reg); n != 0 || err != nil {
		t.Errorf("after close: got %d series, %v, want none", n, err)
	}
}

// The server's own messages name clients by address; none may pass.
func TestScrub(t *testing.T) {
	f := func(text, wantText string) {
		t.Helper()
		want(t, text, scrub(text), wantText)
	}
	f("192.0.2.7:4222 - cid:5 - closed", "[address]:4222 - cid:5 - closed")
	f("dial tcp [2001:db8::1]:4222: refused", "dial tcp [address]:4222: refused")
	f("route fe80::1%eth0 gone", "route [address] gone")
	f("from ::ffff:192.0.2.7 to ::1", "from [address] to [address]")
	f("Starting nats-server", "Starting nats-server")
}
