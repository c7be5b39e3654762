package collector

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/flowhound/flowhound/federation/wire"
	"github.com/flowhound/flowhound/internal/flow"
	"github.com/flowhound/flowhound/internal/huge"
)

// ErrReplaced occurs when another collector of the same name has started: its
// commits have taken over, and this one's contacts no longer count.
var ErrReplaced = errors.New("another collector runs under this name")

// Bounds of one attempt and of the pause between attempts while the log does
// not answer, and how often that is logged.
const (
	attemptTime = 10 * time.Second
	firstPause  = 50 * time.Millisecond
	lastPause   = 5 * time.Second
	logEvery    = 30 * time.Second
)

// publisher writes windows into the log, one after the other:
//
//	window ──► batches ──► Sync ──► commit ──► next window
//
// The commit is what makes the batches count. Before it, a crash leaves
// nothing: the next incarnation's first commit makes readers discard them. An
// error is tried again at the step where it happened, with the same ids.
type publisher struct {
	log       Log
	logger    *slog.Logger
	took      func(time.Duration) // is told how long each window took
	release   func(*window)       // takes windows back
	committed func(*window)       // is told of each window whose commit is in the log
	batcher   batcher
	far       *farFilter
	arena     []byte // payloads of the window at hand

	mu      sync.Mutex  // guards all below; written by one goroutine only
	commit  wire.Commit // the last one written
	control uint64      // its sequence number
	counts  publishCounts
	failing time.Time // since when the log does not answer, zero when it does
}

// publishCounts are cumulative.
type publishCounts struct {
	batches, batchBytes       uint64 // handed to the log
	commits                   uint64
	contacts, records         uint64 // covered by commits; contacts are halves
	withheld                  uint64 // far halves that commits would have covered, told before in their slice
	publishErrors, syncErrors uint64
	commitErrors              uint64
}

// claim starts a new incarnation after the last one of this name, by a commit
// that covers nothing. Ids of batches are thus never used again, even if the
// last process died between its batches and its commit.
func (p *publisher) claim(ctx context.Context, name string, nowMS int64) error {
	const attempts = 5
	var lastErr error
	for range attempts {
		seq, payload, err := p.log.LastControl(ctx, wire.CommitKey(name))
		if err != nil {
			return fmt.Errorf("read the last commit of %q: %w", name, err)
		}
		c, err := nextCommit(name, seq, payload)
		if err != nil {
			return fmt.Errorf("last commit of %q: %w", name, err)
		}
		c.AtMS = nowMS
		// Whether or not a failed append arrived, the next attempt takes a
		// higher number.
		if seq, lastErr = p.log.AppendControl(ctx, c.Key(), seq, c.Append(nil)); lastErr == nil {
			p.mu.Lock()
			p.commit, p.control = c, seq
			p.mu.Unlock()
			return nil
		}
	}
	return fmt.Errorf("begin incarnation of %q: %w", name, lastErr)
}

// nextCommit returns the first commit of the incarnation after payload's.
func nextCommit(name string, seq uint64, payload []byte) (wire.Commit, error) {
	next := wire.Commit{Collector: name, Incarnation: 1, Flush: 1}
	if seq == 0 {
		return next, nil
	}
	m, err := wire.ReadControl(payload)
	if err != nil {
		return next, err
	}
	last, ok := m.(wire.Commit)
	if !ok || last.Collector != name {
		return next, fmt.Errorf("it is a %T", m)
	}
	next.Incarnation, next.Ended = last.Incarnation+1, last.Ended
	return next, nil
}

// run publishes windows until the queue is closed and empty (nil), ctx ends,
// or the collector was replaced.
func (p *publisher) run(ctx context.Context, q *queue) error {
	for {
		w := q.pop(ctx)
		if w == nil {
			return ctx.Err()
		}
		if err := p.window(ctx, w); err != nil {
			return err
		}
		p.release(w)
	}
}

