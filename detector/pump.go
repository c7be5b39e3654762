package detector

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/flowhound/flowhound/internal/flow"
)

// prefetched is how many messages a pump reads ahead.
const prefetched = 16

// retryAfter is the pause after the log failed.
const retryAfter = time.Second

// message is one message of a stream: of the control stream with a key, of a
// stream of batches with a shard.
type message struct {
	seq     uint64
	key     string
	shard   flow.Shard
	payload []byte
}

// nextFunc reads the next message of an opened stream, closeFunc ends that.
type (
	nextFunc  func(ctx context.Context) (message, error)
	closeFunc func()
)

// pump copies a stream of the log into a channel, and opens the stream again
// where it left off when reading fails.
type pump struct {
	name   string
	open   func(ctx context.Context, from uint64) (nextFunc, closeFunc, error)
	errors *atomic.Uint64
	log    *slog.Logger
	out    chan message
}

// run reads from sequence number from on until ctx is done.
func (p *pump) run(ctx context.Context, from uint64) {
	for failed := false; ctx.Err() == nil; {
		read, err := p.copy(ctx, &from)
		if ctx.Err() != nil {
			return
		}
		p.errors.Add(1)
		if !failed || read {
			p.log.Warn("log stream failed, opening it again", "err", err, "stream", p.name, "from", from)
		}
		failed = true
		select {
		case <-ctx.Done():
		case <-time.After(retryAfter):
		}
	}
}

// copy reads until two errors follow each other, and says whether it read
// anything before. The first may be the log's word that messages are missing,
// and the next read goes on behind them.
func (p *pump) copy(ctx context.Context, from *uint64) (read bool, err error) {
	next, closeReader, err := p.open(ctx, *from)
	if err != nil {
		return false, err
	}
	defer closeReader()
	for failed := false; ; {
		m, err := next(ctx)
		if err != nil {
			if failed || ctx.Err() != nil {
				return read, err
			}
			failed = true
			p.errors.Add(1)
			p.log.Warn("log stream read failed", "err", err, "stream", p.name, "from", *from)
			continue
		}
		read, failed, *from = true, false, m.seq+1
		select {
		case p.out <- m:
		case <-ctx.Done():
			return read, ctx.Err()
		}
	}
}

// controlPump reads the control stream.
func (d *Detector) controlPump() *pump {
	return d.newPump("control", func(ctx context.Context, from uint64) (nextFunc, closeFunc, error) {
		r, err := d.deps.Log.Control(ctx, from)
		if err != nil {
			return nil, nil, err
		}
		return func(ctx context.Context) (m message, err error) {
			m.seq, m.key, m.payload, err = r.Next(ctx)
			return m, err
		}, r.Close, nil
	})
}

// batchPump reads one stream of batches.
func (d *Detector) batchPump(stream int) *pump {
	var shards []flow.Shard
	for s := stream; s < flow.Shards; s += Streams {
		shards = append(shards, flow.Shard(s))
	}
	return d.newPump(streamName(stream), func(ctx context.Context, from uint64) (nextFunc, closeFunc, error) {
		r, err := d.deps.Log.Batches(ctx, stream, shards, from)
		if err != nil {
			return nil, nil, err
		}
		return func(ctx context.Context) (m message, err error) {
			m.seq, m.shard, m.payload, err = r.Next(ctx)
			return m, err
		}, r.Close, nil
	})
}

func (d *Detector) newPump(name string, open func(context.Context, uint64) (nextFunc, closeFunc, error)) *pump {
	return &pump{name: name, open: open, errors: &d.logErrors, log: d.deps.Logger, out: make(chan message, prefetched)}
}
