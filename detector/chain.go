package detector

import (
	"github.com/flowhound/flowhound/detector/rank"
	"github.com/flowhound/flowhound/internal/flow"
)

// chain says what the ranks of an epoch start from. Slices fall by their number
// into runs of Config.FullEvery. The first slice closed in a run is ranked from
// nothing, each later one from the ranks of the one closed before it:
//
//	run 41                      run 42
//	full ─► resumed ─► resumed  full ─► resumed ─► …
//	snapshot                    snapshot
//
// So the ranks of a slice are a function of the closes of its run and of the
// graphs at them. A snapshot is taken at the first slice of a run, and the log
// holds what follows: a detector that starts ranks the run again, close by
// close, and reaches the same bits.
type chain struct {
	length flow.Slice // of a run
	closed flow.Slice // the newest slice closed; 0 before the first
	last   *epoch     // its ranking; nil if it was not needed, or failed
}

func (c *chain) run(s flow.Slice) flow.Slice { return s / c.length }

// advance takes over a slice that was closed, and reports whether it is the
// first of its run.
func (c *chain) advance(s flow.Slice) (first bool) {
	first = c.closed == 0 || c.run(s) != c.run(c.closed)
	c.closed = s
	return first
}

// take returns the ranking that the next one starts from, nil if every slice is
// ranked from nothing, and lets go of it.
func (c *chain) take() *epoch {
	last := c.last
	c.last = nil
	if c.length == 1 {
		return nil
	}
	return last
}

// check compares the two rankings of a full epoch: both ranks' L1 distance, the
// larger one, and what it can be by their proven errors.
type check struct{ distance, bound float64 }

func (c check) failed() bool { return c.distance > c.bound }

// unseen is an L1 distance of ranks that sums in float64 may make.
const unseen = 1e-14

func newCheck(full, resumed rank.Result, damping float64) *check {
	flowing := damping / (1 - damping)
	return &check{rank.Distance(full, resumed), (full.Delta+resumed.Delta)*flowing + unseen}
}

// rankings computes the epoch's rankings by the weights of p. Unless before is nil
// they resume those of the epoch before, or start from the average where it had
// none by that weight. A full epoch resumes too, only to see that the rankings
// from nothing agree.
func (e *epoch) rankings(p rank.Params, before *epoch) ([]rank.Result, error) {
	if before == nil || p.Iterations > 0 {
		return rank.Run(e.view, p)
	}
	last := []rank.Result{uniform: before.ranks, fromSeeds: before.seeded}[:len(p.Weights)]
	resumed, err := rank.Resume(e.view, rank.Carry(e.view, before.view, last), p)
	if err != nil || !e.full {
		return resumed, err
	}
	full, err := rank.Run(e.view, p)
	if err != nil {
		return nil, err
	}
	for weight := range full {
		if last[weight].Hosts > 0 {
			e.checks[weight] = newCheck(full[weight], resumed[weight], p.Damping)
		}
	}
	return full, nil
}

// noteCheck tells whether the full rankings of an epoch agreed.
func (d *Detector) noteCheck(e *epoch) {
	for weight, c := range e.checks {
		if c == nil {
			continue
		}
		d.checks[weight].Store(c)
		if c.failed() {
			d.disagreements.Add(1)
			d.deps.Logger.Error("incremental ranks are wrong, the full ones replace them", "slice", e.slice,
				"weight", weights[weight], "distance", c.distance, "bound", c.bound)
		}
	}
}
