package lifecycle

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// recorder notes what happened, in order, with the virtual second.
type recorder struct {
	mu     sync.Mutex // guards events
	events []string

	watchdog time.Duration
}

func (r *recorder) note(what string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, what)
}

func (r *recorder) Notify(assignments ...string) {
	for _, a := range assignments {
		if !strings.HasPrefix(a, "STATUS=") && !strings.HasPrefix(a, "MONOTONIC_USEC=") {
			r.note(a)
		}
	}
}

func (r *recorder) Watchdog() time.Duration { return r.watchdog }

func (r *recorder) part(name string) Part {
	return Part{
		Name:  name,
		Start: func(context.Context) error { r.note("start " + name); return nil },
		Stop:  func(context.Context) error { r.note("stop " + name); return nil },
	}
}

// run runs p in a bubble while script sends signals, and checks the events.
func run(t *testing.T, r *recorder, p *Process, script func(chan<- os.Signal), want ...string) error {
	t.Helper()
	var err error
	var log bytes.Buffer
	synctest.Test(t, func(t *testing.T) {
		signals := make(chan os.Signal)
		p.Signals, p.Notifier, p.Logger = signals, r, slog.New(slog.NewTextHandler(&log, nil))
		done := make(chan error)
		go func() { done <- p.Run(context.Background()) }()
		synctest.Wait()
		go script(signals)
		err = <-done
		time.Sleep(time.Hour) // what Run left running ends in the bubble
	})
	if !slices.Equal(r.events, want) {
		t.Errorf("got events %q, want %q\n%s", r.events, want, log.String())
	}
	return err
}

func TestOrder(t *testing.T) {
	r := &recorder{}
	p := &Process{Parts: []Part{r.part("log"), {Name: "nothing"}, r.part("detector"), r.part("collector")}}
	err := run(t, r, p, func(c chan<- os.Signal) { c <- syscall.SIGTERM },
		"start log", "start detector", "start collector", "READY=1", "STOPPING=1", "stop collector", "stop detector", "stop log")
	if err != nil {
		t.Errorf("got %v, want a clean end", err)
	}
}

func TestStartFails(t *testing.T) {
	r := &recorder{}
	bad := r.part("detector")
	bad.Start = func(context.Context) error { return errors.New("disk full") }
	p := &Process{Parts: []Part{r.part("log"), bad, r.part("collector")}}
	err := run(t, r, p, func(chan<- os.Signal) {}, "start log", "STOPPING=1", "stop detector", "stop log")
	if err == nil || err.Error() != "start detector: disk full" {
		t.Errorf("got %v, want the part's name and cause", err)
	}
}

// A signal while a part starts ends that start by its context.
func TestSignalWhileStarting(t *testing.T) {
	r := &recorder{}
	slow := r.part("detector")
	slow.Start = func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	p := &Process{Parts: []Part{r.part("log"), slow, r.part("collector")}}
	err := run(t, r, p, func(c chan<- os.Signal) { c <- syscall.SIGHUP; c <- syscall.SIGINT },
		"start log", "STOPPING=1", "stop detector", "stop log")
	if err != nil {
		t.Errorf("got %v, want a clean end", err)
	}
}

