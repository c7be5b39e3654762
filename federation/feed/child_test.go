package feed

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/flowhound/flowhound/federation/wire"
	"github.com/flowhound/flowhound/internal/flow"
)

// The test binary runs itself as another process; this variable says as what.
const childRole = "FLOWHOUND_FEED_CHILD"

func child(role string) int {
	roles := map[string]func(args []string) error{
		"writer": func(a []string) error { return writer(a[0]) },
		"server": func(a []string) error { return natsServer(a[0], a[1]) },
		"full":   func(a []string) error { return fullDisk(a[0]) },
	}
	if err := roles[role](os.Args[1:]); err != nil {
		fmt.Println("error:", err)
		return 1
	}
	return 0
}

// process is a child; lines receives its standard output and is closed at its
// end.
type process struct {
	cmd   *exec.Cmd
	lines chan string
}

func start(t *testing.T, attr *syscall.SysProcAttr, role string, args ...string) *process {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, args...)
	cmd.Env = append(os.Environ(), childRole+"="+role)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = attr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Skipf("cannot start a child process as %s: %v", role, err)
	}
	p := &process{cmd, make(chan string, 1<<16)}
	go func() {
		defer close(p.lines)
		for in := bufio.NewReader(out); ; {
			line, err := in.ReadString('\n')
			if err != nil { // a line that the kill cut short says nothing
				_, _ = io.Copy(io.Discard, in)
				return
			}
			p.lines <- strings.TrimSpace(line)
		}
	}()
	t.Cleanup(p.kill)
	return p
}

// kill ends the child by SIGKILL and waits for it.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}

// line waits for the child's next line.
func (p *process) line(t *testing.T) string {
	t.Helper()
	select {
	case line, ok := <-p.lines:
		if !ok {
			t.Fatal("the child ended")
		}
		return line
	case <-time.After(20 * time.Second):
		t.Fatal("the child says nothing")
	}
	return ""
}

const collectorName = "pop-1"

// batchOf is the batch that every incarnation publishes at a place: a pure
// function, so that the reader can compare contents.
func batchOf(h wire.Header) []byte {
	rng := rand.New(rand.NewPCG(h.Incarnation<<8|uint64(h.Shard), h.Seq))
	cs := make([]flow.Contact, 1+rng.IntN(60))
	for i := range cs {
		cs[i].Local.Shard, cs[i].Out.Bytes = h.Shard, rng.Uint64()
	}
	return wire.AppendBatch(nil, h, cs)
}

// writer is a collector without packets: it flushes as fast as it can, and
// prints each commit after it was acknowledged.
func writer(dir string) error {
	ctx := context.Background()
	l, err := Open(ctx, testConfig(dir), quiet())
	if err != nil {
		return err
	}
	key := wire.CommitKey(collectorName)
	last, payload, err := l.LastControl(ctx, key)
	if err != nil {
		return err
	}
	commit := wire.Commit{Collector: collectorName, Incarnation: 1}
	if last > 0 {
		c, err := wire.ReadControl(payload)
		if err != nil {
			return err
		}
		commit.Incarnation = c.(wire.Commit).Incarnation + 1
	}
	rng := rand.New(rand.NewPCG(commit.Incarnation, 0))
	for {
		for range 1 + rng.IntN(30) {
			h := wire.Header{Collector: collectorName, Incarnation: commit.Incarnation, Shard: flow.Shard(rng.IntN(16))}
			commit.Last[h.Shard]++
			h.Seq = commit.Last[h.Shard]
			if err := l.Publish(h.Shard, h.ID(), batchOf(h)); err != nil {
				return err
			}
		}
		if err := l.Sync(ctx); err != nil {
			return err
		}
		commit.Flush++
		if last, err = l.AppendControl(ctx, key, last, commit.Append(nil)); err != nil {
			return err
		}
		fmt.Println(last, commit.Incarnation, commit.Flush)
	}
}

