package detector

import (
	"context"
	"errors"
	"sync"

	"github.com/flowhound/flowhound/internal/flow"
)

// memLog is a Log in memory. What a test put into it survives the detectors
// that read it, as a log does.
type memLog struct {
	mu      sync.Mutex // guards what follows
	changed chan struct{}
	control []message
	batches [Streams][]message
	dropped uint64 // control messages up to here are gone
	broken  error  // what reads return, if set
}

func newMemLog() *memLog { return &memLog{changed: make(chan struct{})} }

var _ Log = (*memLog)(nil)

var errClosed = errors.New("reader closed")

func (l *memLog) wake() {
	close(l.changed)
	l.changed = make(chan struct{})
}

func (l *memLog) AppendControl(ctx context.Context, key string, last uint64, payload []byte) (uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.last(key).seq != last {
		return 0, ErrConflict
	}
	l.control = append(l.control, message{seq: uint64(len(l.control)) + 1, key: key, payload: payload})
	l.wake()
	return uint64(len(l.control)), nil
}

// last returns the newest message of a key. Called with mu held.
func (l *memLog) last(key string) message {
	for i := len(l.control) - 1; i >= int(l.dropped); i-- {
		if l.control[i].key == key {
			return l.control[i]
		}
	}
	return message{}
}

func (l *memLog) LastControl(ctx context.Context, key string) (uint64, []byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	m := l.last(key)
	return m.seq, m.payload, nil
}

func (l *memLog) ControlBounds(ctx context.Context) (first, last uint64, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.dropped + 1, uint64(len(l.control)), nil
}

func (l *memLog) BatchBounds(ctx context.Context, stream int) (first, last uint64, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return 1, uint64(len(l.batches[stream])), nil
}

// publish appends a batch.
func (l *memLog) publish(shard flow.Shard, payload []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := &l.batches[shard%Streams]
	*s = append(*s, message{seq: uint64(len(*s)) + 1, shard: shard, payload: payload})
	l.wake()
}

// memReader reads one stream; get returns the messages it has now.
type memReader struct {
	l      *memLog
	get    func() []message
	at     uint64
	gap    error // returned once, before anything else
	closed chan struct{}
	once   sync.Once
}

func (r *memReader) next(ctx context.Context) (message, error) {
	if gap := r.gap; gap != nil {
		r.gap = nil
		return message{}, gap
	}
	for {
		r.l.mu.Lock()
		all, changed, broken := r.get(), r.l.changed, r.l.broken
		r.l.mu.Unlock()
		if broken != nil {
			return message{}, broken
		}
		if r.at <= uint64(len(all)) {
			r.at++
			return all[r.at-2], nil
		}
		select {
		case <-ctx.Done():
			return message{}, ctx.Err()
		case <-r.closed:
			return message{}, errClosed
		case <-changed:
		}
	}
}

func (r *memReader) Close() { r.once.Do(func() { close(r.closed) }) }

type memControl struct{ *memReader }

func (r memControl) Next(ctx context.Context) (uint64, string, []byte, error) {
	m, err := r.next(ctx)
	return m.seq, m.key, m.payload, err
}

type memBatches struct{ *memReader }

func (r memBatches) Next(ctx context.Context) (uint64, flow.Shard, []byte, error) {
	m, err := r.next(ctx)
	return m.seq, m.shard, m.payload, err
}

func (l *memLog) Control(ctx context.Context, from uint64) (ControlReader, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := &memReader{l: l, get: func() []message { return l.control }, at: from, closed: make(chan struct{})}
	if from <= l.dropped {
		r.at, r.gap = l.dropped+1, errors.New("messages are missing")
	}
	return memControl{r}, nil
}

func (l *memLog) Batches(ctx context.Context, stream int, shards []flow.Shard, from uint64) (BatchReader, error) {
	return memBatches{&memReader{l: l, get: func() []message { return l.batches[stream] }, at: from, closed: make(chan struct{})}}, nil
}

// grow appends a control message.
func (l *memLog) grow(m message) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.control = append(l.control, m)
	l.wake()
}

// prefix returns a log that holds the first messages of l.
func (l *memLog) prefix(control int) *memLog {
	p := newMemLog()
	p.control = append(p.control, l.control[:control]...)
	p.batches = l.batches
	return p
}
