package app

import (
	"context"
	"errors"
	"os"
	"time"
)

// quiet keeps an appliance inside another process from talking to the service
// manager in its name.
type quiet struct{}

func (quiet) Notify(...string)        {}
func (quiet) Watchdog() time.Duration { return 0 }

// Background runs the appliance inside another program, which keeps its
// signals. It returns when everyone works, or with the error that prevented
// it; stop ends the appliance as Ctrl-C would and returns what went wrong.
func (a *App) Background(ctx context.Context) (stop func() error, failure error) {
	ctx, cancel := context.WithCancel(ctx)
	p := a.Process()
	p.Signals, p.Notifier = make(chan os.Signal), quiet{}
	ended := make(chan struct{})
	var outcome error // of the run, once it has ended
	go func() {
		outcome = p.Run(ctx)
		close(ended)
	}()
	stop = func() error {
		cancel()
		<-ended
		return outcome
	}
	poll := time.NewTicker(10 * time.Millisecond)
	defer poll.Stop()
	for {
		select {
		case <-ended:
			if outcome == nil {
				outcome = context.Cause(ctx)
			}
			return nil, outcome
		case <-ctx.Done():
			return nil, errors.Join(context.Cause(ctx), stop())
		case <-poll.C:
			if a.Ready() == nil {
				return stop, nil
			}
		}
	}
}