// Whenever the process dies, each commit that it saw acknowledged is in its
// place, and each batch that a commit covers is in the log once and intact
// (invariants I1 and I2).
func TestKill(t *testing.T) {
	dir := t.TempDir()
	rng := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0))
	acked := map[uint64]string{} // by sequence in the control stream
	const rounds = 12
	for round := range rounds {
		p := start(t, nil, "writer", dir)
		p.say(t, acked)
		time.Sleep(time.Duration(rng.IntN(200)) * time.Millisecond)
		p.kill()
		for line := range p.lines {
			note(t, acked, line)
		}
		if round%4 == 3 {
			l := open(t, testConfig(dir))
			checkLog(t, l, acked)
			shut(t, l)
		}
	}
	if len(acked) < rounds {
		t.Errorf("only %d commits in %d rounds", len(acked), rounds)
	}
	t.Logf("%d commits", len(acked))
}

// say waits for the child's first commit.
func (p *process) say(t *testing.T, acked map[uint64]string) {
	t.Helper()
	note(t, acked, p.line(t))
}

func note(t *testing.T, acked map[uint64]string, line string) {
	t.Helper()
	var seq, incarnation, flush uint64
	if _, err := fmt.Sscan(line, &seq, &incarnation, &flush); err != nil {
		t.Fatalf("the child says %q", line)
	}
	acked[seq] = fmt.Sprint(incarnation, " ", flush)
}

