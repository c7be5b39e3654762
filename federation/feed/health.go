package feed

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// minFree is the disk space below which the log counts as full. JetStream
// refuses a stream's writes for good after the first one that failed, so it is
// better known before.
const minFree = 64 << 20

// trouble is why writes fail, and since when.
type trouble struct {
	err   error
	since time.Time
}

// wrote notes how a write went.
func (l *Log) wrote(err error) {
	if err == nil {
		l.trouble.Store(nil)
		return
	}
	l.trouble.CompareAndSwap(nil, &trouble{err, time.Now()})
}

// heal restarts the embedded server when writes keep failing although there is
// room: after a full disk it would refuse them until the process ends.
func (l *Log) heal() {
	tick := time.NewTicker(l.times.heal / 4)
	defer tick.Stop()
	var last time.Time
	for {
		select {
		case <-l.done:
			return
		case <-tick.C:
		}
		t := l.trouble.Load()
		if t == nil || time.Since(t.since) < l.times.heal || time.Since(last) < l.times.again || checkFree(l.cfg.Dir) != nil {
			continue
		}
		last = time.Now()
		l.logger.Warn("log server restarts because writes fail", "err", scrub(t.err.Error()))
		l.metrics.heals.Inc()
		if err := l.server.restart(l.life); err != nil {
			l.logger.Error("log server does not start again", "err", err)
		}
	}
}

// Health returns why the log cannot be written now, nil if it can: no
// connection, JetStream stopped, no answer, the last write not acknowledged, or
// less than 64 MiB of disk left.
func (l *Log) Health(ctx context.Context) error {
	select {
	case <-l.done:
		return ErrClosed
	default:
	}
	if !l.conn.IsConnected() {
		return errors.New("log: not connected")
	}
	if l.server != nil {
		if !l.server.current().JetStreamEnabled() {
			return errors.New("log: JetStream stopped after a disk error")
		}
		if err := checkFree(l.cfg.Dir); err != nil {
			return err
		}
	}
	if t := l.trouble.Load(); t != nil {
		return fmt.Errorf("log: last write: %w", t.err)
	}
	_, err := l.State(ctx)
	return err
}

func checkFree(dir string) error {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return fmt.Errorf("state directory %s: %w", dir, err)
	}
	if free := fs.Bavail * uint64(fs.Bsize); free < minFree {
		return fmt.Errorf("state directory %s: %d MiB of disk left, want %d", dir, free>>20, minFree>>20)
	}
	return nil
}
