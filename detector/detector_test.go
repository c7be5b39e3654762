package detector

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/flowhound/flowhound/federation/wire"
	"github.com/flowhound/flowhound/internal/flow"
)

// Wherever a detector is killed, its successor over the same log and directory
// ends with the scores of one that was never disturbed, to the last bit.
func TestKilledAnywhereSameScores(t *testing.T) {
	full := scenario(12)
	want := map[int]string{}
	undisturbed := func(control int) string {
		if want[control] == "" {
			d := boot(t, full.prefix(control), t.TempDir(), testConfig())
			settled(t, d)
			want[control] = scores(t, d)
			stop(t, d)
		}
		return want[control]
	}
	first := 0
	for i, m := range full.control {
		if m.key == wire.CloseKey {
			first = i + 1
			break
		}
	}
	dir := t.TempDir()
	for control := 1; control <= len(full.control); control++ {
		d := boot(t, full.prefix(control), dir, testConfig())
		settled(t, d)
		switch compared := control%5 == 0 || control == len(full.control); {
		case control >= first && compared:
			if got := scores(t, d); got != undisturbed(control) {
				t.Fatalf("killed after each of %d control messages: got other scores\n%.300s\nwant\n%.300s", control, got, undisturbed(control))
			}
		case control < first && d.epoch.Load() != nil:
			t.Fatal("an epoch before the first close")
		}
		stop(t, d)
	}
	if !strings.HasPrefix(undisturbed(len(full.control)), "1011\n") {
		t.Errorf("last slice: got %.20s, want 1011", undisturbed(len(full.control)))
	}
	if n := strings.Count(undisturbed(len(full.control)), "\n"); n < 250 {
		t.Errorf("only %d hosts have scores", n)
	}
}

// A kill while the log is being read, at moments of chance, changes nothing.
func TestKilledAtAnyMomentSameScores(t *testing.T) {
	full := scenario(12)
	d := boot(t, full.prefix(len(full.control)), t.TempDir(), testConfig())
	settled(t, d)
	want := scores(t, d)
	dir := t.TempDir()
	for i := range 15 {
		d := boot(t, full.prefix(len(full.control)), dir, testConfig())
		time.Sleep(time.Duration(i*i) * 200 * time.Microsecond)
		stop(t, d)
	}
	d = boot(t, full.prefix(len(full.control)), dir, testConfig())
	settled(t, d)
	if got := scores(t, d); got != want {
		t.Errorf("got other scores\n%.300s\nwant\n%.300s", got, want)
	}
}

// newestSnapshot returns the path of the newest snapshot in dir.
func newestSnapshot(t *testing.T, dir string) string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "snapshots", "*.snapshot"))
	if err != nil || len(names) == 0 {
		t.Fatalf("no snapshot in %s: %v", dir, err)
	}
	return names[len(names)-1]
}

// Any changed or missing byte of a snapshot is refused in one line that names
// the file and the remedy, and changes nothing; the remedy works.
func TestCorruptSnapshot(t *testing.T) {
	full := scenario(6)
	dir := t.TempDir()
	d := boot(t, full, dir, testConfig())
	settled(t, d)
	want := scores(t, d)
	wait(t, "a snapshot", func() bool { return d.snapshots.written.Load() > 0 })
	stop(t, d)
	path := newestSnapshot(t, dir)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	refused := func(what string, b []byte) {
		t.Helper()
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		d, err := tryBoot(t, full, dir, testConfig(), frozen)
		if err == nil {
			stop(t, d)
			t.Fatalf("%s: the snapshot was accepted", what)
		}
		if text := err.Error(); !strings.Contains(text, path) || !strings.Contains(text, "--rebuild") || strings.Contains(text, "\n") {
			t.Fatalf("%s: got error %q, want one line with the file and --rebuild", what, text)
		}
		if after, err := os.ReadFile(path); err != nil || !bytes.Equal(after, b) {
			t.Fatalf("%s: the refused snapshot was changed (%v)", what, err)
		}
	}
	step := max(1, len(whole)/150)
	for i := 0; i < len(whole); i += step {
		b := bytes.Clone(whole)
		b[i] ^= 0x10
		refused("byte flipped", b)
		refused("cut", whole[:i])
	}
	refused("one byte more", append(bytes.Clone(whole), 0))

	cfg := testConfig()
	cfg.Rebuild = true
	d = boot(t, full, dir, cfg)
	settled(t, d)
	if got := scores(t, d); got != want {
		t.Errorf("rebuilt: got other scores")
	}
	if _, err := os.Stat(path + ".unusable"); err != nil {
		t.Errorf("the corrupt snapshot was not kept aside: %v", err)
	}
	stop(t, d)
	d = boot(t, full, dir, testConfig())
	settled(t, d)
	if got := scores(t, d); got != want {
		t.Errorf("after the rebuild: got other scores")
	}
}

