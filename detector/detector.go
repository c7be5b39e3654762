// Package detector follows the log of contacts, keeps the host graph of a
// window up to date, and at the end of every slice ranks it and names the
// suspects. Its results go out as metrics, JSON over HTTP and JSON Lines.
//
// The graph is a function of the log: what the commits before a Close cover,
// and nothing else, is in that Close's epoch. Ranks start from nothing or, where
// Config.FullEvery says so, from those of the epoch before (see chain). So an
// epoch's scores are the same to the last bit whatever crashed in between, and
// on every detector of a ring.
package detector

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/flowhound/flowhound/detector/graph"
	"github.com/flowhound/flowhound/internal/flow"
)

// Deps are what a detector needs from outside.
type Deps struct {
	Log        Log
	Registerer prometheus.Registerer
	Logger     *slog.Logger // nil logs nothing
	Dir        string       // state directory; made if absent, mode 0700
	Now        func() time.Time
}

// Detector is the component. Start it once; its methods are safe for
// concurrent use.
type Detector struct {
	cfg  Config
	deps Deps

	// Owned by the follow goroutine once it runs.
	ingest   *ingest
	graph    *graph.Graph
	closer   *closer
	start    startPoint
	proposal proposal
	gaps     gaps
	ranked   chan struct{} // closed when the ranking under way is done
	chain    chain         // its last belongs to the ranking under way

	snapshots           snapshotStats
	logErrors           atomic.Uint64
	conflicts           atomic.Uint64
	epochs, eventErrors atomic.Uint64
	disagreements       atomic.Uint64
	checks              [len(weights)]atomic.Pointer[check] // the last of each
	status              atomic.Pointer[status]
	epoch               atomic.Pointer[epoch]
	history             history

	mu     sync.Mutex // guards what follows
	cancel context.CancelFunc
	done   chan struct{}

	changeSeeds sync.Mutex // one change of the API's seeds at a time
}

// startPoint is what the log held when the detector started.
type startPoint struct {
	control uint64     // newest control message
	close   uint64     // newest Close
	slice   flow.Slice // of the newest Close
	without []string   // of the newest Close
}

// New returns a detector that is inert until Start. It registers its metrics.
func New(cfg Config, deps Deps) (*Detector, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("detector: %w", err)
	}
	if deps.Log == nil || deps.Registerer == nil || deps.Dir == "" {
		return nil, errors.New("detector: log, registerer and state directory are required")
	}
	if deps.Logger == nil {
		deps.Logger = slog.New(slog.DiscardHandler)
	}
	if deps.Now == nil {
		deps.Now = time.Now
	}
	d := &Detector{cfg: cfg, deps: deps, closer: newCloser(cfg.Patience, cfg.Slice)}
	d.chain.length = flow.Slice(cfg.FullEvery)
	d.status.Store(&status{})
	if err := deps.Registerer.Register(newMetrics(d)); err != nil {
		return nil, fmt.Errorf("detector: register metrics: %w", err)
	}
	return d, nil
}

// Start recovers the state and begins to follow the log. It returns when the
// snapshot is loaded; [Detector.Ready] says when the log has been replayed. An
// error names the file at fault and the remedy; nothing was changed then.
func (d *Detector) Start(ctx context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.done != nil {
		return errors.New("detector: already started")
	}
	if err := os.MkdirAll(d.snapshotDir(), 0o700); err != nil {
		return fmt.Errorf("detector: %w", err)
	}
	if err := d.recover(ctx); err != nil {
		return fmt.Errorf("detector: %w", err)
	}
	if err := d.history.load(d.deps.Dir); err != nil {
		d.deps.Logger.Warn("suspects of the last run are unknown, all count as new", "err", err)
	}
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	d.cancel, d.done = cancel, make(chan struct{})
	go d.follow(run, d.done)
	return nil
}

// Stop ends the following and waits for the ranking under way, at most until
// ctx is done. It may be called twice. What is in the log is not lost: the next
// start replays it.
func (d *Detector) Stop(ctx context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.done == nil {
		return nil
	}
	d.cancel()
	select {
	case <-d.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("detector: stop: %w", ctx.Err())
	}
}

// Ready returns nil once the log was replayed up to where it was at the start
// and the newest closed slice has been ranked.
func (d *Detector) Ready() error {
	s := d.status.Load()
	e := d.epoch.Load()
	switch {
	case !s.Following:
		return errors.New("detector: not started")
	case s.Control < s.StartControl:
		return fmt.Errorf("detector: replaying the log, control message %d of %d", s.Control, s.StartControl)
	case s.StartClose > 0 && (e == nil || e.seq < s.StartClose):
		return errors.New("detector: ranking the newest slice")
	}
	return nil
}
