package detector

import (
	"fmt"
	"math"
	"time"

	"github.com/flowhound/flowhound/detector/graph"
	"github.com/flowhound/flowhound/detector/verdict"
	"github.com/flowhound/flowhound/internal/flow"
)

// GCPercent is how much garbage a process with a detector should let pile up on
// its live heap: a large graph's arrays have no pointers, so that collecting it
// costs little.
const GCPercent = 10

// maxTopK bounds the suspects that become metric labels.
const maxTopK = 100

// maxWindow bounds the slices of a window, so that window and open slice are
// well within the span that a graph can hold.
const maxWindow = 8000

// Config is the detector's configuration.
type Config struct {
	// Slice is the length of a slice, the step in which the window moves and
	// hosts are ranked; default 5m, at least 1s, the same on every collector
	// and detector. It cannot change in a state directory that is in use.
	Slice time.Duration `yaml:"-"`
	// Window is how long a contact stays in the graph; default 24h, a whole
	// number of slices.
	Window time.Duration `yaml:"-"`
	// Patience is how long the other collectors are waited for after the first
	// one ended a slice; default 1m, more than 0.
	Patience time.Duration `yaml:"patience"`
	// Damping is the share of a rank that flows along links, the d of both;
	// default 0.5, from 0 to less than 1.
	Damping float64 `yaml:"damping"`
	// Tolerance stops a ranking when the sum of all changes of one superstep
	// is smaller; default 1e-9, more than 0 unless iterations is set.
	Tolerance float64 `yaml:"tolerance"`
	// Iterations is the exact number of supersteps of a ranking; default 0,
	// which leaves it to the tolerance.
	Iterations int `yaml:"iterations"`
	// SeedLambda is the share of the weight W that known bots get in the rank
	// from the seeds; default 1, more than 0 and at most 1.
	SeedLambda float64 `yaml:"seed_lambda"`
	// Verdict says which hosts stand out.
	Verdict verdict.Config `yaml:"verdict"`
	// TopK is the number of suspects shown as metrics by pseudonym; default
	// 10, 0 for none, at most 100.
	TopK int `yaml:"top_k"`
	// FullEvery is how often ranks are computed from nothing, in slices; default
	// 1, at least 1. In between they start from those of the slice before, which
	// takes 60 to 94 % of the time. The same on every detector of a ring.
	FullEvery int `yaml:"full_every"`
	// SnapshotSlices is the least number of slices between two snapshots, which
	// are taken at slices ranked from nothing; default 6, at least 1. The log must
	// reach back at least so far and full_every slices more.
	SnapshotSlices int `yaml:"snapshot_slices"`
	// Events is the file to which epochs, new suspects and cleared suspects are
	// appended as JSON Lines; default events.jsonl, relative to the state
	// directory; empty for none.
	Events string `yaml:"events"`
	// MaxLinks bounds the directed links of the graph; default 0, no bound. When
	// a slice ends with more, the oldest slices are forgotten first, and counted;
	// one slice alone may have more. A link takes about 105 bytes in all.
	MaxLinks uint64 `yaml:"max_links"`
	// MaxOutDegree bounds the hosts that one host is seen to contact; default
	// 1048576, at least 1. Beyond it a fixed pseudo-random choice of its links
	// stays, the same on every detector, and the others are counted.
	MaxOutDegree uint32 `yaml:"max_out_degree"`

	// Rebuild sets snapshots aside that cannot be read, instead of refusing to
	// start, and replays the log.
	Rebuild bool `yaml:"-"`
}

// DefaultConfig returns the defaults that Config documents.
func DefaultConfig() Config {
	return Config{
		Slice:          5 * time.Minute,
		Window:         24 * time.Hour,
		Patience:       time.Minute,
		Damping:        0.5,
		Tolerance:      1e-9,
		SeedLambda:     1,
		Verdict:        verdict.DefaultConfig(),
		TopK:           10,
		FullEvery:      1,
		SnapshotSlices: 6,
		Events:         "events.jsonl",
		MaxOutDegree:   graph.DefaultConfig().MaxOutDegree,
	}
}

// Validate reports a field out of its range.
func (c Config) Validate() error {
	switch {
	case c.Slice < time.Second || c.Slice%time.Millisecond != 0:
		return fmt.Errorf("slice %v: want at least 1s, in whole milliseconds", c.Slice)
	case c.Window < c.Slice || c.Window%c.Slice != 0:
		return fmt.Errorf("window %v: want a whole number of slices of %v", c.Window, c.Slice)
	case c.Window/c.Slice > maxWindow:
		return fmt.Errorf("window %v: want at most %d slices of %v", c.Window, maxWindow, c.Slice)
	case c.Patience <= 0:
		return fmt.Errorf("patience %v: want more than 0", c.Patience)
	case !(c.Damping >= 0 && c.Damping < 1):
		return fmt.Errorf("damping %v: want from 0 to less than 1", c.Damping)
	case c.Iterations < 0 || c.Iterations > 10_000:
		return fmt.Errorf("iterations %d: want 0 to 10000", c.Iterations)
	case c.Iterations == 0 && !(c.Tolerance > 0 && !math.IsInf(c.Tolerance, 0)):
		return fmt.Errorf("tolerance %v: want more than 0", c.Tolerance)
	case !(c.SeedLambda > 0 && c.SeedLambda <= 1):
		return fmt.Errorf("seed_lambda %v: want more than 0 and at most 1", c.SeedLambda)
	case c.TopK < 0 || c.TopK > maxTopK:
		return fmt.Errorf("top_k %d: want 0 to %d", c.TopK, maxTopK)
	case c.FullEvery < 1 || c.FullEvery > maxWindow:
		return fmt.Errorf("full_every %d: want 1 to %d", c.FullEvery, maxWindow)
	case c.MaxOutDegree < 1:
		return fmt.Errorf("max_out_degree %d: want at least 1", c.MaxOutDegree)
	case c.SnapshotSlices < 1:
		return fmt.Errorf("snapshot_slices %d: want at least 1", c.SnapshotSlices)
	}
	if err := c.Verdict.Validate(); err != nil {
		return fmt.Errorf("verdict: %w", err)
	}
	return nil
}

// windowSlices is the window's length in slices.
func (c Config) windowSlices() flow.Slice { return flow.Slice(c.Window / c.Slice) }

// oldest returns the first slice of the window whose last is s.
func (c Config) oldest(s flow.Slice) flow.Slice {
	if w := c.windowSlices(); s >= w {
		return s - w + 1
	}
	return 0
}

// end returns when slice s ends.
func (c Config) end(s flow.Slice) time.Time {
	return time.UnixMilli((int64(s) + 1) * c.Slice.Milliseconds()).UTC()
}