func TestDeathEndsTheProcessByName(t *testing.T) {
	r := &recorder{}
	var err error
	synctest.Test(t, func(t *testing.T) {
		g := NewGroup(context.Background())
		dies := Part{
			Name: "collector",
			Start: func(context.Context) error {
				g.Go("flush", func(context.Context) error { time.Sleep(time.Hour); return errors.New("log is gone") })
				g.Go("receive 0", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
				return nil
			},
			Stop:   func(context.Context) error { g.Stop(); r.note("stop collector"); return nil },
			Failed: g.Failed(),
		}
		p := &Process{Parts: []Part{r.part("log"), dies}, Notifier: r, Logger: slog.New(slog.DiscardHandler), Signals: make(chan os.Signal)}
		err = p.Run(t.Context())
	})
	if err == nil || err.Error() != `collector: goroutine "flush": log is gone` {
		t.Errorf("got %v, want part, goroutine and cause", err)
	}
	want := []string{"start log", "READY=1", "STOPPING=1", "stop collector", "stop log"}
	if !slices.Equal(r.events, want) {
		t.Errorf("got events %q, want %q", r.events, want)
	}
}

func TestReload(t *testing.T) {
	r := &recorder{}
	fail := false
	p := &Process{Parts: []Part{r.part("a")}, Reload: func(context.Context) error {
		r.note("reload")
		if fail {
			return errors.New("bad file")
		}
		fail = true
		return nil
	}}
	err := run(t, r, p, func(c chan<- os.Signal) { c <- syscall.SIGHUP; c <- syscall.SIGHUP; c <- syscall.SIGTERM },
		"start a", "READY=1", "RELOADING=1", "reload", "READY=1", "RELOADING=1", "reload", "READY=1", "STOPPING=1", "stop a")
	if err != nil {
		t.Errorf("got %v: a failed reload must not end the process", err)
	}
}

// The watchdog hears a living process at least twice per interval, and a
// hanging one not at all.
func TestWatchdog(t *testing.T) {
	r := &recorder{watchdog: 10 * time.Second}
	var hang atomic.Bool
	p := &Process{Parts: []Part{r.part("a")}, Alive: func(ctx context.Context) error {
		if hang.Load() {
			<-ctx.Done()
			return ctx.Err()
		}
		return nil
	}}
	err := run(t, r, p, func(c chan<- os.Signal) {
		time.Sleep(11 * time.Second)
		hang.Store(true)
		time.Sleep(time.Hour)
		c <- syscall.SIGTERM
	}, "start a", "READY=1", "WATCHDOG=1", "WATCHDOG=1", "WATCHDOG=1", "STOPPING=1", "stop a")
	if err != nil {
		t.Error(err)
	}
}

func TestStopTimeout(t *testing.T) {
	r := &recorder{}
	stuck := r.part("detector")
	var took time.Duration
	stuck.Stop = func(context.Context) error { time.Sleep(time.Minute); return nil }
	last := r.part("log")
	var begin time.Time
	last.Stop = func(context.Context) error { took = time.Since(begin); r.note("stop log"); return nil }
	p := &Process{Parts: []Part{last, stuck}, StopTimeout: 5 * time.Second}
	err := run(t, r, p, func(c chan<- os.Signal) { begin = time.Now(); c <- syscall.SIGTERM },
		"start log", "start detector", "READY=1", "STOPPING=1", "stop log")
	if err == nil || err.Error() != "stop detector: not done after 5s" {
		t.Errorf("got %v, want the part that hangs", err)
	}
	if took != 5*time.Second+stopGrace {
		t.Errorf("the next part was stopped after %s, want 6s", took)
	}
}

func TestSecondSignalCutsStopShort(t *testing.T) {
	r := &recorder{}
	slow := r.part("a")
	slow.Stop = func(ctx context.Context) error { time.Sleep(50 * time.Second); return nil }
	p := &Process{Parts: []Part{slow}}
	err := run(t, r, p, func(c chan<- os.Signal) {
		c <- syscall.SIGINT
		time.Sleep(3 * time.Second)
		c <- syscall.SIGINT
	}, "start a", "READY=1", "STOPPING=1")
	if err == nil || !strings.Contains(err.Error(), "stop a: cut short by a second signal") {
		t.Errorf("got %v", err)
	}
}

// timeout(1) signals a process and its group: two signals that are one wish.
func TestDoubledSignalIsOne(t *testing.T) {
	r := &recorder{}
	slow := r.part("a")
	slow.Stop = func(ctx context.Context) error { time.Sleep(10 * time.Second); r.note("stop a"); return nil }
	p := &Process{Parts: []Part{slow}}
	err := run(t, r, p, func(c chan<- os.Signal) {
		c <- syscall.SIGTERM
		c <- syscall.SIGTERM
	}, "start a", "READY=1", "STOPPING=1", "stop a")
	if err != nil {
		t.Errorf("got %v", err)
	}
}

func TestGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGroup(t.Context())
		lives := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
		g.Go("lives", lives)
		g.Go("ends", func(context.Context) error { return nil })
		err := <-g.Failed()
		if !errors.Is(err, ErrUnexpectedEnd) || !strings.Contains(err.Error(), `"ends"`) {
			t.Errorf("got %v, want the name and ErrUnexpectedEnd", err)
		}
		g.Stop()
		g.Stop()
		select {
		case err := <-g.Failed():
			t.Errorf("a goroutine that was asked to end is reported: %v", err)
		default:
		}
	})
}
