package feed

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/flowhound/flowhound/federation/wire"
)

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