// A log that does not reach back to the state leaves an incomplete window,
// says so, and is whole again a window later.
func TestLogCutOff(t *testing.T) {
	full := scenario(6)
	full.dropped = 9
	d := bootClosing(t, full, t.TempDir(), testConfig())
	settled(t, d)
	if !d.status.Load().WindowIncomplete {
		t.Error("the window counts as complete")
	}
	c := newFakeCollector(full, "pop-z")
	c.flush(firstSlice+20, [][2]uint32{{1, 2}}, firstSlice+20)
	wait(t, "the window to be complete", func() bool { return !d.status.Load().WindowIncomplete })
}

// Another slice length, or a log that is not the one of the snapshot, is
// refused.
func TestForeignState(t *testing.T) {
	full := scenario(6)
	dir := t.TempDir()
	d := boot(t, full, dir, testConfig())
	settled(t, d)
	wait(t, "a snapshot", func() bool { return d.snapshots.written.Load() > 0 })
	stop(t, d)
	if _, err := tryBoot(t, newMemLog(), dir, testConfig(), frozen); err == nil || !strings.Contains(err.Error(), "after the end of the log") {
		t.Errorf("an empty log: got %v", err)
	}
	short := full.prefix(len(full.control))
	short.batches[3] = short.batches[3][:2]
	if _, err := tryBoot(t, short, dir, testConfig(), frozen); err == nil || !strings.Contains(err.Error(), "contacts3") {
		t.Errorf("a log without its batches: got %v", err)
	}
	cfg := testConfig()
	cfg.Slice = 2 * time.Second
	if _, err := tryBoot(t, full, dir, cfg, frozen); err == nil || !strings.Contains(err.Error(), "slices of 1000 ms") {
		t.Errorf("another slice length: got %v", err)
	}
}

// Two detectors that both want to close slices leave one Close per slice in
// the log and agree on every score.
func TestTwoDetectorsRaceOnClose(t *testing.T) {
	l := newMemLog()
	one, two := bootClosing(t, l, t.TempDir(), testConfig()), bootClosing(t, l, t.TempDir(), testConfig())
	a, b := newFakeCollector(l, "pop-a"), newFakeCollector(l, "pop-b")
	for i := range uint32(10) {
		s := firstSlice + flow.Slice(i)
		links := [][2]uint32{{i, i + 1}, {i + 1, i + 2}, {9, i}}
		a.flush(s, links[:2], s)
		b.flush(s, links[2:], s)
		wait(t, "the slice to be ranked", func() bool {
			x, y := one.epoch.Load(), two.epoch.Load()
			return x != nil && y != nil && x.slice == s && y.slice == s
		})
		if x, y := scores(t, one), scores(t, two); x != y {
			t.Fatalf("slice %d: the scores differ:\n%s\n%s", s, x, y)
		}
	}
	closes := map[flow.Slice]int{}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, m := range l.control {
		if c, err := wire.ReadControl(m.payload); err == nil && m.key == wire.CloseKey {
			closes[c.(wire.Close).Slice]++
		}
	}
	for s := firstSlice; s < firstSlice+10; s++ {
		if closes[s] != 1 {
			t.Errorf("slice %d: got %d closes, want 1", s, closes[s])
		}
	}
}

// A collector that does not end its slice is waited for, then left out and
// named, and waited for again when it has caught up.
func TestPatience(t *testing.T) {
	l := newMemLog()
	d := bootClosing(t, l, t.TempDir(), testConfig())
	a, b := newFakeCollector(l, "pop-a"), newFakeCollector(l, "pop-b")
	s := firstSlice
	a.flush(s, [][2]uint32{{1, 2}}, s-1)
	b.flush(s, [][2]uint32{{3, 4}}, s-1)
	wait(t, "the first close", func() bool { return d.epoch.Load() != nil })
	ranked := func(want flow.Slice) func() bool {
		return func() bool { return d.epoch.Load().slice >= want }
	}
	begin := time.Now()
	a.end(s)
	wait(t, "the close without pop-b", ranked(s))
	if took := time.Since(begin); took < testConfig().Patience {
		t.Errorf("closed after %v, want at least %v", took, testConfig().Patience)
	}
	if e := d.epoch.Load(); len(e.without) != 1 || e.without[0] != "pop-b" {
		t.Errorf("without: got %q, want pop-b", e.without)
	}
	a.end(s + 1) // pop-b is not waited for
	wait(t, "the next close", ranked(s+1))
	if e := d.epoch.Load(); len(e.without) != 0 {
		t.Errorf("without: got %q, want none", e.without)
	}
	b.flush(s, [][2]uint32{{5, 6}}, s+1) // late, and caught up
	a.end(s + 2)
	b.end(s + 2)
	wait(t, "the close with both", ranked(s+2))
	if got := d.status.Load().Ingest.Late; got != 2 {
		t.Errorf("late: got %d, want both halves of one contact", got)
	}
	if _, ok := d.epoch.Load().view.Find(host(5)); !ok {
		t.Error("the late contact is not in the open slice")
	}
}

