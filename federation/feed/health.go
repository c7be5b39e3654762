package feed

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// minFree is the disk space below which the log counts as full: JetStream
// stops for good at its first write that fails.
const minFree = 64 << 20

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
		if !l.server.ns.JetStreamEnabled() {
			return errors.New("log: JetStream stopped after a disk error; free space and restart")
		}
		if err := checkFree(l.cfg.Dir); err != nil {
			return err
		}
	}
	if trouble := l.trouble.Load(); trouble != nil {
		return fmt.Errorf("log: last write: %w", *trouble)
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
