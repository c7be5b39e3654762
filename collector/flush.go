package collector

import (
	"time"

	"github.com/flowhound/flowhound/internal/flow"
)

// trigger says why a flush happened.
type trigger uint8

const (
	atInterval trigger = iota
	whenFull
	atStop
	triggers
)

var triggerNames = [triggers]string{"interval", "full", "stop"}

// flushCounts are cumulative.
type flushCounts struct {
	flushes         [triggers]uint64
	contacts        uint64 // taken from the tables, one per pair
	records         uint64 // in those contacts
	droppedWindows  uint64
	droppedContacts uint64
	droppedRecords  uint64
}

// flushLoop takes the workers' tables every Config.Flush, early when one is
// full or somebody asks, and a last time when stop is closed.
func (c *Collector) flushLoop(stop <-chan struct{}) {
	tick := time.NewTicker(c.cfg.Flush)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			c.flush(atInterval, nil)
		case <-c.early:
			c.flush(whenFull, nil)
		case done := <-c.ahead:
			c.flush(atStop, done)
		case <-stop:
			c.flush(atStop, nil)
			c.queue.close()
			return
		}
	}
}

// flush takes what the workers have collected and queues it as one window. It
// never waits for the log: done, where it is not nil, is closed when the window
// is in it. A window without contacts is queued only if it ends a slice.
func (c *Collector) flush(why trigger, done chan<- struct{}) {
	now := c.deps.Now()
	nowMS := now.UnixMilli()
	ended, ends := c.nextEnded(nowMS, now.Sub(c.started).Milliseconds())
	w := c.collect(ended, nowMS)
	w.done = done

	c.mu.Lock()
	c.flushed.flushes[why]++
	c.flushed.contacts += uint64(len(w.contacts))
	c.flushed.records += w.records
	c.ended = ended
	c.mu.Unlock()
	c.sampleRates(nowMS)
	if len(w.contacts) == 0 && !ends {
		c.release(w)
		return
	}
	for _, d := range c.queue.push(w) {
		c.drop(d)
	}
}

// nextEnded returns the newest slice that is over, and whether it was not
// before. A clock that goes back does not take slices back; one that was set
// ahead ends none until it is believed. ageMS is the monotonic time since the
// start.
func (c *Collector) nextEnded(nowMS, ageMS int64) (ended flow.Slice, ends bool) {
	held := c.clock.jumped
	ahead := c.clock.ahead(nowMS, ageMS)
	if ahead != held {
		c.deps.Logger.Warn("clock set ahead: no slice ends until it is set back or has stayed so",
			"held", ahead, "patience", clockTrust)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if ahead {
		return c.ended, false
	}
	ended, ok := endedBy(nowMS, c.cfg.Grace.Milliseconds(), c.cfg.Slice.Milliseconds())
	if !ok || ended <= c.ended {
		return c.ended, false
	}
	return ended, true
}

// collect takes every worker's table and pseudonymises its contacts.
func (c *Collector) collect(ended flow.Slice, nowMS int64) *window {
	w := c.emptyWindow()
	*w = window{contacts: w.contacts[:0], generation: c.permuter.Generation(), ended: ended, atMS: nowMS}
	for _, worker := range c.workers {
		table, late := worker.swap(ended)
		w.records += table.Records()
		if worker.consumer != nil {
			w.fromKafka, w.position = table.Records() > 0, worker.reached()
		}
		w.late += late
		w.grow(table.Len())
		w.contacts = table.Drain(w.contacts, c.permuter)
		worker.giveBack(table)
	}
	return w
}

// drop gives up a window that the log was not there to take.
func (c *Collector) drop(w *window) {
	c.deps.Logger.Error("flush dropped: the log has not answered for too long",
		"contacts", len(w.contacts), "records", w.records, "ended", w.ended)
	c.mu.Lock()
	c.flushed.droppedWindows++
	c.flushed.droppedContacts += uint64(len(w.contacts))
	c.flushed.droppedRecords += w.records
	c.mu.Unlock()
	if w.fromKafka {
		c.kafka.Load().Rewind()
	}
	c.release(w)
}

// emptyWindow returns a window that was released, if there is one. A pool of
// the runtime's would lose them to garbage collection, and to fault the memory
// in again costs as much as to encode what goes there.
func (c *Collector) emptyWindow() *window {
	select {
	case w := <-c.windows:
		return w
	default:
		return new(window)
	}
}

// release keeps a window's memory for the next one.
func (c *Collector) release(w *window) {
	if w.done != nil {
		close(w.done)
	}
	w.contacts = w.contacts[:0]
	select {
	case c.windows <- w:
	default:
	}
}
