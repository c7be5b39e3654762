package app

import (
	"context"

	"github.com/flowhound/flowhound/federation/feed"
)

// newForwarder returns what moves the collector's log to the one at log.url.
func (a *App) newForwarder() (*feed.Forwarder, error) {
	return feed.NewForwarder(a.log.Load(), feed.ForwardConfig{
		Collector: a.cfg.Collector.Name, Remote: a.cfg.feed(), Keep: feed.DefaultKeep,
	}, feed.Deps{Registerer: a.registry, Logger: a.deps.Logger})
}

func (a *App) startForwarder(context.Context) error {
	f, err := a.newForwarder()
	if err != nil {
		return err
	}
	a.forwarder.Store(f)
	f.Start()
	a.watch(f.Failed(), a.forwarderFailed)
	return nil
}

func (a *App) stopForwarder(ctx context.Context) error {
	if f := a.forwarder.Load(); f != nil {
		f.Stop(ctx)
	}
	return nil
}
