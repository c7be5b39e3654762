package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/flowhound/flowhound/collector"
	"github.com/flowhound/flowhound/detector"
	"github.com/flowhound/flowhound/federation/feed"
	"github.com/flowhound/flowhound/internal/flow"
)

// The roles say what they need of a log; the feed offers it.
var (
	_ collector.Log = (*feed.Log)(nil)
	_ detector.Log  = detectorLog{}
)

// detectorLog is the feed in the detector's words. Where the log lost messages
// its readers go on behind the gap: the detector counts by the commits what it
// missed.
type detectorLog struct {
	*feed.Log
	logger *slog.Logger
}

func (l detectorLog) gap(g *feed.GapError) { l.logger.Warn("the log lost messages", "err", g) }

// AppendControl implements [detector.Log].
func (l detectorLog) AppendControl(ctx context.Context, key string, last uint64, payload []byte) (uint64, error) {
	seq, err := l.Log.AppendControl(ctx, key, last, payload)
	if errors.Is(err, feed.ErrConflict) {
		return 0, fmt.Errorf("%w: %w", detector.ErrConflict, err)
	}
	return seq, err
}

// Control implements [detector.Log].
func (l detectorLog) Control(ctx context.Context, from uint64) (detector.ControlReader, error) {
	r, err := l.Log.Control(ctx, from)
	if err != nil {
		return nil, err
	}
	r.OnGap(l.gap)
	return r, nil
}

// Batches implements [detector.Log].
func (l detectorLog) Batches(ctx context.Context, stream int, shards []flow.Shard, from uint64) (detector.BatchReader, error) {
	r, err := l.Log.Batches(ctx, stream, shards, from)
	if err != nil {
		return nil, err
	}
	r.OnGap(l.gap)
	return r, nil
}
