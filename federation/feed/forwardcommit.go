package feed

import (
	"bytes"
	"context"
	"errors"

	"github.com/flowhound/flowhound/federation/wire"
	"github.com/flowhound/flowhound/internal/flow"
)

// commit forwards a commit and before it the batches that it covers, or gives
// both up.
func (r *run) commit(ctx context.Context, m mark, c wire.Commit, payload []byte) error {
	p := &r.place
	if c.AtMS <= p.untilMS {
		r.settle(m, c, true)
		return nil
	}
	first := c.Flush == 1 // covers all from the start of its incarnation
	if !first && (!p.known || c.Incarnation != p.local.Incarnation) {
		r.lose(m, c, 0) // the commit before it is gone, so what it covers is unknown
		return nil
	}
	f := flush{commit: c}
	switch {
	case first:
		p.fresh = true
	default:
		f.from = p.local.Last
	}
	if err := r.renumber(ctx, &f); err != nil {
		return err
	}
	whole, err := r.batches(ctx, &f)
	if err != nil {
		return err
	}
	if !whole {
		r.lose(m, c, f.size())
		return nil
	}
	if err := r.persist(ctx, "remote log", r.remote.Sync); err != nil {
		return err
	}
	told, payload := f.numbered(payload)
	if err := r.append(ctx, told, payload, m); err != nil {
		return err
	}
	p.base, p.fresh = f.base, false
	r.settle(m, c, false)
	r.found(c)
	r.f.metrics.commit(c)
	return r.keep.note(ctx, r)
}

func (r *run) persist(ctx context.Context, what string, op func(context.Context) error) error {
	return r.f.persist(ctx, what, func() error { return op(ctx) })
}

// flush is a commit under way with its numbers in the remote log.
type flush struct {
	commit      wire.Commit
	from        [flow.Shards]uint64 // last Seq per shard that was settled before
	incarnation uint64
	base        [flow.Shards]uint64
}

// size returns how many batches the commit newly covers.
func (f *flush) size() (n uint64) {
	for shard, last := range f.commit.Last {
		n += last - f.from[shard]
	}
	return n
}

// numbered returns the commit's payload in the remote log's numbers.
func (f *flush) numbered(payload []byte) (wire.Commit, []byte) {
	c := f.commit
	if c.Incarnation == f.incarnation && f.base == [flow.Shards]uint64{} {
		return c, payload
	}
	c.Incarnation = f.incarnation
	for shard := range c.Last {
		c.Last[shard] -= f.base[shard]
	}
	return c, c.Append(nil)
}

// renumber sets the incarnation and the base of a flush. A new incarnation
// under which batches come at once is claimed before, by a commit that covers
// nothing: an id is then never used for two batches, even if this flush turns
// out to be lost after some of it was published.
func (r *run) renumber(ctx context.Context, f *flush) error {
	p := &r.place
	if !p.fresh {
		f.incarnation, f.base = p.last.Incarnation, p.base
		return nil
	}
	f.incarnation, f.base = max(f.commit.Incarnation, p.last.Incarnation+1), f.from
	if f.size() == 0 {
		return nil
	}
	claim := wire.Commit{Collector: f.commit.Collector, Incarnation: f.incarnation, Flush: f.commit.Flush - 1,
		Ended: p.local.Ended, AtMS: p.local.AtMS}
	if err := r.append(ctx, claim, claim.Append(nil), p.settled); err != nil {
		return err
	}
	p.base, p.fresh = f.base, false
	return nil
}

// append appends a commit to the remote log. It fails with errMoved or
// ErrReplaced if the key's last message is not the expected one.
func (r *run) append(ctx context.Context, c wire.Commit, payload []byte, m mark) error {
	p := &r.place
	var seq uint64
	err := r.persist(ctx, "remote log", func(ctx context.Context) (err error) {
		seq, err = r.remote.appendControl(ctx, c.Key(), p.seq, payload, m.header())
		return err
	})
	if errors.Is(err, ErrConflict) {
		seq, err = r.conflict(ctx, c.Key(), payload, m)
	}
	if err != nil {
		return err
	}
	r.wrote = true
	p.seq, p.last = seq, c
	return nil
}

// conflict finds out why the key's last message is not the expected one. It
// returns its sequence if it is the one that was to be appended.
func (r *run) conflict(ctx context.Context, key string, payload []byte, m mark) (uint64, error) {
	last, err := r.ask(ctx, r.remote, key)
	switch {
	case err != nil:
		return 0, err
	case last == nil || last.Sequence < r.place.seq: // it lost its newest messages
		r.wrote = false
		return 0, errMoved
	case readMark(last.Header) == m && bytes.Equal(last.Data, payload):
		return last.Sequence, nil
	case r.wrote || readMark(last.Header).log != r.id:
		if err := r.takeOver(ctx, last.Sequence); err != nil {
			return 0, err
		}
	}
	// A forwarder before this one had an append on its way.
	return 0, errMoved
}
