package lifecycle

import (
	"context"
	"fmt"
	"sync"
)

// Group runs the named goroutines of a component. They are expected to live
// until Stop: the first that returns before is a death, which Failed yields
// with the goroutine's name. A panic is not caught: the runtime's report, with
// every goroutine's stack, says more than a recovered error. Safe for
// concurrent use, but Go must not be called after Stop.
type Group struct {
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
	failed chan error // capacity 1; the first death
}

// NewGroup returns an empty group whose goroutines' context ends with parent
// or with Stop.
func NewGroup(parent context.Context) *Group {
	ctx, cancel := context.WithCancel(parent)
	return &Group{ctx: ctx, cancel: cancel, failed: make(chan error, 1)}
}

// Go runs f in a goroutine called name, with a context that ends at Stop.
func (g *Group) Go(name string, f func(context.Context) error) {
	g.wg.Go(func() {
		err := f(g.ctx)
		if g.ctx.Err() != nil {
			return
		}
		select {
		case g.failed <- fmt.Errorf("goroutine %q: %w", name, orUnexpected(err)):
		default:
		}
	})
}

// Failed yields the first death, once.
func (g *Group) Failed() <-chan error { return g.failed }

// Stop ends the context of all goroutines and waits for them. It may be
// called twice.
func (g *Group) Stop() {
	g.cancel()
	g.wg.Wait()
}
