// Package lifecycle runs a process: its parts start in order and stop in
// reverse, the death of any goroutine ends the process by name, SIGINT and
// SIGTERM stop it, SIGHUP reloads it, and systemd hears about all of it
// (sd_notify(3), systemd.service(5) WatchdogSec=, sd_listen_fds(3)).
package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"
)

// DefaultStopTimeout is how long all Stops together may take: a collector's
// last flush needs seconds when its log is slow.
const DefaultStopTimeout = 60 * time.Second

// Part is one thing that a process starts and stops. Start acquires and
// returns once the part works; Stop releases, is called even if Start failed,
// and may be called twice. Either may be nil.
type Part struct {
	Name  string
	Start func(context.Context) error
	Stop  func(context.Context) error
	// Failed yields the error of a part that died after its start (see
	// [Group.Failed]); nil: it never dies on its own.
	Failed <-chan error
}

// Process is a program's life from start to exit.
//
//	starting ──all started──► running ──signal, death──► stopping ──► ended
//	    │                      │   ▲                        ▲
//	    │                      └───┘ SIGHUP                 │
//	    └──────────failure, signal──────────────────────────┘
//
// The zero value of each optional field has a meaning that fits production.
type Process struct {
	Parts  []Part
	Logger *slog.Logger
	// Reload reads the configuration again; an error leaves the old one in
	// force. nil: SIGHUP is ignored.
	Reload func(context.Context) error
	// Alive is asked before each watchdog ping: an error, or not returning,
	// withholds the ping. nil: a running scheduler is alive enough.
	Alive func(context.Context) error
	// StopTimeout bounds the stop phase; 0: [DefaultStopTimeout].
	StopTimeout time.Duration
	// Signals replaces the operating system's signals in tests.
	Signals <-chan os.Signal
	// Notifier replaces the service manager in tests; nil: [SystemdNotifier].
	Notifier Notifier
}

// Run starts the parts, serves until ctx ends, a signal asks to stop or a part
// dies, then stops the parts. The error joins why the process ended, if not by
// wish, with what went wrong while stopping; each begins with the part's name.
func (p *Process) Run(ctx context.Context) error {
	p.defaults()
	signals := p.Signals
	if signals == nil {
		c := make(chan os.Signal, 4)
		signal.Notify(c, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
		defer signal.Stop(c)
		signals = c
	}
	started, err := p.start(ctx, signals)
	if err == nil && started == len(p.Parts) {
		p.Notifier.Notify("READY=1", "STATUS=running")
		p.Logger.Info("process ready", "pid", os.Getpid())
		err = p.serve(ctx, signals)
	}
	p.Notifier.Notify("STOPPING=1", "STATUS=stopping")
	return errors.Join(err, p.stop(started, signals))
}

func (p *Process) defaults() {
	if p.Logger == nil {
		p.Logger = slog.Default()
	}
	if p.StopTimeout == 0 {
		p.StopTimeout = DefaultStopTimeout
	}
	if p.Notifier == nil {
		p.Notifier = SystemdNotifier{}
	}
}

// start starts the parts and returns how many are to be stopped. A signal or
// the end of ctx while starting cancels the part that is starting; that is a
// wish, not an error.
func (p *Process) start(ctx context.Context, signals <-chan os.Signal) (int, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for i, part := range p.Parts {
		if part.Start == nil {
			continue
		}
		p.Notifier.Notify("STATUS=starting " + part.Name)
		begin := time.Now()
		done := make(chan error, 1)
		go func() { done <- part.Start(ctx) }()
		err := p.awaitStart(cancel, done, signals)
		if err == nil && ctx.Err() == nil {
			p.Logger.Debug("part started", "part", part.Name, "took", time.Since(begin))
			continue
		}
		if ctx.Err() != nil {
			p.Logger.Info("start abandoned", "part", part.Name)
			return i + 1, nil
		}
		return i + 1, fmt.Errorf("start %s: %w", part.Name, err)
	}
	return len(p.Parts), nil
}

// awaitStart waits for a Start; a stopping signal calls cancel.
func (p *Process) awaitStart(cancel func(), done <-chan error, signals <-chan os.Signal) error {
	for {
		select {
		case err := <-done:
			return err
		case s := <-signals:
			if s != syscall.SIGHUP {
				p.Logger.Info("signal while starting", "signal", s.String())
				cancel()
			}
		}
	}
}

// serve returns nil when it was asked to end, else the death of a part.
func (p *Process) serve(ctx context.Context, signals <-chan os.Signal) error {
	ctx, cancel := context.WithCancel(ctx)
	watchdog := NewGroup(ctx)
	defer watchdog.Stop()
	defer cancel()
	if interval := p.Notifier.Watchdog(); interval > 0 {
		watchdog.Go("watchdog", func(ctx context.Context) error { return p.ping(ctx, interval/2) })
	}
	deaths := p.deaths(ctx, watchdog)
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-deaths:
			p.Logger.Error("part died", "err", err)
			return err
		case s := <-signals:
			if s == syscall.SIGHUP {
				p.reload(ctx)
				continue
			}
			p.Logger.Info("signal", "signal", s.String())
			return nil
		}
	}
}

