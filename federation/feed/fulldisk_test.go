package feed

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// fullDisk fills a small file system of its own with acknowledged messages
// until the log refuses, then makes room: the log goes on by itself, and every
// message is there once.
func fullDisk(dir string) error {
	if err := syscall.Mount("none", dir, "tmpfs", 0, "size=24m"); err != nil {
		fmt.Println("skip:", err)
		return nil
	}
	c := testConfig(dir)
	times := patience{ack: time.Second, heal: time.Second, again: time.Second}
	l, err := openWith(context.Background(), c, quiet(), times)
	if err != nil {
		return err
	}
	fill := make([]byte, 200_000)
	acked := 0
	for err == nil && acked < 1000 {
		if err = l.Publish(0, fmt.Sprint(acked), fill); err != nil {
			break
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		err = l.Sync(ctx)
		cancel()
		if err == nil {
			acked++
		}
	}
	fmt.Println("refused:", err)
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	fmt.Println("health:", l.Health(ctx))
	if err := syscall.Mount("none", dir, "tmpfs", syscall.MS_REMOUNT, "size=128m"); err != nil {
		return err
	}
	if err := l.Sync(ctx); err != nil {
		return fmt.Errorf("with room again: %w", err)
	}
	acked++
	fmt.Println("health afterwards:", l.Health(ctx))
	if err := l.Close(); err != nil {
		return err
	}
	if l, err = Open(context.Background(), c, quiet()); err != nil {
		return err
	}
	defer l.Close()
	states, err := l.State(ctx)
	if err != nil {
		return err
	}
	r, err := l.Batches(ctx, 0, nil, 1)
	if err != nil {
		return err
	}
	defer r.Close()
	for i := range states[1].Last {
		if _, _, b, err := r.Next(ctx); err != nil || len(b) != len(fill) {
			return fmt.Errorf("message %d: %d bytes, %w", i+1, len(b), err)
		}
	}
	fmt.Println("acked:", acked, "stored:", states[1].Last)
	if states[1].Last != uint64(acked) {
		return errors.New("not each acknowledged message is there once")
	}
	if err := l.Publish(0, "afterwards", fill); err != nil {
		return err
	}
	return l.Sync(ctx)
}

func TestFullDisk(t *testing.T) {
	p := start(t, &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
	}, "full", t.TempDir())
	var said []string
	for line := range p.lines {
		said = append(said, line)
	}
	all := strings.Join(said, "\n")
	if err := p.cmd.Wait(); err != nil {
		t.Fatalf("%v:\n%s", err, all)
	}
	if strings.HasPrefix(all, "skip: ") {
		t.Skip("cannot mount a file system: " + all)
	}
	for _, w := range []string{"refused: log: 1 messages are not acknowledged", "health: state directory ", "health afterwards: <nil>"} {
		if !strings.Contains(all, w) {
			t.Errorf("no %q in:\n%s", w, all)
		}
	}
}
