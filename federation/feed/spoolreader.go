package feed

import (
	"context"
	"errors"
	"time"

	"github.com/flowhound/flowhound/federation/wire"
	"github.com/flowhound/flowhound/internal/flow"
)

// spoolReader reads one contact stream of the local log and keeps the message
// that is next until it is taken.
type spoolReader struct {
	log    *Log
	stream int
	reader *BatchReader
	read   uint64 // the newest message that was read, or is known to be gone
	end    uint64 // the stream held messages up to here when it was asked
	head   *spooled
}

// spooled is a batch of the local log; its header is zero if it is unreadable.
type spooled struct {
	seq     uint64
	header  wire.Header
	payload []byte
}

// patienceForNext is how long a message that the stream holds may take to come
// before the stream is asked whether it still does.
const patienceForNext = 2 * time.Second

// open opens the stream at the first batch that is not behind the place.
func (s *spoolReader) open(ctx context.Context, behind func(wire.Header) bool) error {
	from, err := s.search(ctx, behind)
	if err != nil {
		return err
	}
	if s.reader, err = s.log.Batches(ctx, s.stream, nil, from); err != nil {
		return err
	}
	// What is missing shows by the commits, in collect.
	s.reader.OnGap(func(g *GapError) { s.log.logger.Debug("the spool has a gap", "err", g) })
	s.read, s.end, s.head = from-1, 0, nil
	return nil
}

// search finds that batch by halving what the stream holds.
func (s *spoolReader) search(ctx context.Context, behind func(wire.Header) bool) (uint64, error) {
	first, last, err := s.log.BatchBounds(ctx, s.stream)
	if err != nil {
		return 0, err
	}
	low, high := first, last+1
	for low < high {
		mid := low + (high-low)/2
		m, err := s.log.message(ctx, contactStream(s.stream), mid)
		if err != nil {
			return 0, err
		}
		isBehind := m == nil // dropped meanwhile, and all before it
		if m != nil {
			h, err := wire.ReadHeader(m.Data)
			isBehind = err == nil && behind(h)
		}
		if isBehind {
			low = mid + 1
		} else {
			high = mid
		}
	}
	return low, nil
}

// peek returns the next batch, nil if the stream holds no more.
func (s *spoolReader) peek(ctx context.Context) (*spooled, error) {
	for s.head == nil {
		if s.read >= s.end {
			first, last, err := s.log.BatchBounds(ctx, s.stream)
			if err != nil {
				return nil, err
			}
			s.read, s.end = max(s.read, first-1), last
			if s.read >= s.end {
				return nil, nil
			}
		}
		if err := s.next(ctx); err != nil {
			return nil, err
		}
	}
	return s.head, nil
}

func (s *spoolReader) next(ctx context.Context) error {
	short, cancel := context.WithTimeout(ctx, patienceForNext)
	defer cancel()
	seq, shard, payload, err := s.reader.Next(short)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		s.end = 0 // it may have dropped the message: ask again
		return nil
	}
	if err != nil {
		return err
	}
	s.read, s.head = seq, &spooled{seq: seq, payload: payload}
	if h, err := wire.ReadHeader(payload); err == nil && h.Shard == shard {
		s.head.header = h
	}
	return nil
}

func (s *spoolReader) take() { s.head = nil }

// settled returns the newest message that was taken or is gone.
func (s *spoolReader) settled() uint64 {
	if s.head != nil {
		return s.head.seq - 1
	}
	return s.read
}

func (s *spoolReader) close() {
	if s != nil && s.reader != nil {
		s.reader.Close()
	}
}

// batches publishes what a flush covers. It returns false if some of it is not
// in the local log: the stream ends before, or a later batch of the collector
// comes first, which it would not have published before this flush was
// acknowledged.
func (r *run) batches(ctx context.Context, f *flush) (whole bool, err error) {
	for i, s := range r.spools {
		wanted := uint64(0)
		for shard := i; shard < flow.Shards; shard += Streams {
			wanted += f.commit.Last[shard] - f.from[shard]
		}
		whole, err := r.collect(ctx, f, s, wanted)
		if err != nil || !whole {
			return false, err
		}
	}
	return true, nil
}

// collect publishes the batches of a flush that one stream owes.
func (r *run) collect(ctx context.Context, f *flush, s *spoolReader, wanted uint64) (whole bool, err error) {
	type id struct {
		shard flow.Shard
		seq   uint64
	}
	seen := map[id]bool{} // a batch may be stored twice
	for uint64(len(seen)) < wanted {
		var b *spooled
		err := r.persist(ctx, "local log", func(ctx context.Context) (err error) {
			b, err = s.peek(ctx)
			return err
		})
		if b == nil || err != nil {
			return false, err
		}
		h, c := b.header, &f.commit
		switch {
		case h.Collector != c.Collector, h.Incarnation < c.Incarnation,
			h.Incarnation == c.Incarnation && h.Seq <= f.from[h.Shard]:
			// Another's, never committed, or settled before.
		case h.Incarnation > c.Incarnation || h.Seq > c.Last[h.Shard]:
			return false, nil
		case !seen[id{h.Shard, h.Seq}]:
			if err := r.publish(ctx, f, b); err != nil {
				return false, err
			}
			seen[id{h.Shard, h.Seq}] = true
		}
		s.take()
	}
	return true, nil
}

// publish sends a batch under its numbers in the remote log.
func (r *run) publish(ctx context.Context, f *flush, b *spooled) error {
	h, payload := b.header, b.payload
	h.Incarnation, h.Seq = f.incarnation, h.Seq-f.base[h.Shard]
	if h != b.header {
		payload = wire.Renumber(payload, h.Incarnation, h.Seq)
	}
	id := h.ID()
	err := r.persist(ctx, "remote log", func(ctx context.Context) error {
		err := r.remote.Publish(h.Shard, id, payload)
		if errors.Is(err, ErrBacklog) { // there is no room before the others are there
			if err = r.remote.Sync(ctx); err == nil {
				err = r.remote.Publish(h.Shard, id, payload)
			}
		}
		return err
	})
	r.f.metrics.forwardedMessages.Add(1)
	r.f.metrics.forwardedBytes.Add(uint64(len(payload)))
	return err
}
