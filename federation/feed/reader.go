package feed

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/flowhound/flowhound/internal/flow"
)

// A ControlReader reads the control stream in order. It is for one goroutine.
type ControlReader struct{ r *reader }

// Control returns a reader of the control stream that begins with message
// from, which need not be there yet; 0 begins with the oldest there is. It
// fails with a GapError if from was dropped, or if the stream ends before
// from − 1.
func (l *Log) Control(ctx context.Context, from uint64) (*ControlReader, error) {
	r, err := l.newReader(ctx, controlStream, nil, from)
	if err != nil {
		return nil, err
	}
	return &ControlReader{r}, nil
}

// Next waits for the next message: sequences rise by one, without a hole. It
// fails when ctx ends, and may then be called again; with a GapError when
// messages were dropped before they were read; with ErrClosed. Everything else
// it retries. The payload belongs to the caller.
func (c *ControlReader) Next(ctx context.Context) (seq uint64, key string, payload []byte, err error) {
	seq, subject, payload, err := c.r.next(ctx)
	return seq, strings.TrimPrefix(subject, controlPrefix), payload, err
}

// Close releases the reader.
func (c *ControlReader) Close() { c.r.close() }

// A BatchReader reads one contact stream, or some of its shards, in order. It
// is for one goroutine.
type BatchReader struct{ r *reader }

// Batches returns a reader of contact stream number stream, 0 to Streams − 1,
// that begins as [Log.Control] does. With shards, it leaves out all others;
// they must be of this stream. With all shards of the stream, or none named,
// a dropped message cannot go unnoticed; with some, the first message that is
// missing is noticed by the batches' Seq only.
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
	seq, subject, payload, err := b.r.next(ctx)
	if err != nil {
		return 0, 0, nil, err
	}
	n, err := strconv.ParseUint(strings.TrimPrefix(subject, contactPrefix), 10, 8)
	if err != nil {
		return 0, 0, nil, fmt.Errorf("log subject %q: not a shard's", subject)
	}
	return seq, flow.Shard(n), payload, nil
}

// Close releases the reader.
func (b *BatchReader) Close() { b.r.close() }

// One fetch's bounds. More bytes than the largest message, or a fetch of it
// would never succeed.
const (
	fetchMessages  = 512
	fetchBytes     = maxPayload + 1<<20
	fetchTime      = 5 * time.Second
	fetchHeartbeat = time.Second
)

// reader reads a stream through pull consumers that it makes anew, from where
// it stands, whenever anything goes wrong. The server keeps no position.
//
//	no consumer ──attach──► consumer ──fetch──► fetch open ──message──┐
//	     ▲                      ▲                  │  ▲               │
//	     └──── error, loss ─────┴──── used up ─────┘  └───────────────┘
type reader struct {
	log      *Log
	stream   string
	subjects []string // nil for all: then sequences have no holes
	want     uint64   // the least sequence that comes next

	consumer  jetstream.Consumer
	delivered uint64 // messages that this consumer sent, by its own count
	batch     jetstream.MessageBatch
	cancel    context.CancelFunc // ends batch
	pause     time.Duration      // before the next attach
	closed    bool
}

func (l *Log) newReader(ctx context.Context, stream string, subjects []string, from uint64) (*reader, error) {
	r := &reader{log: l, stream: stream, subjects: subjects, want: from}
	if err := r.attach(ctx); err != nil {
		return nil, err
	}
	return r, nil
}

// attach makes a consumer that starts at r.want.
func (r *reader) attach(ctx context.Context) error {
	s, err := r.log.js.Stream(ctx, r.stream)
	if err != nil {
		return fmt.Errorf("log stream %s: %w", r.stream, err)
	}
	state := s.CachedInfo().State
	if r.want == 0 {
		r.want = max(state.FirstSeq, 1)
	}
	if r.want > state.LastSeq+1 || r.want < state.FirstSeq {
		return &GapError{Stream: r.stream, Want: r.want, First: state.FirstSeq, Last: state.LastSeq}
	}
	r.consumer, err = s.CreateConsumer(ctx, jetstream.ConsumerConfig{
		FilterSubjects:    r.subjects,
		AckPolicy:         jetstream.AckNonePolicy,
		DeliverPolicy:     jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:       r.want,
		MemoryStorage:     true,
		Replicas:          1,
		InactiveThreshold: 30 * time.Second,
	})
	if err != nil {
		return fmt.Errorf("log stream %s: consumer: %w", r.stream, err)
	}
	r.delivered = 0
	return nil
}