// After a silence longer than a graph can span, contacts count again.
func TestLongSilence(t *testing.T) {
	l := newMemLog()
	d := bootClosing(t, l, t.TempDir(), testConfig())
	c := newFakeCollector(l, "pop-a")
	for _, s := range []flow.Slice{firstSlice, firstSlice + 1, firstSlice + 50_000, firstSlice + 50_001} {
		c.flush(s, [][2]uint32{{1, 2}, {uint32(s), 3}}, s)
		wait(t, "the slice to be ranked", func() bool { e := d.epoch.Load(); return e != nil && e.slice == s })
		if _, ok := d.epoch.Load().view.Find(host(uint32(s))); !ok {
			t.Errorf("slice %d: its host is not in the graph", s)
		}
	}
	if n := d.epoch.Load().view.Len(); n != 5 {
		t.Errorf("got %d hosts, want the 5 of the last two slices", n)
	}
}

// When the log fails, the detector opens it again and misses nothing.
func TestLogFails(t *testing.T) {
	full := scenario(6)
	d := boot(t, full, t.TempDir(), testConfig())
	settled(t, d)
	want := scores(t, d)
	again := full.prefix(len(full.control))
	again.broken = errors.New("disk on fire")
	d = boot(t, again, t.TempDir(), testConfig())
	wait(t, "an error", func() bool { return d.logErrors.Load() > 0 })
	again.mu.Lock()
	again.broken = nil
	again.mu.Unlock()
	settled(t, d)
	if scores(t, d) != want {
		t.Error("got other scores")
	}
}

// Events tell each new and each cleared suspect once, over a restart too.
func TestEvents(t *testing.T) {
	full := scenario(12)
	dir := t.TempDir()
	for _, control := range []int{len(full.control) / 2, len(full.control)/2 + 1, len(full.control)} {
		d := boot(t, full.prefix(control), dir, testConfig())
		settled(t, d)
		stop(t, d)
	}
	b, err := os.ReadFile(filepath.Join(dir, "events.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	suspects, count := map[string]bool{}, map[string]int{}
	for line := range bytes.Lines(b) {
		var e struct {
			Event, Pseudonym string
			Suspects         int
		}
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatalf("line %s: %v", line, err)
		}
		count[e.Event]++
		switch e.Event {
		case "suspect":
			if suspects[e.Pseudonym] {
				t.Errorf("%s became a suspect twice", e.Pseudonym)
			}
			suspects[e.Pseudonym] = true
		case "cleared":
			if !suspects[e.Pseudonym] {
				t.Errorf("%s was cleared and was no suspect", e.Pseudonym)
			}
			delete(suspects, e.Pseudonym)
		case "epoch":
			if e.Suspects != len(suspects) {
				t.Errorf("epoch with %d suspects, events leave %d", e.Suspects, len(suspects))
			}
		}
	}
	if count["suspect"] == 0 || count["epoch"] < 2 {
		t.Errorf("got %v", count)
	}
}

// Start twice is an error, Stop twice is not, and New refuses what Validate
// refuses.
func TestLifecycle(t *testing.T) {
	d := boot(t, newMemLog(), t.TempDir(), testConfig())
	if err := d.Start(t.Context()); err == nil {
		t.Error("second start: got no error")
	}
	wait(t, "an empty log to be followed", func() bool { return d.Ready() == nil })
	stop(t, d)
	stop(t, d)
	inert, err := New(testConfig(), Deps{Log: newMemLog(), Registerer: prometheus.NewRegistry(), Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(inert.Stop(context.Background())); err != nil || inert.Ready() == nil {
		t.Errorf("before the start: stop %v, ready %v", err, inert.Ready())
	}
	for _, change := range []func(*Config){
		func(c *Config) { c.Slice = 0 }, func(c *Config) { c.Window = c.Slice * 3 / 2 },
		func(c *Config) { c.Patience = 0 }, func(c *Config) { c.Damping = 1 }, func(c *Config) { c.Tolerance = 0 },
		func(c *Config) { c.Iterations = -1 }, func(c *Config) { c.SeedLambda = 0 }, func(c *Config) { c.TopK = 101 },
		func(c *Config) { c.SnapshotSlices = 0 }, func(c *Config) { c.FullEvery = 0 }, func(c *Config) { c.MaxOutDegree = 0 }, func(c *Config) { c.Verdict.Threshold = 0 },
		func(c *Config) { c.Verdict.MaxSuspects = 0 }, func(c *Config) { c.Verdict.SeedRatio = 0.5 },
	} {
		cfg := testConfig()
		change(&cfg)
		if _, err := New(cfg, Deps{Log: newMemLog(), Registerer: prometheus.NewRegistry(), Dir: t.TempDir()}); err == nil {
			t.Errorf("%+v: got no error", cfg)
		}
	}
}
