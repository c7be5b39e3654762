package feed

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/flowhound/flowhound/internal/flow"
)

// A ControlReader reads the control stream in order. One goroutine may call
// Next; Close may come from another.
type ControlReader struct{ *reader }

// Control returns a reader of the control stream that begins with message
// from, which need not be there yet; 0 begins with the oldest there is. It
// fails with a GapError if the stream ends before from − 1.
func (l *Log) Control(ctx context.Context, from uint64) (*ControlReader, error) {
	r, err := l.newReader(ctx, controlStream, nil, from)
	if err != nil {
		return nil, err
	}
	return &ControlReader{r}, nil
}

// Next waits for the next message: sequences rise by one, without a hole. It
// fails when ctx ends, and may then be called again; with a GapError when
// messages are missing, and the call after that goes on behind them; with
// ErrClosed. Everything else it retries. The payload belongs to the caller.
func (c *ControlReader) Next(ctx context.Context) (seq uint64, key string, payload []byte, err error) {
	seq, subject, payload, err := c.next(ctx)
	return seq, strings.TrimPrefix(subject, controlPrefix), payload, err
}

// A BatchReader reads one contact stream, or some of its shards, in order. One
// goroutine may call Next; Close may come from another.
type BatchReader struct{ *reader }

// Batches returns a reader of contact stream number stream, 0 to Streams − 1,
// that begins as [Log.Control] does. With shards, it leaves out all others;
// they must be of this stream. With all shards of the stream, or none named,
// no missing message goes unnoticed; with some, only the batches' Seq tells of
// one that was dropped while the reader was at it.
func (l *Log) Batches(ctx context.Context, stream int, shards []flow.Shard, from uint64) (*BatchReader, error) {
	if stream < 0 || stream >= Streams {
		return nil, fmt.Errorf("log: contact stream %d: want 0 to %d", stream, Streams-1)
	}
	var subjects []string
	for _, s := range shards {
		if int(s)%Streams != stream {
			return nil, fmt.Errorf("log: shard %d is not in contact stream %d", s, stream)
		}
		subjects = append(subjects, contactSubject(s))
	}
	if len(subjects) == flow.Shards/Streams {
		subjects = nil
	}
	r, err := l.newReader(ctx, contactStream(stream), subjects, from)
	if err != nil {
		return nil, err
	}
	return &BatchReader{r}, nil
}

// Next waits for the next batch, as [ControlReader.Next] does; with only some
// shards, sequences rise by one or more.
func (b *BatchReader) Next(ctx context.Context) (seq uint64, shard flow.Shard, payload []byte, err error) {
	seq, subject, payload, err := b.next(ctx)
	if err != nil {
		return 0, 0, nil, err
	}
	n, err := strconv.ParseUint(strings.TrimPrefix(subject, contactPrefix), 10, 8)
	if err != nil {
		return 0, 0, nil, fmt.Errorf("log subject %q: not a shard's", subject)
	}
	return seq, flow.Shard(n), payload, nil
}
