package feed

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/flowhound/flowhound/federation/wire"
	"github.com/flowhound/flowhound/internal/flow"
)

// flushOf returns the encoded batches of one flush: every shard has one, of
// size contacts each, with counters of a few bytes.
func flushOf(size int) (headers []wire.Header, payloads [][]byte) {
	rng := rand.New(rand.NewPCG(1, 1))
	cs := make([]flow.Contact, size)
	for s := range flow.Shards {
		h := wire.Header{Collector: "pop-1", Incarnation: 1, Shard: flow.Shard(s)}
		for i := range cs {
			c := &cs[i]
			c.Local.Shard = h.Shard
			for k := range c.Local.Pseudonym {
				c.Local.Pseudonym[k], c.Remote.Pseudonym[k] = byte(rng.Uint32()), byte(rng.Uint32())
			}
			c.FirstMS = 1_790_000_000_000 + rng.Int64N(10_000)
			c.LastMS = c.FirstMS + rng.Int64N(5000)
			c.Out = flow.Counters{Flows: 1, Packets: rng.Uint64N(300), Bytes: rng.Uint64N(60_000)}
			c.In, c.Port = c.Out, uint16(rng.Uint32())
		}
		headers = append(headers, h)
		payloads = append(payloads, wire.AppendBatch(nil, h, cs))
	}
	return headers, payloads
}

// BenchmarkLog publishes flushes of 256 batches, each flush acknowledged as a
// whole and committed, and reads and decodes all of it meanwhile.
func BenchmarkLog(b *testing.B) {
	for _, syncAlways := range []bool{true, false} {
		for _, size := range []int{200, 2000} {
			b.Run(fmt.Sprintf("sync=%v/contacts=%d", syncAlways, size), func(b *testing.B) {
				benchLog(b, syncAlways, size)
			})
		}
	}
}

func benchLog(b *testing.B, syncAlways bool, size int) {
	c := testConfig(b.TempDir())
	c.SyncAlways = syncAlways
	l, err := Open(b.Context(), c, quiet())
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	headers, payloads := flushOf(size)
	b.SetBytes(int64(len(payloads[0])) * flow.Shards)
	b.ResetTimer()
	read := make(chan error, Streams)
	for i := range Streams {
		go func() { read <- readAll(b.Context(), l, i, b.N*flow.Shards/Streams) }()
	}
	last := uint64(0)
	for flush := range b.N {
		for i, h := range headers {
			h.Seq = uint64(flush + 1)
			if err := l.Publish(h.Shard, h.ID(), payloads[i]); err != nil {
				b.Fatal(err)
			}
		}
		if err := l.Sync(b.Context()); err != nil {
			b.Fatal(err)
		}
		if last, err = l.AppendControl(b.Context(), "commit.pop-1", last, payloads[0][:64]); err != nil {
			b.Fatal(err)
		}
	}
	for range Streams {
		if err := <-read; err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	b.ReportMetric(float64(b.N)*float64(flow.Shards*size)/b.Elapsed().Seconds()/1e6, "Mcontacts/s")
}

func readAll(ctx context.Context, l *Log, stream, messages int) error {
	r, err := l.Batches(ctx, stream, nil, 1)
	if err != nil {
		return err
	}
	defer r.Close()
	var cs []flow.Contact
	for range messages {
		_, _, payload, err := r.Next(ctx)
		if err != nil {
			return err
		}
		if _, cs, err = wire.ReadBatch(payload, cs[:0]); err != nil {
			return err
		}
	}
	return nil
}

// BenchmarkReplay reads and decodes a log from the start, as a detector does
// after a crash.
func BenchmarkReplay(b *testing.B) {
	l, err := Open(b.Context(), testConfig(b.TempDir()), quiet())
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	const size, flushes = 2000, 4
	headers, payloads := flushOf(size)
	for seq := range uint64(flushes) {
		for i, h := range headers {
			h.Seq = seq + 1
			if err := l.Publish(h.Shard, h.ID(), payloads[i]); err != nil {
				b.Fatal(err)
			}
		}
	}
	if err := l.Sync(b.Context()); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(payloads[0])) * flow.Shards * flushes)
	for b.Loop() {
		read := make(chan error, Streams)
		for i := range Streams {
			go func() { read <- readAll(b.Context(), l, i, flushes*flow.Shards/Streams) }()
		}
		for range Streams {
			if err := <-read; err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(b.N)*flushes*flow.Shards*size/b.Elapsed().Seconds()/1e6, "Mcontacts/s")
}
