package feed

import (
	"bytes"
	"context"
	"errors"

	"github.com/flowhound/flowhound/federation/wire"
)

// run is one connection's forwarding. One goroutine uses it.
type run struct {
	f      *Forwarder
	remote *Log
	id     uint64 // of the local log
	wrote  bool   // something of this local log is in the remote one
	place  place

	control *ControlReader
	spools  [Streams]*spoolReader
	lost    losses // of the gap at hand
	keep    keeper
}

// losses sum up a gap until it ends.
type losses struct {
	commits, batches, contacts uint64
}

// open opens the local log at the place.
func (r *run) open(ctx context.Context) error {
	r.close()
	from := r.place.settled.seq + 1
	if from == 1 {
		from = 0
	}
	err := r.f.persist(ctx, "local log", func() (err error) {
		r.control, err = r.f.local.Control(ctx, from)
		return err
	})
	if err != nil {
		return err
	}
	r.control.OnGap(func(g *GapError) {
		r.f.metrics.lostMessages.Add(g.Next - g.Want)
		r.f.logger.Error("the spool lost control messages before they were forwarded", "err", g)
	})
	for i := range r.spools {
		r.spools[i] = &spoolReader{log: r.f.local, stream: i}
		err := r.f.persist(ctx, "local log", func() error { return r.spools[i].open(ctx, r.behind) })
		if err != nil {
			return err
		}
	}
	r.publishProgress()
	return nil
}

func (r *run) close() {
	if r.control != nil {
		r.control.Close()
	}
	for _, s := range r.spools {
		s.close()
	}
}

// behind reports whether a batch is settled at the place. Within a stream, all
// that are settled come before all that are not.
func (r *run) behind(h wire.Header) bool {
	p := &r.place
	return p.known && h.Collector == p.local.Collector && (h.Incarnation < p.local.Incarnation ||
		h.Incarnation == p.local.Incarnation && h.Seq <= p.local.Last[h.Shard])
}

// forward moves one control message after the other.
func (r *run) forward(ctx context.Context) error {
	defer r.close()
	for {
		seq, _, payload, err := r.control.Next(ctx)
		if err != nil {
			return err
		}
		if err := r.message(ctx, mark{r.id, seq, checksumOf(payload)}, payload); err != nil {
			return err
		}
		r.place.control = seq
		r.publishProgress()
	}
}

// message forwards one control message, if it is of this collector.
func (r *run) message(ctx context.Context, m mark, payload []byte) error {
	c, err := wire.ReadControl(payload)
	if err != nil {
		r.f.logger.Error("control message of the spool skipped", "err", err, "seq", m.seq)
		return nil
	}
	switch c := c.(type) {
	case wire.Commit:
		if c.Collector == r.f.cfg.Collector {
			return r.commit(ctx, m, c, payload)
		}
	case wire.Seeds:
		if c.Source == r.f.cfg.Collector {
			return r.seeds(ctx, m, c, payload)
		}
	}
	return nil
}

// seeds forwards seeds, unless they are there.
func (r *run) seeds(ctx context.Context, m mark, s wire.Seeds, payload []byte) error {
	if m.seq <= r.place.seeds {
		return nil
	}
	for {
		last, err := r.ask(ctx, r.remote, s.Key())
		if err != nil {
			return err
		}
		seq := uint64(0)
		if last != nil {
			seq = last.Sequence
			if bytes.Equal(last.Data, payload) {
				return nil
			}
		}
		err = r.persist(ctx, "remote log", func(ctx context.Context) error {
			_, err := r.remote.appendControl(ctx, s.Key(), seq, payload, m.header())
			return err
		})
		// A conflict is a try whose answer was lost: asking again shows it.
		if !errors.Is(err, ErrConflict) {
			return err
		}
	}
}

// settle moves the place behind a commit.
func (r *run) settle(m mark, c wire.Commit, fresh bool) {
	p := &r.place
	p.settled, p.local, p.known = m, c, true
	p.fresh = p.fresh || fresh
}

// lose gives a commit up that cannot be forwarded whole.
func (r *run) lose(m mark, c wire.Commit, batches uint64) {
	if r.lost == (losses{}) {
		r.f.logger.Error("the spool lost flushes before they were forwarded", "collector", c.Collector,
			"incarnation", c.Incarnation, "flush", c.Flush)
	}
	r.lost.commits++
	r.lost.batches += batches
	r.lost.contacts += c.Contacts
	r.f.metrics.lose(c)
	r.settle(m, c, true)
}

// found ends a gap.
func (r *run) found(c wire.Commit) {
	if r.lost == (losses{}) {
		return
	}
	r.f.logger.Warn("the spool goes on behind the lost flushes", "collector", c.Collector, "flushes", r.lost.commits,
		"batches", r.lost.batches, "contacts", r.lost.contacts, "incarnation", r.place.last.Incarnation)
	r.lost = losses{}
}

func (r *run) publishProgress() {
	p := progress{known: true, control: max(r.place.control, r.place.settled.seq)}
	for i, s := range r.spools {
		p.streams[i] = s.settled()
	}
	r.f.mu.Lock()
	defer r.f.mu.Unlock()
	r.f.progress = p
}
