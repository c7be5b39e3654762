package feed

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/flowhound/flowhound/federation/wire"
	"github.com/flowhound/flowhound/internal/flow"
)

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
