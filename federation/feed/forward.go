package feed

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/flowhound/flowhound/federation/wire"
)

// ErrReplaced occurs when another collector of the same name writes into the
// remote log.
var ErrReplaced = errors.New("another collector runs under this name")

// ForwardConfig says what a Forwarder moves, and where to.
type ForwardConfig struct {
	// Collector is the name whose commits, batches and seeds are forwarded.
	Collector string
	// Remote is the log that they go to; its URL is set.
	Remote Config
	// Keep is how long the local log holds what is forwarded, so that it can be
	// sent again should the remote log lose its newest messages.
	Keep time.Duration
}

// DefaultKeep covers what a remote log without an fsync per message loses in a
// power loss, at most two minutes, and the restart after it.
const DefaultKeep = time.Hour

// Bounds of the forwarder's waiting.
const (
	connectTime = 5 * time.Second // one attempt to reach the remote log
	retryPause  = time.Second
	complainMin = time.Minute // between two warnings of one kind
	drainTime   = 5 * time.Second
)

// Forwarder moves the messages of one collector from the log that it writes,
// its spool, into the log of a ring:
//
//	control message ──► seeds: append, unless they are there
//	                └─► commit: its batches ──► Sync ──► append ──► next message
//
// All of it is in the order of the local log. What the remote log holds says
// how far that went: each commit appended there carries the place of its
// original in a header. There is no other record, so whatever is killed, the
// next forwarder begins behind the last commit that counts, and sends batches
// again under the ids that they had.
//
// Batches that the spool lost before they were forwarded take their whole
// flush with them: a commit is appended only if each of its batches is there.
// What follows goes under a new incarnation, in which nothing is missing.
//
// Its methods are safe for concurrent use.
type Forwarder struct {
	cfg     ForwardConfig
	local   *Log
	logger  *slog.Logger
	metrics *forwardMetrics
	deps    Deps
	unhook  func()
	failed  chan error

	life     context.Context // ends with Stop
	end      context.CancelFunc
	task     sync.WaitGroup
	stopping sync.Once

	mu       sync.Mutex // guards all below
	remote   *Log       // nil until it first answered
	progress progress
	trouble  error // why nothing moves, nil while it does
}

// progress is how far the local log is settled: forwarded, or given up.
type progress struct {
	known   bool // the remote log has said so
	control uint64
	streams [Streams]uint64
}

// NewForwarder returns a forwarder that does nothing until Start. Its metrics
// are registered until Stop.
func NewForwarder(local *Log, cfg ForwardConfig, deps Deps) (*Forwarder, error) {
	if err := wire.CheckName(cfg.Collector); err != nil {
		return nil, err
	}
	if cfg.Remote.URL == "" {
		return nil, errors.New("log: nothing to forward to: no URL is set")
	}
	if err := cfg.Remote.Validate(); err != nil {
		return nil, err
	}
	if deps.Logger == nil {
		deps.Logger = slog.Default()
	}
	f := &Forwarder{cfg: cfg, local: local, logger: deps.Logger, deps: deps, metrics: newForwardMetrics(),
		unhook: func() {}, failed: make(chan error, 1)}
	f.life, f.end = context.WithCancel(context.Background())
	if deps.Registerer != nil {
		c := forwardCollector{f}
		if err := deps.Registerer.Register(c); err != nil {
			return nil, fmt.Errorf("log spool: metrics: %w", err)
		}
		f.unhook = func() { deps.Registerer.Unregister(c) }
	}
	return f, nil
}

// Start begins to forward. It does not wait for the remote log.
func (f *Forwarder) Start() {
	f.task.Go(func() {
		defer close(f.failed)
		if err := f.run(f.life); f.life.Err() == nil {
			f.setTrouble(err)
			f.failed <- err
		}
	})
}

// Failed yields the error that ended the forwarder on its own: another
// collector writes under the same name, or the remote log holds something else
// under its key. It is closed when the forwarder has ended.
func (f *Forwarder) Failed() <-chan error { return f.failed }

