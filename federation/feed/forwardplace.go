package feed

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/flowhound/flowhound/federation/wire"
	"github.com/flowhound/flowhound/internal/flow"
)

// markHeader is the header of a forwarded control message that says which
// message of which spool is settled by it.
const markHeader = "Flowhound-Spool"

// mark names a control message of a spool: the spool's log by the instant of
// its creation, the message's sequence in it, 0 for none, and the last four
// bytes of its payload, the checksum. A log that went back to an older state
// and grew again has another message in the place.
type mark struct {
	log      uint64
	seq      uint64
	checksum uint32
}

func (m mark) header() nats.Header {
	h := nats.Header{}
	h.Set(markHeader, fmt.Sprintf("%x.%d.%x", m.log, m.seq, m.checksum))
	return h
}

// readMark returns the zero mark for a message that no forwarder wrote.
func readMark(h nats.Header) (m mark) {
	part := strings.Split(h.Get(markHeader), ".")
	if len(part) != 3 {
		return mark{}
	}
	var errs [3]error
	var sum uint64
	m.log, errs[0] = strconv.ParseUint(part[0], 16, 64)
	m.seq, errs[1] = strconv.ParseUint(part[1], 10, 64)
	sum, errs[2] = strconv.ParseUint(part[2], 16, 32)
	if errors.Join(errs[:]...) != nil {
		return mark{}
	}
	m.checksum = uint32(sum)
	return m
}

func checksumOf(payload []byte) uint32 {
	if len(payload) < 4 {
		return 0
	}
	return binary.LittleEndian.Uint32(payload[len(payload)-4:])
}

// place is where forwarding stands.
type place struct {
	// Of the remote log: the key's last message and the commit in it, whose
	// Incarnation is 0 if there is none.
	seq  uint64
	last wire.Commit
	// Of the local log: the last settled commit's message, and what it says if
	// that is known.
	settled mark
	local   wire.Commit
	known   bool
	control uint64 // the last control message of any kind that was passed
	// base is how far local batch numbers are above the remote ones. fresh
	// says that the remote incarnation cannot go on.
	base  [flow.Shards]uint64
	fresh bool
	// Seeds up to this local message are told.
	seeds uint64
	// Commits up to this time were forwarded before the local log went back to
	// an older state, 0 if it did not.
	untilMS int64
}

// seek asks the remote log where to go on.
func (r *run) seek(ctx context.Context) error {
	r.place = place{fresh: true}
	if err := r.identify(ctx); err != nil {
		return err
	}
	last, err := r.ask(ctx, r.remote, wire.CommitKey(r.f.cfg.Collector))
	if err != nil {
		return err
	}
	if last != nil {
		if err := r.seekBehind(ctx, last); err != nil {
			return err
		}
	}
	if err := r.seekSeeds(ctx); err != nil {
		return err
	}
	return r.open(ctx)
}

// identify reads the creation time of the local log, which tells it from every
// other.
func (r *run) identify(ctx context.Context) error {
	return r.f.persist(ctx, "local log", func() error {
		s, err := r.f.local.stream(ctx, controlStream)
		if err == nil {
			r.id = uint64(s.CachedInfo().Created.UnixNano())
			r.place.settled.log = r.id
		}
		return err
	})
}

// seekBehind goes to the original of the remote log's last commit.
func (r *run) seekBehind(ctx context.Context, last *jetstream.RawStreamMsg) error {
	name := r.f.cfg.Collector
	c, err := wire.ReadControl(last.Data)
	commit, ok := c.(wire.Commit)
	if err != nil || !ok || commit.Collector != name {
		return fmt.Errorf("remote log: last commit of %q: message %d is none (%T, %w)", name, last.Sequence, c, err)
	}
	r.place.seq, r.place.last = last.Sequence, commit
	m := readMark(last.Header)
	if m.log != r.id {
		return r.takeOver(ctx, last.Sequence)
	}
	if m.seq == 0 {
		return nil
	}
	first, _, err := r.controlBounds(ctx)
	if err != nil {
		return err
	}
	payload, err := r.original(ctx, m.seq)
	switch {
	case err != nil:
		return err
	case payload == nil && m.seq < first: // the spool dropped it since
		r.place.settled = m
	case payload == nil || checksumOf(payload) != m.checksum:
		r.f.logger.Warn("the local log went back to an older state, commits that it still has are not sent again",
			"collector", name, "seq", m.seq)
		r.place.untilMS = commit.AtMS
	default:
		return r.resume(m, payload)
	}
	return nil
}

