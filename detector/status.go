package detector

import (
	"context"
	"maps"
	"slices"

	"github.com/flowhound/flowhound/detector/graph"
	"github.com/flowhound/flowhound/internal/flow"
)

// status is what readers may know of the follow goroutine's state: a copy, as
// fresh as the last housekeeping.
type status struct {
	Following                bool
	Control                  uint64
	StartControl, StartClose uint64
	Streams                  [Streams]uint64
	ControlLag               uint64
	Lag                      [Streams]uint64 // messages
	Closed                   flow.Slice
	Ingest                   ingestStats
	Graph                    graph.Stats
	Live, Skipped            int
	Collectors               []collectorJSON
	Seeds                    []seedJSON
	WindowIncomplete         bool
}

// refresh copies the state for readers.
func (d *Detector) refresh() {
	m, old := d.ingest, d.status.Load()
	s := &status{
		Following: true, Control: m.control, StartControl: d.start.control, StartClose: d.start.close,
		Streams: m.streams, ControlLag: old.ControlLag, Lag: old.Lag, Closed: m.closed, Ingest: m.stats,
		Graph: d.graph.Stats(), WindowIncomplete: d.windowIncomplete(), Collectors: []collectorJSON{}, Seeds: []seedJSON{},
	}
	s.Live, s.Skipped = m.live()
	for _, name := range slices.Sorted(maps.Keys(m.sources)) {
		src := m.sources[name]
		if src.commit.Incarnation > 0 {
			s.Collectors = append(s.Collectors, collectorJSON{
				Name: name, Incarnation: src.commit.Incarnation, Flush: src.commit.Flush,
				Ended: src.commit.Ended, LeftOut: src.skipped,
			})
		}
	}
	for _, source := range slices.Sorted(maps.Keys(m.seeds)) {
		for _, seed := range m.seeds[source] {
			s.Seeds = append(s.Seeds, seedJSON{Pseudonym: seed.Host.Pseudonym.Text(seed.Generation), Source: source, host: seed.Host})
		}
	}
	d.status.Store(s)
}

// measureLag asks the log how far ahead of the detector it is.
func (d *Detector) measureLag(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	s := *d.status.Load()
	if _, last, err := d.deps.Log.ControlBounds(ctx); err == nil {
		s.ControlLag = last - min(last, d.ingest.control)
	}
	for i := range s.Lag {
		if _, last, err := d.deps.Log.BatchBounds(ctx, i); err == nil {
			s.Lag[i] = last - min(last, d.ingest.streams[i])
		}
	}
	d.status.Store(&s)
}

// collectorJSON is a collector in the API.
type collectorJSON struct {
	Name        string     `json:"name"`
	Incarnation uint64     `json:"incarnation"`
	Flush       uint64     `json:"flush"`
	Ended       flow.Slice `json:"ended"`
	LeftOut     bool       `json:"left_out"`
}

// seedJSON is a known bot in the API.
type seedJSON struct {
	Pseudonym string `json:"pseudonym"`
	Source    string `json:"source"`
	InGraph   bool   `json:"in_graph"`

	host flow.Host
}
