package detector

import (
	"os"
	"path/filepath"
	"testing"
)

// Two snapshots are kept. Set to rebuild, a detector whose newest one is damaged
// goes on from the older one, and one that has lost both from the log; the scores
// are the same.
func TestOlderSnapshot(t *testing.T) {
	full, dir, cfg := scenario(12), t.TempDir(), testConfig()
	cfg.SnapshotSlices, cfg.FullEvery = 1, 1
	d := boot(t, full, dir, cfg)
	settled(t, d)
	want, written := scores(t, d), d.snapshots.written.Load()
	stop(t, d)
	snapshots := func() []string {
		t.Helper()
		names, err := filepath.Glob(filepath.Join(dir, "snapshots", "*"+snapshotSuffix))
		if err != nil {
			t.Fatal(err)
		}
		return names
	}
	damage := func(path string) {
		t.Helper()
		if err := os.Truncate(path, 100); err != nil {
			t.Fatal(err)
		}
	}
	names := snapshots()
	if written < 4 || len(names) != 2 {
		t.Fatalf("got %d snapshots of %d written, want 2 of at least 4", len(names), written)
	}
	cfg.Rebuild = true
	again := func(from string, loads bool) {
		t.Helper()
		d := boot(t, full, dir, cfg)
		settled(t, d)
		if loaded := d.snapshots.loaded.Load() > 0; loaded != loads || scores(t, d) != want {
			t.Errorf("from %s: a snapshot was loaded: %t, want %t; same scores: %t", from, loaded, loads, scores(t, d) == want)
		}
		stop(t, d)
	}
	damage(names[1])
	again("the older snapshot", true)
	for _, path := range snapshots() {
		damage(path)
	}
	again("the log", false)
}
