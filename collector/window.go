package collector

import (
	"context"
	"slices"
	"sync"

	"github.com/flowhound/flowhound/collector/kafka"
	"github.com/flowhound/flowhound/internal/flow"
	"github.com/flowhound/flowhound/internal/huge"
)

// window is what one flush took from all workers.
type window struct {
	contacts   []flow.Contact // one half each, pseudonymised
	generation flow.Generation
	ended      flow.Slice      // later windows have no contact of a slice ≤ ended
	records    uint64          // flow records in the contacts
	late       uint64          // of those, moved out of an ended slice
	atMS       int64           // when it was taken, Unix milliseconds
	fromKafka  bool            // some of the records are
	position   *kafka.Position // behind Kafka's messages in this and all windows before, nil for none
	done       chan<- struct{} // closed when the window is in the log, or dropped; nil if nobody waits
}

// grow makes room for n more contacts.
func (w *window) grow(n int) {
	if len(w.contacts)+n > cap(w.contacts) {
		w.contacts = huge.Advise(slices.Grow(w.contacts, n))
	}
}

// queue holds windows between the flusher, which never waits, and the
// publisher, which waits for the log. Beyond its limit the oldest window goes,
// whole: half a window would be half a contact.
type queue struct {
	limit int           // contacts
	ready chan struct{} // capacity 1

	mu       sync.Mutex // guards all below
	windows  []*window
	contacts int
	closed   bool
}

func newQueue(limit int) *queue {
	return &queue{limit: limit, ready: make(chan struct{}, 1)}
}

// push adds a window and returns those that had to go for it. The new window
// always stays.
func (q *queue) push(w *window) (dropped []*window) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.windows = append(q.windows, w)
	q.contacts += len(w.contacts)
	for q.contacts > q.limit && len(q.windows) > 1 {
		dropped = append(dropped, q.take())
	}
	q.signal()
	return dropped
}

// pop waits for the oldest window. It returns nil once the queue is closed and
// empty, or ctx ended.
func (q *queue) pop(ctx context.Context) *window {
	for {
		q.mu.Lock()
		if len(q.windows) > 0 {
			defer q.mu.Unlock()
			return q.take()
		}
		closed := q.closed
		q.mu.Unlock()
		if closed {
			return nil
		}
		select {
		case <-q.ready:
		case <-ctx.Done():
			return nil
		}
	}
}

// take removes the oldest window; mu is held.
func (q *queue) take() *window {
	w := q.windows[0]
	q.windows[0] = nil
	q.windows = q.windows[1:]
	q.contacts -= len(w.contacts)
	return w
}

// close tells the publisher that no window follows.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.signal()
}

func (q *queue) signal() {
	select {
	case q.ready <- struct{}{}:
	default:
	}
}

// depth returns how many windows and contacts wait.
func (q *queue) depth() (windows, contacts int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.windows), q.contacts
}
