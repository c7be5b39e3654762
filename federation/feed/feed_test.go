package feed

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

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
