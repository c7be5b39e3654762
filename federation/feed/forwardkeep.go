package feed

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// keeper drops from the local log what was forwarded long ago.
type keeper struct {
	marks []keepMark // ascending
	off   bool       // the log may not drop anything early
}

type keepMark struct {
	at      time.Time
	streams [Streams]uint64
}

// note remembers what is settled now, and drops what was long ago. It looks
// once in a sixtieth of the time that messages are kept.
func (k *keeper) note(ctx context.Context, r *run) error {
	now, keep := time.Now(), r.f.cfg.Keep
	if n := len(k.marks); k.off || n > 0 && now.Sub(k.marks[n-1].at) < keep/60 {
		return nil
	}
	mark := keepMark{at: now}
	for i, s := range r.spools {
		mark.streams[i] = s.settled()
	}
	k.marks = append(k.marks, mark)
	old := -1
	for i, m := range k.marks {
		if now.Sub(m.at) >= keep {
			old = i
		}
	}
	if old < 0 {
		return nil
	}
	for i, seq := range k.marks[old].streams {
		if err := r.f.local.forget(ctx, i, seq); err != nil {
			k.off = true
			r.f.logger.Info("the log keeps what was forwarded until it is full or too old", "err", scrub(err.Error()))
			return nil
		}
	}
	k.marks = append(k.marks[:0], k.marks[old+1:]...)
	return nil
}

// forget drops the messages of a contact stream up to seq.
func (l *Log) forget(ctx context.Context, stream int, seq uint64) error {
	s, err := l.stream(ctx, contactStream(stream))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if err := s.Purge(ctx, jetstream.WithPurgeSequence(seq+1)); err != nil {
		return fmt.Errorf("log stream %s: drop up to message %d: %w", contactStream(stream), seq, err)
	}
	return nil
}
