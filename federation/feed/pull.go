package feed

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// One fetch's bounds. All readers of a process share a connection, which the
// server cuts when 64 MB wait in it. A message larger than fetchBytes ends a
// fetch empty; the next then has room for the largest there is. The client
// sets room for the number of messages aside, so FetchBytes, which stands for
// a million, is not used.
const (
	fetchMessages  = 512
	fetchBytes     = 2 << 20
	wideFetchBytes = maxPayload + 1<<20
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
	subjects []string        // nil for all: then sequences have no holes
	life     context.Context // ends with Close, or with the log
	end      context.CancelFunc

	mu    sync.Mutex // guards what follows; held while a message is awaited
	want  uint64     // the least sequence that comes next
	gap   *GapError  // found but not reported yet
	onGap func(*GapError)

	consumer  jetstream.Consumer
	delivered uint64 // messages that this consumer sent, by its own count
	batch     jetstream.MessageBatch
	cancel    context.CancelFunc // ends batch
	fruitful  bool               // batch had a message
	pause     time.Duration      // before the next attach
	closed    bool
}

func (l *Log) newReader(ctx context.Context, stream string, subjects []string, from uint64) (*reader, error) {
	r := &reader{log: l, stream: stream, subjects: subjects, want: from}
	r.life, r.end = context.WithCancel(l.life)
	if err := r.attach(ctx); err != nil {
		r.end()
		return nil, err
	}
	return r, nil
}

// OnGap makes Next call f and go on behind the gap, where it would return a
// GapError.
func (r *reader) OnGap(f func(*GapError)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.onGap = f
}

// Close releases the reader; a Next under way returns ErrClosed. It may be
// called twice.
func (r *reader) Close() {
	r.end()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return
	}
	r.closed = true
	r.endFetch()
	if r.consumer == nil || !r.log.conn.IsConnected() {
		return
	}
	// Only a courtesy: an idle consumer goes away by itself.
	ctx, cancel := context.WithTimeout(r.log.life, time.Second)
	defer cancel()
	_ = r.log.js.DeleteConsumer(ctx, r.stream, r.consumer.CachedInfo().Name)
}

// attach makes a consumer that starts at r.want, or behind what is missing
// there.
func (r *reader) attach(ctx context.Context) error {
	s, err := r.log.stream(ctx, r.stream)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	state := s.CachedInfo().State
	switch {
	case r.want == 0:
		r.want = max(state.FirstSeq, 1)
	case r.want > state.LastSeq+1:
		return &GapError{Stream: r.stream, Want: r.want, Last: state.LastSeq}
	case r.want < state.FirstSeq:
		r.missing(state.FirstSeq, state.LastSeq)
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

// missing notes that the stream goes on with message seq and holds none from
// r.want to there.
func (r *reader) missing(seq, last uint64) {
	if r.gap == nil {
		r.gap = &GapError{Stream: r.stream, Want: r.want}
		r.log.metrics.gaps.WithLabelValues(r.stream).Inc()
	}
	r.gap.Next, r.gap.Last = seq, last
	r.want = seq
}

// next returns the next message.
func (r *reader) next(ctx context.Context) (seq uint64, subject string, payload []byte, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		if err := r.ready(ctx); err != nil {
			return 0, "", nil, err
		}
		if gap := r.gap; gap != nil {
			r.gap = nil
			if r.onGap == nil {
				return 0, "", nil, gap
			}
			r.onGap(gap)
		}
		select {
		case <-ctx.Done():
			return 0, "", nil, ctx.Err()
		case <-r.life.Done():
			return 0, "", nil, ErrClosed
		case m, ok := <-r.batch.Messages():
			if !ok {
				r.fetched()
			} else if seq := r.accept(m); seq != 0 {
				return seq, m.Subject(), m.Data(), nil
			}
		}
	}
}

// ready makes sure that a fetch is open. It fails when ctx or the reader ends,
// and when the stream ends before r.want.
func (r *reader) ready(ctx context.Context) error {
	for r.batch == nil {
		if r.life.Err() != nil {
			return ErrClosed
		}
		err := r.open(ctx)
		var gap *GapError
		switch {
		case err == nil:
			return nil
		case errors.As(err, &gap):
			return err
		}
		r.drop(err)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-r.life.Done():
			return ErrClosed
		case <-time.After(r.pause):
		}
	}
	return nil
}

// open opens a fetch, on a new consumer if there is none.
func (r *reader) open(ctx context.Context) error {
	if r.consumer == nil {
		ctx, cancel := context.WithCancel(ctx)
		stop := context.AfterFunc(r.life, cancel)
		err := r.attach(ctx)
		stop()
		cancel()
		if err != nil {
			return err
		}
	}
	life, cancel := context.WithTimeout(r.life, fetchTime)
	bytes := wideFetchBytes
	if r.fruitful {
		bytes = fetchBytes
	}
	batch, err := r.consumer.Fetch(fetchMessages, jetstream.FetchMaxBytes(bytes),
		jetstream.FetchContext(life), jetstream.FetchHeartbeat(fetchHeartbeat))
	if err != nil {
		cancel()
		return err
	}
	r.batch, r.cancel, r.fruitful = batch, cancel, false
	return nil
}

// fetched ends a fetch that has no more messages.
func (r *reader) fetched() {
	err := r.batch.Error()
	r.endFetch()
	if err != nil && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) {
		r.drop(err)
	}
}

// accept checks that m is the message that comes next. It returns 0 if not.
func (r *reader) accept(m jetstream.Msg) (seq uint64) {
	meta, err := m.Metadata()
	if err != nil {
		r.drop(err)
		return 0
	}
	r.delivered++
	seq = meta.Sequence.Stream
	switch {
	case meta.Sequence.Consumer != r.delivered:
		r.drop(fmt.Errorf("delivery %d where %d comes next", meta.Sequence.Consumer, r.delivered))
		return 0
	case seq < r.want:
		return 0
	case seq > r.want && r.subjects == nil:
		// Nothing was lost on the way: the hole is in the stream, at its old
		// end or, after damage, inside. The next attach goes on behind it.
		r.missing(seq, seq)
		r.drop(r.gap)
		return 0
	}
	r.want = seq + 1
	r.pause, r.fruitful = 0, true
	return seq
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
