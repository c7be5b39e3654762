package detector

import (
	"slices"
	"testing"

	"github.com/flowhound/flowhound/detector/rank"
	"github.com/flowhound/flowhound/federation/wire"
	"github.com/flowhound/flowhound/internal/flow"
)

func TestRuns(t *testing.T) {
	c := chain{length: 4}
	for _, step := range []struct {
		slice flow.Slice
		first bool
	}{{1001, true}, {1002, false}, {1003, false}, {1004, true}, {1007, false}, {1013, true}, {1015, false}, {1016, true}} {
		if first := c.advance(step.slice); first != step.first {
			t.Errorf("slice %d: got first %v, want %v", step.slice, first, step.first)
		}
	}
}

// The scores of every slice, full or resumed, are the same to the last bit on a
// detector that ranked each slice when it was closed, on one that reads the
// whole log at once, and on one that is killed after each slice. Full rankings
// agree with the incremental ones.
func TestEveryEpochSameScores(t *testing.T) {
	full := scenario(18)
	log := full.prefix(0)
	live, killed := boot(t, log, t.TempDir(), testConfig()), t.TempDir()
	kinds := map[bool]int{}
	for i, m := range full.control {
		log.grow(m)
		if m.key != wire.CloseKey {
			continue
		}
		wait(t, "the slice to be ranked", func() bool { e := live.epoch.Load(); return e != nil && e.seq == m.seq })
		want, e := scores(t, live), live.epoch.Load()
		kinds[e.full]++
		for what, dir := range map[string]string{"new": t.TempDir(), "killed": killed} {
			d := boot(t, full.prefix(i+1), dir, testConfig())
			settled(t, d)
			if got := scores(t, d); got != want {
				t.Fatalf("slice %d (full: %v), %s detector: got other scores\n%.300s\nwant\n%.300s", e.slice, e.full, what, got, want)
			}
			stop(t, d)
		}
	}
	if kinds[true] < 4 || kinds[false] < 4 {
		t.Errorf("got %d full and %d resumed epochs, want some of each", kinds[true], kinds[false])
	}
	if c := live.checks[uniform].Load(); c == nil || c.distance == 0 || c.failed() || live.checks[fromSeeds].Load() == nil {
		t.Errorf("last comparison: got %+v, want a distance within its bound", c)
	}
	if n := live.disagreements.Load(); n != 0 {
		t.Errorf("%d comparisons failed", n)
	}
}

// Resumed ranks have other last bits than those from nothing: otherwise the
// tests of equal scores would not see where ranks started. They are within the
// bound of both errors.
func TestResumedEpoch(t *testing.T) {
	full := scenario(12)
	d := boot(t, full, t.TempDir(), testConfig())
	settled(t, d)
	e := d.epoch.Load()
	if e.full {
		t.Fatalf("slice %d is ranked from nothing", e.slice)
	}
	colds, err := rank.Run(e.view, d.cfg.params())
	if err != nil {
		t.Fatal(err)
	}
	cold := colds[0]
	if slices.Equal(cold.Client, e.ranks.Client) {
		t.Error("the bits are those of ranks from nothing")
	}
	if c := newCheck(cold, e.ranks, d.cfg.Damping); c.failed() {
		t.Errorf("distance %g exceeds the bound %g", c.distance, c.bound)
	}
}

// In runs of one slice no ranking resumes another, not even to compare.
func TestRunsOfOneSlice(t *testing.T) {
	c := testConfig()
	c.FullEvery = 1
	full := scenario(4)
	log := full.prefix(0)
	d := boot(t, log, t.TempDir(), c)
	for _, m := range full.control {
		log.grow(m)
		if m.key != wire.CloseKey {
			continue
		}
		wait(t, "the slice to be ranked", func() bool { e := d.epoch.Load(); return e != nil && e.seq == m.seq })
		if e := d.epoch.Load(); !e.full || e.checks[uniform] != nil {
			t.Errorf("slice %d: full %v, compared %v, want full and not compared", e.slice, e.full, e.checks[uniform] != nil)
		}
	}
}

// A full epoch finds out that the ranks before it were not what they said.
func TestDisagreement(t *testing.T) {
	full := scenario(12)
	d := boot(t, full, t.TempDir(), testConfig())
	settled(t, d)
	e := *d.epoch.Load()
	c := newCheck(e.ranks, e.ranks, d.cfg.Damping)
	if c.failed() {
		t.Errorf("ranks disagree with themselves: %+v", c)
	}
	wrong := e.ranks
	wrong.Client = slices.Clone(wrong.Client)
	wrong.Client[0] += 3 * c.bound
	e.checks[uniform] = newCheck(e.ranks, wrong, d.cfg.Damping)
	d.noteCheck(&e)
	if d.disagreements.Load() != 1 {
		t.Error("a wrong ranking was not noticed")
	}
}
