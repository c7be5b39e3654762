package feed

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/flowhound/flowhound/federation/wire"
)

// spool is a collector without packets: it flushes into its local log, which a
// forwarder empties, and prints each local commit.
func spool(dir, url string) error {
	ctx := context.Background()
	l, err := Open(ctx, spoolConfig(dir), quiet())
	if err != nil {
		return err
	}
	remote := DefaultConfig()
	remote.URL = url
	f, err := NewForwarder(l, ForwardConfig{Collector: collectorName, Remote: remote, Keep: DefaultKeep}, quiet())
	if err != nil {
		return err
	}
	f.Start()
	p, err := newPop(ctx, l)
	if err != nil {
		return err
	}
	for {
		fmt.Println(p.last, p.commit.Incarnation, p.commit.Flush)
		if err := p.flush(ctx, 1+p.rng.IntN(30)); err != nil {
			return err
		}
		select {
		case err := <-f.Failed():
			return err
		default:
		}
	}
}

// Whenever the collector, the remote log or both die, each flush that the
// local log acknowledged arrives in the remote one: once, whole, in order.
func TestForwardKill(t *testing.T) {
	dir, ringDir := t.TempDir(), t.TempDir()
	ring := start(t, nil, "server", ringDir, "-1")
	addr := ring.line(t)
	port := addr[strings.LastIndexByte(addr, ':')+1:]
	seed := uint64(time.Now().UnixNano())
	rng := rand.New(rand.NewPCG(seed, 0))
	acked := map[uint64]string{}
	const rounds = 12
	for range rounds {
		p := start(t, nil, "spool", dir, "nats://"+addr)
		p.say(t, acked)
		pause := func() { time.Sleep(time.Duration(rng.IntN(400)) * time.Millisecond) }
		pause()
		if rng.IntN(2) == 0 {
			ring.kill()
			pause()
			ring = start(t, nil, "server", ringDir, port)
			ring.line(t)
			pause()
		}
		p.kill()
		for line := range p.lines {
			note(t, acked, line)
		}
	}
	if len(acked) < rounds {
		t.Errorf("only %d commits in %d rounds", len(acked), rounds)
	}
	local := open(t, spoolConfig(dir))
	f := startForwarder(t, local, "nats://"+addr)
	f.caughtUp(t)
	c := DefaultConfig()
	c.URL = "nats://" + addr
	remote := open(t, c)
	checkLog(t, local, maps.Clone(acked))
	checkLog(t, remote, acked) // nothing was lost, so the numbers are the same
	got := history(t, remote)
	same(t, got, history(t, local))
	t.Logf("seed %d: %d commits, %d flushes; forwarded by the last: %d", seed, len(acked), len(got), f.Status(limit(t)).ForwardedFlushes)
}

// BenchmarkForward empties a spool of flushes of 256 batches into a remote log
// over TCP, both with an fsync per message.
func BenchmarkForward(b *testing.B) {
	const size, flushes = 2000, 8
	headers, payloads := flushOf(size)
	local := open(b, spoolConfig(b.TempDir()))
	p := startPop(b, local)
	ring := startRing(b)
	b.SetBytes(int64(len(payloads[0])) * 256)
	b.StopTimer()
	b.ResetTimer()
	for done := 0; done < b.N; {
		n := min(flushes, b.N-done)
		for range n {
			for i, h := range headers {
				p.commit.Last[h.Shard]++
				h.Incarnation, h.Seq = p.commit.Incarnation, p.commit.Last[h.Shard]
				if err := local.Publish(h.Shard, h.ID(), wire.Renumber(payloads[i], h.Incarnation, h.Seq)); err != nil {
					b.Fatal(err)
				}
			}
			if err := local.Sync(limit(b)); err != nil {
				b.Fatal(err)
			}
			if err := p.append(limit(b)); err != nil {
				b.Fatal(err)
			}
		}
		done += n
		f := newForwarder(b, local, ring.url())
		b.StartTimer()
		f.Start()
		f.caughtUp(b)
		b.StopTimer()
		f.Stop(limit(b))
	}
	b.ReportMetric(float64(b.N)*256*size/b.Elapsed().Seconds()/1e6, "Mcontacts/s")
}
