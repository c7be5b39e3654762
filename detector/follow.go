package detector

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/flowhound/flowhound/federation/wire"
	"github.com/flowhound/flowhound/internal/flow"
)

const (
	// housekeeping is how often status is refreshed and a close considered
	// while nothing arrives.
	housekeeping = 200 * time.Millisecond
	// lagEvery is how often the log is asked for its newest messages.
	lagEvery = 5 * time.Second
	// endAfter is how long a missing batch is waited for before the log is
	// asked whether its stream holds more at all.
	endAfter = time.Second
	// askTimeout bounds one question to the log.
	askTimeout = 5 * time.Second
)

// proposal remembers what became of the last Close that was proposed.
type proposal struct {
	slice flow.Slice // the highest that was appended
	after time.Time  // no further attempt before
	aged  uint64     // the place of the last Close, if the log has dropped it
}

// follow feeds the ingest machine from the log until ctx is done.
func (d *Detector) follow(ctx context.Context, done chan<- struct{}) {
	defer close(done)
	ctx, cancel := context.WithCancel(ctx)
	var pumps sync.WaitGroup
	defer pumps.Wait()
	defer cancel()
	run := func(p *pump, from uint64) <-chan message {
		pumps.Go(func() { p.run(ctx, from) })
		return p.out
	}
	var batches [Streams]<-chan message
	for s := range batches {
		batches[s] = run(d.batchPump(s), d.ingest.streams[s]+1)
	}
	control := run(d.controlPump(), d.ingest.control+1)
	d.rankRecovered()
	defer d.awaitRanking()

	tick := time.NewTicker(housekeeping)
	defer tick.Stop()
	lag, waiting := time.Time{}, time.Time{}
	for {
		input := control
		next := d.ingest.next()
		if next != fromControl {
			input = batches[next]
		}
		select {
		case <-ctx.Done():
			return
		case m := <-input:
			d.feed(next, m)
			waiting = time.Now()
			if d.ingest.next() == fromControl && len(control) == 0 {
				d.propose(ctx)
				d.refresh()
			}
		case <-tick.C:
			if next == fromControl {
				d.propose(ctx)
			} else if time.Since(waiting) > endAfter && len(input) == 0 {
				d.askEnd(ctx, next)
			}
			if time.Since(lag) > lagEvery {
				lag = time.Now()
				d.measureLag(ctx)
			}
			d.refresh()
		}
	}
}

// feed gives one message to the machine.
func (d *Detector) feed(stream int, m message) {
	if stream != fromControl {
		d.ingest.batch(stream, m.seq, m.shard, m.payload)
		return
	}
	c, err := wire.ReadControl(m.payload)
	if err == nil && c.Key() != m.key {
		err = errors.New("key and content differ")
	}
	if err != nil {
		d.deps.Logger.Error("control message skipped", "err", err, "seq", m.seq, "key", m.key)
		c = nil
	}
	d.ingest.message(m.seq, c)
}

// askEnd tells the machine when a stream holds nothing more.
func (d *Detector) askEnd(ctx context.Context, stream int) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	_, last, err := d.deps.Log.BatchBounds(ctx, stream)
	if err != nil {
		d.logErrors.Add(1)
		return
	}
	before := d.ingest.stats.Gaps
	d.ingest.end(stream, last)
	if lost := d.ingest.stats.Gaps - before; lost > 0 {
		d.deps.Logger.Error("log lost batches that a commit covers", "batches", lost, "stream", streamName(stream))
	}
}

// propose appends a Close if a slice is over. Its effect comes when it is read
// back, like that of another detector's.
func (d *Detector) propose(ctx context.Context) {
	m, now := d.ingest, d.deps.Now()
	if m.control < d.start.control || now.Before(d.proposal.after) {
		return
	}
	c, ok := d.closer.decide(m, now)
	if !ok || c.Slice <= d.proposal.slice {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	last := m.closeSeq
	if last == d.proposal.aged {
		last = 0
	}
	_, err := d.deps.Log.AppendControl(ctx, c.Key(), last, c.Append(nil))
	switch {
	case err == nil:
		d.proposal.slice = c.Slice
	case errors.Is(err, ErrConflict):
		// Another detector closed a slice, and its Close is on its way to us;
		// or the log has dropped the last Close, because it is old.
		d.conflicts.Add(1)
		d.proposal.after = now.Add(housekeeping)
		if seq, _, err := d.deps.Log.LastControl(ctx, wire.CloseKey); err == nil && seq == 0 {
			d.proposal.aged = m.closeSeq
		}
	case ctx.Err() == nil || errors.Is(ctx.Err(), context.DeadlineExceeded):
		d.logErrors.Add(1)
		d.deps.Logger.Warn("slice not closed, trying again", "err", err, "slice", c.Slice)
		d.proposal.after = now.Add(retryAfter)
	}
}

// effects carries what the ingest machine lets through into the graph.
type effects struct{ d *Detector }

var _ sink = effects{}

// Apply implements sink.
func (e effects) Apply(g flow.Generation, cs []flow.Contact) { e.d.graph.Apply(g, cs) }

// Advance implements sink: it moves the window, so that contacts after a long
// silence are within the span that a graph can hold.
func (e effects) Advance(s flow.Slice) { e.d.graph.Expire(e.d.cfg.oldest(s)) }

// Close implements sink: it ranks the graph, if the log holds no newer Close
// that makes that needless, and saves the state if it is time.
func (e effects) Close(c wire.Close) {
	d := e.d
	d.graph.Expire(d.cfg.oldest(c.Slice)) // again: it also holds the graph to MaxLinks
	d.noteGaps(c.Slice)
	first := d.chain.advance(c.Slice)
	d.rankNow(c, first)
	if first {
		d.snapshotIfDue(c.Slice)
	}
}
