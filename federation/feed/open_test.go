package feed

import (
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
)

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