// Stop forwards what is left, for as long as ctx lasts but a few seconds at
// most and only if the remote log answers, and ends. The rest stays in the
// local log for the next start. It may be called twice, and without Start.
func (f *Forwarder) Stop(ctx context.Context) {
	f.stopping.Do(func() {
		ctx, cancel := context.WithTimeout(ctx, drainTime)
		defer cancel()
		f.drain(ctx)
		f.end()
		f.task.Wait()
		f.unhook()
	})
}

// drain waits until everything is forwarded, ctx ends, or nothing moves.
func (f *Forwarder) drain(ctx context.Context) {
	_, last, err := f.local.ControlBounds(ctx)
	for err == nil && f.reachable() == nil && f.settled() < last {
		select {
		case <-ctx.Done():
			return
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func (f *Forwarder) settled() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.progress.control
}

// errMoved occurs when the remote log does not stand where the forwarder left
// it: it has to be asked again.
var errMoved = errors.New("the remote log does not stand where it was left")

// run forwards until ctx ends or an error that no repetition mends.
func (f *Forwarder) run(ctx context.Context) error {
	remote, err := f.connect(ctx)
	if err != nil {
		return err
	}
	defer remote.Close()
	r := &run{f: f, remote: remote}
	for {
		if err := r.seek(ctx); err != nil {
			return err
		}
		err := r.forward(ctx)
		if !errors.Is(err, errMoved) {
			return err
		}
		f.logger.Warn("the remote log is not where it was left, looking again", "collector", f.cfg.Collector)
		if err := sleep(ctx, retryPause); err != nil {
			return err
		}
	}
}

// connect waits for the remote log.
func (f *Forwarder) connect(ctx context.Context) (*Log, error) {
	complaint := complaint{f.logger.With("spooling", true), time.Time{}}
	for {
		attempt, cancel := context.WithTimeout(ctx, connectTime)
		remote, err := Open(attempt, f.cfg.Remote, Deps{Logger: f.logger.With("log", "remote")})
		cancel()
		if err == nil {
			f.mu.Lock()
			f.remote, f.trouble = remote, nil
			f.mu.Unlock()
			f.logger.Info("remote log answers", "collector", f.cfg.Collector)
			return remote, nil
		}
		f.setTrouble(err)
		complaint.warn("remote log does not answer", err)
		if err := sleep(ctx, retryPause); err != nil {
			return nil, err
		}
	}
}

// persist calls op until it succeeds or fails for good: with ctx, or because
// somebody else wrote under the key.
func (f *Forwarder) persist(ctx context.Context, what string, op func() error) error {
	complaint := complaint{f.logger, time.Time{}}
	for {
		err := op()
		switch {
		case err == nil:
			f.setTrouble(nil)
			return nil
		case ctx.Err() != nil, errors.Is(err, ErrConflict), errors.Is(err, ErrClosed):
			return err
		}
		f.setTrouble(fmt.Errorf("%s: %w", what, err))
		complaint.warn("log spool waits", fmt.Errorf("%s: %w", what, err))
		if err := sleep(ctx, retryPause); err != nil {
			return err
		}
	}
}

func (f *Forwarder) setTrouble(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.trouble = err
}

// reachable returns why nothing can be forwarded now, nil if it can.
func (f *Forwarder) reachable() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.trouble != nil:
		return f.trouble
	case f.remote == nil:
		return errors.New("remote log: not connected yet")
	case !f.remote.conn.IsConnected():
		return errors.New("remote log: not connected")
	}
	if t := f.remote.trouble.Load(); t != nil {
		return fmt.Errorf("remote log: last write: %w", t.err)
	}
	return nil
}

// complaint warns of something that goes on, but not all the time.
type complaint struct {
	logger *slog.Logger
	last   time.Time
}

func (c *complaint) warn(text string, err error) {
	if time.Since(c.last) >= complainMin {
		c.last = time.Now()
		c.logger.Warn(text, "err", scrub(err.Error()))
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