func checkLog(t *testing.T, l *Log, acked map[uint64]string) {
	t.Helper()
	ctx := limit(t)
	states, err := l.State(ctx)
	if err != nil {
		t.Fatal(err)
	}
	control, err := l.Control(ctx, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer control.Close()
	missing := maps.Clone(acked)
	covered := map[uint64][flow.Shards]uint64{} // by incarnation
	for range states[0].Last {
		seq, _, payload, err := control.Next(ctx)
		if err != nil {
			t.Fatal(err)
		}
		c, err := wire.ReadControl(payload)
		if err != nil {
			t.Fatalf("control message %d: %v", seq, err)
		}
		commit := c.(wire.Commit)
		if got := fmt.Sprint(commit.Incarnation, " ", commit.Flush); acked[seq] != "" && got != acked[seq] {
			t.Errorf("control message %d: got commit %s, want %s", seq, got, acked[seq])
		}
		delete(missing, seq)
		covered[commit.Incarnation] = commit.Last
	}
	if len(missing) > 0 {
		t.Errorf("%d of the acknowledged commits are gone: %v", len(missing), missing)
	}
	stored := map[string]bool{}
	for i, s := range states[1:] {
		r, err := l.Batches(ctx, i, nil, 1)
		if err != nil {
			t.Fatal(err)
		}
		for range s.Last {
			seq, shard, payload, err := r.Next(ctx)
			if err != nil {
				t.Fatal(err)
			}
			h, err := wire.ReadHeader(payload)
			if err != nil || h.Shard != shard || !bytes.Equal(payload, batchOf(h)) {
				t.Errorf("message %d of stream %d: header %+v, error %v: not what was written", seq, i, h, err)
			}
			if stored[h.ID()] {
				t.Errorf("batch %s is stored twice", h.ID())
			}
			stored[h.ID()] = true
		}
		r.Close()
	}
	for incarnation, last := range covered {
		for shard, n := range last {
			for seq := uint64(1); seq <= n; seq++ {
				h := wire.Header{Collector: collectorName, Incarnation: incarnation, Shard: flow.Shard(shard), Seq: seq}
				if !stored[h.ID()] {
					t.Errorf("batch %s is committed but not stored", h.ID())
				}
			}
		}
	}
}

// natsServer is a NATS server as an operator runs it, JetStream on.
func natsServer(dir, port string) error {
	opts := &server.Options{Host: "127.0.0.1", JetStream: true, StoreDir: dir, SyncAlways: true, NoSigs: true, MaxPayload: maxPayload}
	if _, err := fmt.Sscan(port, &opts.Port); err != nil {
		return err
	}
	ns, err := server.NewServer(opts)
	if err != nil {
		return err
	}
	ns.Start()
	if !ns.ReadyForConnections(20 * time.Second) {
		return errors.New("the server is not ready")
	}
	fmt.Println(ns.Addr())
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	<-stop
	return nil
}

// A server elsewhere may die in the middle of a flush: Sync goes on when it is
// back, nothing is lost or doubled, and readers go on.
func TestRemote(t *testing.T) {
	dir := t.TempDir()
	p := start(t, nil, "server", dir, "-1")
	addr := p.line(t)
	port := addr[strings.LastIndexByte(addr, ':')+1:]
	c := DefaultConfig()
	c.URL = "nats://" + addr
	l, other := open(t, c), open(t, c)
	r, err := other.Batches(limit(t), 5, nil, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()

	var seqs []uint64
	const flushes, perFlush = 6, 50
	for flush := range flushes {
		for i := range perFlush {
			if flush%3 == 1 && i == perFlush/2 {
				p.kill()
			}
			h := wire.Header{Collector: collectorName, Incarnation: 1, Shard: 5, Seq: uint64(flush*perFlush + i + 1)}
			if err := l.Publish(5, h.ID(), batchOf(h)); err != nil {
				t.Fatal(err)
			}
		}
		if flush%3 == 1 {
			if err := l.Health(limit(t)); err == nil {
				t.Error("health without a server: no error")
			}
			p = start(t, nil, "server", dir, port)
			p.line(t)
		}
		syncLog(t, l)
		seq, err := l.AppendControl(limit(t), "commit.pop-1", uint64(flush), []byte{byte(flush)})
		if err != nil || seq != uint64(flush+1) {
			t.Fatalf("commit %d: got %d, %v", flush, seq, err)
		}
		// Order within a flush is free; a whole flush is there after its Sync.
		seen := map[uint64]bool{}
		for range perFlush {
			seq, _, payload, err := r.Next(limit(t))
			if err != nil {
				t.Fatal(err)
			}
			h, err := wire.ReadHeader(payload)
			if err != nil || !bytes.Equal(payload, batchOf(h)) || seen[h.Seq] || (h.Seq-1)/perFlush != uint64(flush) {
				t.Fatalf("flush %d: message %d is batch %d, error %v", flush, seq, h.Seq, err)
			}
			seen[h.Seq] = true
			seqs = append(seqs, seq)
		}
	}
	for i, seq := range seqs {
		if seq != uint64(i+1) {
			t.Fatalf("message %d was read as number %d", seq, i+1)
		}
	}
	if _, err := other.AppendControl(limit(t), "commit.pop-1", 3, nil); !errors.Is(err, ErrConflict) {
		t.Errorf("second collector of one name: got %v, want %v", err, ErrConflict)
	}
}

// Sync without a server ends with its context and keeps what it has.
func TestSyncEnds(t *testing.T) {
	p := start(t, nil, "server", t.TempDir(), "-1")
	c := DefaultConfig()
	c.URL = "nats://" + p.line(t)
	l := open(t, c)
	p.kill()
	publish(t, l, 0, "a.1.0.1", "x")
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	if err := l.Sync(ctx); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "1 messages are not acknowledged") {
		t.Errorf("sync: got %v", err)
	}
	var err error
	for i := 0; err == nil && i < 2*maxFlying; i++ {
		err = l.Publish(0, fmt.Sprint(i), nil)
	}
	if !errors.Is(err, ErrBacklog) {
		t.Errorf("publish without end: got %v, want %v", err, ErrBacklog)
	}
}

// fullDisk fills a small file system of its own with acknowledged messages
// until the log refuses, then makes room and looks for them.
func fullDisk(dir string) error {
	if err := syscall.Mount("none", dir, "tmpfs", 0, "size=24m"); err != nil {
		fmt.Println("skip:", err)
		return nil
	}
	c := testConfig(dir)
	l, err := Open(context.Background(), c, quiet())
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
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	fmt.Println("health:", l.Health(ctx))
	_ = l.Close()
	if err := syscall.Mount("none", dir, "tmpfs", syscall.MS_REMOUNT, "size=128m"); err != nil {
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
	if states[1].Last < uint64(acked) {
		return errors.New("acknowledged messages are gone")
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
	for _, w := range []string{"refused: log: 1 messages are not acknowledged", "health: ", "acked: "} {
		if !strings.Contains(all, w) {
			t.Errorf("no %q in:\n%s", w, all)
		}
	}
	if strings.Contains(all, "health: <nil>") {
		t.Errorf("healthy with a full disk:\n%s", all)
	}
	t.Log(all)
}