// resume sets the place behind a commit of the local log.
func (r *run) resume(m mark, payload []byte) error {
	c, err := wire.ReadControl(payload)
	if err != nil {
		return fmt.Errorf("local log: control message %d: %w", m.seq, err)
	}
	commit, ok := c.(wire.Commit)
	if !ok {
		return fmt.Errorf("local log: control message %d is a %T, want a commit", m.seq, c)
	}
	p := &r.place
	p.settled, p.local, p.known, p.fresh = m, commit, true, false
	for shard := range p.base {
		p.base[shard] = commit.Last[shard] - p.last.Last[shard]
	}
	return nil
}

// takeOver decides whether the last commit, which is not of this local log, is
// of an earlier one of this collector, or of somebody else who took its name
// over.
func (r *run) takeOver(ctx context.Context, seq uint64) error {
	name := r.f.cfg.Collector
	known := r.wrote
	if !known {
		err := r.f.persist(ctx, "remote log", func() (err error) {
			known, err = r.remote.hasMark(ctx, wire.CommitKey(name), r.id, seq)
			return err
		})
		if err != nil {
			return err
		}
	}
	if known {
		r.f.local.metrics.conflicts.Inc()
		return fmt.Errorf("log: collector %q: %w; if it was the successor of this one and is gone, remove the log directory here", name, ErrReplaced)
	}
	r.f.logger.Info("this spool goes on behind the commits of an earlier one",
		"collector", name, "incarnation", r.place.last.Incarnation)
	return nil
}

// seekSeeds finds out which seeds of this local log are told.
func (r *run) seekSeeds(ctx context.Context) error {
	m, err := r.ask(ctx, r.remote, wire.SeedsKey(r.f.cfg.Collector))
	if err != nil || m == nil {
		return err
	}
	if told := readMark(m.Header); told.log == r.id && r.place.untilMS == 0 {
		r.place.seeds = told.seq
	}
	return nil
}

// ask returns the last message of a key, nil if there is none.
func (r *run) ask(ctx context.Context, l *Log, key string) (m *jetstream.RawStreamMsg, err error) {
	err = r.f.persist(ctx, "remote log", func() (err error) {
		m, err = l.lastControl(ctx, key)
		return err
	})
	return m, err
}

func (r *run) controlBounds(ctx context.Context) (first, last uint64, err error) {
	err = r.f.persist(ctx, "local log", func() (err error) {
		first, last, err = r.f.local.ControlBounds(ctx)
		return err
	})
	return first, last, err
}

// original returns a control message of the local log, nil if it is not there.
func (r *run) original(ctx context.Context, seq uint64) (payload []byte, err error) {
	err = r.f.persist(ctx, "local log", func() error {
		m, err := r.f.local.message(ctx, controlStream, seq)
		if m != nil {
			payload = m.Data
		}
		return err
	})
	return payload, err
}

// message returns a message of a stream, nil if it is not there.
func (l *Log) message(ctx context.Context, stream string, seq uint64) (*jetstream.RawStreamMsg, error) {
	s, err := l.stream(ctx, stream)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	m, err := s.GetMsg(ctx, seq)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("log stream %s: message %d: %w", stream, seq, err)
	}
	return m, nil
}

// hasMark reports whether a message under key, up to sequence last, was
// forwarded from the log of that id. It reads the key's headers only.
func (l *Log) hasMark(ctx context.Context, key string, id, last uint64) (bool, error) {
	s, err := l.stream(ctx, controlStream)
	if err != nil {
		return false, err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	consumer, err := s.CreateConsumer(ctx, jetstream.ConsumerConfig{
		FilterSubjects:    []string{controlPrefix + key},
		AckPolicy:         jetstream.AckNonePolicy,
		HeadersOnly:       true,
		MemoryStorage:     true,
		Replicas:          1,
		InactiveThreshold: 30 * time.Second,
	})
	if err != nil {
		return false, fmt.Errorf("log key %s: consumer: %w", key, err)
	}
	for {
		batch, err := consumer.Fetch(fetchMessages, jetstream.FetchContext(ctx))
		if err != nil {
			return false, fmt.Errorf("log key %s: %w", key, err)
		}
		for m := range batch.Messages() {
			if readMark(m.Headers()).log == id {
				return true, nil
			}
			if meta, err := m.Metadata(); err != nil || meta.Sequence.Stream >= last {
				return false, err
			}
		}
		if err := batch.Error(); err != nil {
			return false, fmt.Errorf("log key %s: history: %w", key, err)
		}
	}
}
