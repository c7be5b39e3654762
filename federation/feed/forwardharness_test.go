package feed

import (
	"cmp"
	"context"
	"crypto/sha256"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/flowhound/flowhound/federation/wire"
	"github.com/flowhound/flowhound/internal/flow"
)

// pop is a collector without packets that writes into a local log.
type pop struct {
	l      *Log
	last   uint64
	commit wire.Commit
	rng    *rand.Rand
}

// newPop claims the next incarnation, as a collector does.
func newPop(ctx context.Context, l *Log) (*pop, error) {
	seq, payload, err := l.LastControl(ctx, wire.CommitKey(collectorName))
	if err != nil {
		return nil, err
	}
	p := &pop{l: l, last: seq, commit: wire.Commit{Collector: collectorName, Incarnation: 1}}
	if seq > 0 {
		c, err := wire.ReadControl(payload)
		if err != nil {
			return nil, err
		}
		p.commit.Incarnation, p.commit.Ended = c.(wire.Commit).Incarnation+1, c.(wire.Commit).Ended
	}
	p.rng = rand.New(rand.NewPCG(p.commit.Incarnation, 1))
	return p, p.append(ctx)
}

func (p *pop) append(ctx context.Context) (err error) {
	p.commit.Flush++
	p.commit.AtMS = time.Now().UnixMilli()
	p.last, err = p.l.AppendControl(ctx, p.commit.Key(), p.last, p.commit.Append(nil))
	return err
}

// flush writes n batches of random shards and their commit.
func (p *pop) flush(ctx context.Context, n int) error {
	for range n {
		h := wire.Header{Collector: collectorName, Incarnation: p.commit.Incarnation, Shard: flow.Shard(p.rng.IntN(32))}
		p.commit.Last[h.Shard]++
		h.Seq = p.commit.Last[h.Shard]
		if err := p.l.Publish(h.Shard, h.ID(), batchOf(h)); err != nil {
			return err
		}
	}
	p.commit.Contacts = uint64(n)
	if err := p.l.Sync(ctx); err != nil {
		return err
	}
	return p.append(ctx)
}

func startPop(t testing.TB, l *Log) *pop {
	t.Helper()
	p, err := newPop(limit(t), l)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *pop) flushes(t testing.TB, n int) {
	t.Helper()
	for range n {
		if err := p.flush(limit(t), 1+p.rng.IntN(20)); err != nil {
			t.Fatal(err)
		}
	}
}

// told is what a log says about one flush, without the numbers that a
// forwarder may change.
type told struct {
	atMS        int64
	ended       flow.Slice
	contacts    uint64
	batches     [sha256.Size]byte
	incarnation uint64
}

// history reads all flushes of collectorName that cover something, in order.
// It fails if a commit does not follow the one before it, or if one of its
// batches is missing or is there twice.
func history(t testing.TB, l *Log) []told {
	t.Helper()
	commits, stored := commitsOf(t, l), batchesOf(t, l)
	var all []told
	var old wire.Commit
	for _, c := range commits {
		from := old.Last
		if c.Incarnation != old.Incarnation {
			from = [flow.Shards]uint64{}
		}
		if cmp.Or(cmp.Compare(c.Incarnation, old.Incarnation), cmp.Compare(c.Flush, old.Flush)) <= 0 {
			t.Errorf("commit %d of incarnation %d follows %d of %d", c.Flush, c.Incarnation, old.Flush, old.Incarnation)
		}
		sum, n := sha256.New(), 0
		for shard, last := range c.Last {
			for seq := from[shard] + 1; seq <= last; seq++ {
				h := wire.Header{Collector: c.Collector, Incarnation: c.Incarnation, Shard: flow.Shard(shard), Seq: seq}
				got := stored[h.ID()]
				if len(got) != 1 {
					t.Fatalf("batch %s is committed and stored %d times", h.ID(), len(got))
				}
				sum.Write(wire.Renumber(got[0], 0, 0))
				n++
			}
		}
		if n > 0 {
			all = append(all, told{c.AtMS, c.Ended, c.Contacts, [sha256.Size]byte(sum.Sum(nil)), c.Incarnation})
		}
		old = c
	}
	return all
}