// next returns the next message.
func (r *reader) next(ctx context.Context) (seq uint64, subject string, payload []byte, err error) {
	for {
		if err := r.ready(ctx); err != nil {
			return 0, "", nil, err
		}
		select {
		case <-ctx.Done():
			return 0, "", nil, ctx.Err()
		case <-r.log.done:
			return 0, "", nil, ErrClosed
		case m, ok := <-r.batch.Messages():
			if !ok {
				r.fetched()
				continue
			}
			seq, hole := r.accept(m)
			if hole {
				return 0, "", nil, r.gap(ctx, seq)
			}
			if seq != 0 {
				return seq, m.Subject(), m.Data(), nil
			}
		}
	}
}

// ready makes sure that a fetch is open. Only a gap, or the end of ctx or of
// the log, keeps it from that.
func (r *reader) ready(ctx context.Context) error {
	for r.batch == nil {
		if r.closed {
			return ErrClosed
		}
		err := r.open(ctx)
		var gap *GapError
		switch {
		case err == nil:
			return nil
		case errors.As(err, &gap):
			r.log.metrics.gaps.WithLabelValues(r.stream).Inc()
			return err
		}
		r.drop(err)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-r.log.done:
			return ErrClosed
		case <-time.After(r.pause):
		}
	}
	return nil
}

// open opens a fetch, on a new consumer if there is none.
func (r *reader) open(ctx context.Context) error {
	if r.consumer == nil {
		call, cancel := context.WithTimeout(ctx, callTimeout)
		err := r.attach(call)
		cancel()
		if err != nil {
			return err
		}
	}
	life, cancel := context.WithTimeout(r.log.life, fetchTime)
	batch, err := r.consumer.Fetch(fetchMessages, jetstream.FetchMaxBytes(fetchBytes),
		jetstream.FetchContext(life), jetstream.FetchHeartbeat(fetchHeartbeat))
	if err != nil {
		cancel()
		return err
	}
	r.batch, r.cancel = batch, cancel
	return nil
}

// fetched ends a fetch that has no more messages.
func (r *reader) fetched() {
	err := r.batch.Error()
	r.endFetch()
	if err != nil && !errors.Is(err, context.DeadlineExceeded) {
		r.drop(err)
	}
}

// accept checks that m is the message that comes next. It returns 0 for one to
// skip. A hole means that the stream does not hold what comes before seq.
func (r *reader) accept(m jetstream.Msg) (seq uint64, hole bool) {
	meta, err := m.Metadata()
	if err != nil {
		r.drop(err)
		return 0, false
	}
	r.delivered++
	seq = meta.Sequence.Stream
	if meta.Sequence.Consumer != r.delivered {
		r.drop(fmt.Errorf("delivery %d where %d comes next", meta.Sequence.Consumer, r.delivered))
		return 0, false
	}
	if seq < r.want {
		return 0, false
	}
	if r.subjects == nil && seq != r.want {
		return seq, true
	}
	r.want = seq + 1
	r.pause = 0
	return seq, false
}

// gap describes the hole before message seq. As nothing was lost on the way,
// it is in the stream: at its old end or, after damage, inside.
func (r *reader) gap(ctx context.Context, seq uint64) error {
	gap := &GapError{Stream: r.stream, Want: r.want, First: seq, Last: seq}
	if s, err := r.log.js.Stream(ctx, r.stream); err == nil {
		gap.First, gap.Last = s.CachedInfo().State.FirstSeq, s.CachedInfo().State.LastSeq
	}
	r.drop(gap)
	r.log.metrics.gaps.WithLabelValues(r.stream).Inc()
	return gap
}

// drop gives the consumer up after an error; the next attach waits longer
// each time until a message arrives.
func (r *reader) drop(err error) {
	r.endFetch()
	r.consumer = nil
	r.pause = min(max(2*r.pause, 20*time.Millisecond), time.Second)
	r.log.metrics.restarts.WithLabelValues(r.stream).Inc()
	r.log.logger.Debug("log reader starts again", "stream", r.stream, "seq", r.want, "err", scrub(err.Error()))
}

// endFetch ends the open fetch, if any, and waits for its goroutine.
func (r *reader) endFetch() {
	if r.batch == nil {
		return
	}
	r.cancel()
	for range r.batch.Messages() {
		continue
	}
	r.batch = nil
}

func (r *reader) close() {
	if r.closed {
		return
	}
	r.closed = true
	r.endFetch()
	if r.consumer == nil {
		return
	}
	// Only a courtesy: an idle consumer goes away by itself.
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if s, err := r.log.js.Stream(ctx, r.stream); err == nil {
		_ = s.DeleteConsumer(ctx, r.consumer.CachedInfo().Name)
	}
}