// window writes one window.
func (p *publisher) window(ctx context.Context, w *window) error {
	begin := time.Now()
	next := p.commit
	next.Flush++
	next.Ended = max(next.Ended, w.ended)
	withheld, n := p.far.choose(w.contacts)
	next.Records, next.Late, next.Contacts = w.records, w.late, 2*uint64(len(w.contacts))-uint64(n)
	next.AtMS = w.atMS
	if err := p.batches(ctx, w, withheld, &next); err != nil {
		return err
	}
	if len(w.contacts) > 0 {
		err := p.retry(ctx, "sync", &p.counts.syncErrors, p.log.Sync)
		if err != nil {
			return err
		}
	}
	if err := p.append(ctx, next); err != nil {
		return err
	}
	p.far.committed()
	p.committed(w)
	p.took(time.Since(begin))
	p.mu.Lock()
	defer p.mu.Unlock()
	p.counts.commits++
	p.counts.contacts += next.Contacts
	p.counts.records += next.Records
	p.counts.withheld += uint64(n)
	return nil
}

// batches publishes the window's batches and counts them in next.Last.
func (p *publisher) batches(ctx context.Context, w *window, withheld []bool, next *wire.Commit) error {
	if n := wire.BatchBytes(int(next.Contacts)); n > cap(p.arena) {
		p.arena = huge.Make[byte](n + n/8) // with room for headers and a larger window
	}
	p.arena = p.arena[:0]
	origin := wire.OriginOf(w.contacts)
	return p.batcher.deal(w.contacts, withheld, func(s flow.Shard, halves []half) error {
		next.Last[s]++
		h := wire.Header{Collector: next.Collector, Incarnation: next.Incarnation,
			Shard: s, Seq: next.Last[s], Generation: w.generation}
		start := len(p.arena)
		p.arena = p.batcher.encode(p.arena, h, origin, w.contacts, halves)
		payload := p.arena[start:len(p.arena):len(p.arena)]
		id := h.ID()
		err := p.retry(ctx, "publish", &p.counts.publishErrors, func(ctx context.Context) error {
			err := p.log.Publish(s, id, payload)
			if err != nil {
				// There is no room before earlier batches are acknowledged.
				err = errors.Join(err, p.log.Sync(ctx))
			}
			return err
		})
		if err != nil {
			return err
		}
		p.mu.Lock()
		p.counts.batches++
		p.counts.batchBytes += uint64(len(payload))
		p.mu.Unlock()
		return nil
	})
}

// append writes a commit. An error may hide that it was written, so the log is
// asked before the next attempt.
func (p *publisher) append(ctx context.Context, c wire.Commit) error {
	payload := c.Append(nil)
	return p.retry(ctx, "commit", &p.counts.commitErrors, func(ctx context.Context) error {
		seq, appendErr := p.log.AppendControl(ctx, c.Key(), p.control, payload)
		if appendErr != nil {
			var have []byte
			var err error
			if seq, have, err = p.log.LastControl(ctx, c.Key()); err != nil {
				return appendErr
			}
			switch {
			case bytes.Equal(have, payload):
			case seq > p.control:
				return fmt.Errorf("collector %q, incarnation %d: %w", c.Collector, c.Incarnation, ErrReplaced)
			default:
				return appendErr
			}
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		p.commit, p.control = c, seq
		return nil
	})
}

// retry calls f until it succeeds, the collector was replaced or ctx ends,
// with growing pauses.
func (p *publisher) retry(ctx context.Context, what string, errs *uint64, f func(context.Context) error) error {
	var logged time.Time
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		err := attempt(ctx, f)
		p.note(err, errs)
		if err == nil || errors.Is(err, ErrReplaced) {
			return err
		}
		if ctx.Err() != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		if time.Since(logged) > logEvery {
			logged = time.Now()
			p.logger.Warn("log does not answer, trying again", "operation", what, "err", err)
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", what, err)
		}
	}
}

func attempt(ctx context.Context, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, attemptTime)
	defer cancel()
	return f(ctx)
}

func (p *publisher) note(err error, errs *uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err == nil {
		p.failing = time.Time{}
		return
	}
	*errs++
	if p.failing.IsZero() {
		p.failing = time.Now()
	}
}

// state returns what is committed, the counts, and since when the log does not
// answer.
func (p *publisher) state() (wire.Commit, publishCounts, time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.commit, p.counts, p.failing
}