func commitsOf(t testing.TB, l *Log) (commits []wire.Commit) {
	t.Helper()
	_, last, err := l.ControlBounds(limit(t))
	if err != nil {
		t.Fatal(err)
	}
	r, err := l.Control(limit(t), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for seq := uint64(0); seq < last; {
		var payload []byte
		if seq, _, payload, err = r.Next(limit(t)); err != nil {
			t.Fatal(err)
		}
		c, err := wire.ReadControl(payload)
		if err != nil {
			t.Fatal(err)
		}
		if c, ok := c.(wire.Commit); ok {
			commits = append(commits, c)
		}
	}
	return commits
}

func batchesOf(t testing.TB, l *Log) map[string][][]byte {
	t.Helper()
	stored := map[string][][]byte{}
	for i := range Streams {
		first, last, err := l.BatchBounds(limit(t), i)
		if err != nil {
			t.Fatal(err)
		}
		r, err := l.Batches(limit(t), i, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for seq := first - 1; seq < last; {
			var payload []byte
			if seq, _, payload, err = r.Next(limit(t)); err != nil {
				t.Fatal(err)
			}
			h, err := wire.ReadHeader(payload)
			if err != nil {
				t.Fatal(err)
			}
			stored[h.ID()] = append(stored[h.ID()], payload)
		}
		r.Close()
	}
	return stored
}

// same compares two histories but for the numbers of incarnations.
func same(t testing.TB, got, want []told) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("the remote log has %d flushes, want %d", len(got), len(want))
	}
	for i := range got {
		g, w := got[i], want[i]
		g.incarnation, w.incarnation = 0, 0
		if g != w {
			t.Fatalf("flush %d: got %+v, want %+v", i, g, w)
		}
	}
}

// ring is a remote log that can be stopped and started again on its port.
type ring struct {
	t   testing.TB
	cfg Config
	l   *Log
}

func startRing(t testing.TB) *ring {
	r := &ring{t: t, cfg: testConfig(t.TempDir())}
	r.cfg.Listen = "127.0.0.1:0"
	r.l = open(t, r.cfg)
	r.cfg.Listen = r.l.Addr()
	return r
}

func (r *ring) stop() { shut(r.t, r.l) }

func (r *ring) start() { r.l = open(r.t, r.cfg) }

func (r *ring) url() string { return "nats://" + r.cfg.Listen }

func spoolConfig(dir string) Config {
	c := testConfig(dir)
	c.Spool = true
	return c
}

func newForwarder(t testing.TB, local *Log, url string) *Forwarder {
	t.Helper()
	remote := DefaultConfig()
	remote.URL = url
	f, err := NewForwarder(local, ForwardConfig{Collector: collectorName, Remote: remote, Keep: DefaultKeep}, quiet())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Stop(limit(t)) })
	return f
}

func startForwarder(t testing.TB, local *Log, url string) *Forwarder {
	t.Helper()
	f := newForwarder(t, local, url)
	f.Start()
	return f
}

// caughtUp waits until everything in the local log is settled.
func (f *Forwarder) caughtUp(t testing.TB) {
	t.Helper()
	_, last, err := f.local.ControlBounds(limit(t))
	if err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(30 * time.Second); f.settled() < last; time.Sleep(5 * time.Millisecond) {
		select {
		case err := <-f.Failed():
			t.Fatalf("the forwarder ended: %v", err)
		default:
		}
		if time.Now().After(end) {
			t.Fatalf("settled %d of %d control messages: %+v", f.settled(), last, f.Status(limit(t)))
		}
	}
}

// shrink makes a stream of the local log drop its oldest half, as it does when
// it is full.
func shrink(t testing.TB, l *Log, name string) {
	t.Helper()
	s, err := l.js.Stream(limit(t), name)
	if err != nil {
		t.Fatal(err)
	}
	c := s.CachedInfo().Config
	c.MaxBytes = int64(s.CachedInfo().State.Bytes / 2)
	if _, err := l.js.UpdateStream(limit(t), c); err != nil {
		t.Fatal(err)
	}
	c.MaxBytes = -1
	if _, err := l.js.UpdateStream(limit(t), c); err != nil {
		t.Fatal(err)
	}
}

// wholeFlushes is history without those flushes of which something is missing.
func wholeFlushes(t testing.TB, l *Log) []told {
	t.Helper()
	stored := batchesOf(t, l)
	var all []told
	var old wire.Commit
	for _, c := range commitsOf(t, l) {
		from := old.Last
		if c.Incarnation != old.Incarnation {
			from = [flow.Shards]uint64{}
		}
		sum, n, whole := sha256.New(), 0, true
		for shard, last := range c.Last {
			for seq := from[shard] + 1; seq <= last; seq++ {
				h := wire.Header{Collector: c.Collector, Incarnation: c.Incarnation, Shard: flow.Shard(shard), Seq: seq}
				if len(stored[h.ID()]) == 0 {
					whole = false
					continue
				}
				sum.Write(wire.Renumber(stored[h.ID()][0], 0, 0))
				n++
			}
		}
		if whole && n > 0 {
			all = append(all, told{c.AtMS, c.Ended, c.Contacts, [sha256.Size]byte(sum.Sum(nil)), c.Incarnation})
		}
		old = c
	}
	return all
}

func copyDir(t testing.TB, from, to string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}