// deaths merges the Failed channels of all parts; g's goroutines carry it.
func (p *Process) deaths(ctx context.Context, g *Group) <-chan error {
	deaths := make(chan error, len(p.Parts))
	for _, part := range p.Parts {
		if part.Failed == nil {
			continue
		}
		g.Go("watch "+part.Name, func(context.Context) error {
			select {
			case err := <-part.Failed:
				deaths <- fmt.Errorf("%s: %w", part.Name, orUnexpected(err))
				<-ctx.Done()
			case <-ctx.Done():
			}
			return nil
		})
	}
	return deaths
}

// ErrUnexpectedEnd is the error of a goroutine that returned nil although
// nobody had asked it to end.
var ErrUnexpectedEnd = errors.New("ended although nobody asked it to")

func orUnexpected(err error) error {
	if err == nil {
		return ErrUnexpectedEnd
	}
	return err
}

func (p *Process) reload(ctx context.Context) {
	if p.Reload == nil {
		p.Logger.Info("signal ignored: nothing to reload", "signal", syscall.SIGHUP.String())
		return
	}
	p.Notifier.Notify("RELOADING=1", monotonic(), "STATUS=reloading")
	err := p.Reload(ctx)
	if err != nil {
		p.Logger.Error("reload failed, the old configuration stays in force", "err", err)
		p.Notifier.Notify("READY=1", "STATUS=running; the last reload failed, the old configuration is in force")
		return
	}
	p.Logger.Info("reloaded")
	p.Notifier.Notify("READY=1", "STATUS=running")
}

// ping tells the watchdog every interval that the process is alive.
func (p *Process) ping(ctx context.Context, interval time.Duration) error {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		if err := p.alive(ctx); err != nil {
			p.Logger.Error("not alive, watchdog ping withheld", "err", err)
		} else {
			p.Notifier.Notify("WATCHDOG=1")
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (p *Process) alive(ctx context.Context) error {
	if p.Alive == nil {
		return nil
	}
	return p.Alive(ctx)
}

// stop stops the first n parts in reverse order. The time limit, or a later
// signal, cuts the waiting short: the process then ends with a part still
// running, and says which.
func (p *Process) stop(n int, signals <-chan os.Signal) error {
	ctx, cancel := context.WithTimeoutCause(context.Background(), p.StopTimeout,
		fmt.Errorf("not done after %s", p.StopTimeout))
	defer cancel()
	var errs []error
	begun := time.Now()
	for _, part := range slices.Backward(p.Parts[:n]) {
		if part.Stop == nil {
			continue
		}
		begin := time.Now()
		done := make(chan error, 1)
		go func() { done <- part.Stop(ctx) }()
		if err := awaitStop(ctx, done, signals, begun); err != nil {
			errs = append(errs, fmt.Errorf("stop %s: %w", part.Name, err))
			continue
		}
		p.Logger.Debug("part stopped", "part", part.Name, "took", time.Since(begin))
	}
	return errors.Join(errs...)
}

// stopGrace is what a Stop gets to return in after its context has ended.
const stopGrace = time.Second

// sameSignal is how long after the first signal another counts as the same
// one: timeout(1) sends two at once, and fingers press Ctrl-C twice.
const sameSignal = 2 * time.Second

func awaitStop(ctx context.Context, done <-chan error, signals <-chan os.Signal, begun time.Time) error {
	limit := ctx.Done()
	var grace <-chan time.Time
	for {
		select {
		case err := <-done:
			return err
		case <-limit:
			limit, grace = nil, time.After(stopGrace)
		case <-grace:
			return context.Cause(ctx)
		case s := <-signals:
			if s != syscall.SIGHUP && time.Since(begun) > sameSignal {
				return fmt.Errorf("cut short by a second signal (%s)", s)
			}
		}
	}
}
