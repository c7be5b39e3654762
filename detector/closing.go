package detector

import (
	"slices"
	"time"

	"github.com/flowhound/flowhound/federation/wire"
	"github.com/flowhound/flowhound/internal/flow"
)

// closer decides when to propose the end of a slice. Its decisions need not be
// the same on two detectors: whoever's Close is first in the log wins.
type closer struct {
	patience time.Duration // how long the others get after the first that ended a slice
	lengthMS int64         // of a slice
	first    map[flow.Slice]time.Time
}

func newCloser(patience, slice time.Duration) *closer {
	return &closer{patience: patience, lengthMS: slice.Milliseconds(), first: map[flow.Slice]time.Time{}}
}

// decide returns the Close to propose at the given time. A slice is over when
// every live collector ended it, or patience after the first one did; of
// several such slices only the newest is closed. Slices after the one that now
// is in are never closed: a collector with a fast clock must not end the
// future for all others.
func (c *closer) decide(m *ingest, now time.Time) (wire.Close, bool) {
	limit := flow.SliceOf(now.UnixMilli(), c.lengthMS)
	least, most := ^flow.Slice(0), flow.Slice(0)
	for _, src := range m.sources {
		if src.commit.Incarnation == 0 {
			continue
		}
		most = max(most, min(src.commit.Ended, limit))
		if !src.skipped {
			least = min(least, src.commit.Ended)
		}
	}
	if least <= limit && least > m.closed {
		return wire.Close{Slice: least}, true
	}
	if least != ^flow.Slice(0) && least > limit && limit > m.closed && most == limit {
		return wire.Close{Slice: limit}, true
	}
	return c.lapsed(m, most, now)
}

// lapsed returns the newest slice that some collector ended long enough ago.
func (c *closer) lapsed(m *ingest, most flow.Slice, now time.Time) (wire.Close, bool) {
	for s := range c.first {
		if s <= m.closed {
			delete(c.first, s)
		}
	}
	if most <= m.closed {
		return wire.Close{}, false
	}
	if _, seen := c.first[most]; !seen {
		c.first[most] = now
	}
	over := flow.Slice(0)
	for s, at := range c.first {
		if now.Sub(at) >= c.patience {
			over = max(over, s)
		}
	}
	if over == 0 {
		return wire.Close{}, false
	}
	return wire.Close{Slice: over, Without: m.laggards(over)}, true
}

// laggards names the live collectors that have not ended s, ascending.
func (m *ingest) laggards(s flow.Slice) []string {
	var names []string
	for name, src := range m.sources {
		if src.commit.Incarnation > 0 && !src.skipped && src.commit.Ended < s {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names[:min(len(names), wire.MaxWithout)]
}

// live counts the collectors that a slice is waited for, and those left out.
func (m *ingest) live() (live, skipped int) {
	for _, src := range m.sources {
		switch {
		case src.commit.Incarnation == 0:
		case src.skipped:
			skipped++
		default:
			live++
		}
	}
	return live, skipped
}
