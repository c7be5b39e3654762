package load

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/flowhound/flowhound/collector"
	"github.com/flowhound/flowhound/federation/feed"
	"github.com/flowhound/flowhound/federation/wire"
	"github.com/flowhound/flowhound/internal/flow"
)

// stopTime is how long a collector may take to write what it holds.
const stopTime = 30 * time.Second

// nowhere is a log that keeps nothing.
type nowhere struct{ seq atomic.Uint64 }

func (*nowhere) Publish(flow.Shard, string, []byte) error { return nil }
func (*nowhere) Sync(context.Context) error               { return nil }
func (n *nowhere) AppendControl(context.Context, string, uint64, []byte) (uint64, error) {
	return n.seq.Add(1), nil
}
func (*nowhere) LastControl(context.Context, string) (uint64, []byte, error) { return 0, nil, nil }

// counted is a log that counts the flow records that commits cover.
type counted struct {
	collector.Log
	records, contacts atomic.Uint64
}

// AppendControl implements [collector.Log].
func (c *counted) AppendControl(ctx context.Context, key string, last uint64, payload []byte) (uint64, error) {
	seq, err := c.Log.AppendControl(ctx, key, last, payload)
	if err != nil {
		return seq, err
	}
	if m, err := wire.ReadControl(payload); err == nil {
		if commit, ok := m.(wire.Commit); ok {
			c.contacts.Add(commit.Contacts / 2)
			c.records.Add(commit.Records)
		}
	}
	return seq, nil
}

// newCollector starts a collector with default settings, but for its input and
// the time between flushes.
func newCollector(ctx context.Context, dir string, log collector.Log, input collector.Input, flush time.Duration) (*collector.Collector, error) {
	cfg := collector.DefaultConfig()
	cfg.Keys.File = filepath.Join(dir, "keys")
	cfg.Flush = flush
	c, err := collector.New(cfg, collector.Deps{Log: log, Input: input,
		Registerer: prometheus.NewRegistry(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, err
	}
	if err := c.Start(ctx); err != nil {
		return nil, errors.Join(err, stop(c))
	}
	return c, nil
}

func stop(c *collector.Collector) error {
	ctx, cancel := context.WithTimeout(context.Background(), stopTime)
	defer cancel()
	return c.Stop(ctx)
}

// measurePipeline fills the figures of receive + decode + contacts: the CPU
// time of the receiving thread, whose work that is. Pseudonyms, batches and
// the log are the work of others.
func (r *run) measurePipeline() error {
	for _, n := range perPackets {
		apart, err := r.pipeline("pipeline-"+key(n), r.pipe[n], false)
		if err != nil {
			return err
		}
		joined, err := r.pipeline("pipeline-joined-"+key(n), r.pipe[n], true)
		if err != nil {
			return err
		}
		r.result.Pipeline[key(n)], r.result.Joined[key(n)] = apart, joined
	}
	return nil
}

// pipeline returns millions of flows per second of the receiving thread.
func (r *run) pipeline(name string, p *packets, joined bool) (median float64, err error) {
	rates := medians{}
	err = r.profile(name, func() error { return r.drainPipeline(p, joined, rates) })
	return rates.of(key(p.perPacket)), err
}

func (r *run) drainPipeline(p *packets, joined bool, rates medians) (err error) {
	dir, err := os.MkdirTemp(r.dir, "pipeline-")
	if err != nil {
		return err
	}
	g, err := openGate()
	if err != nil {
		return err
	}
	c, err := newCollector(r.ctx, dir, &nowhere{}, g, collector.DefaultConfig().Flush)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop(c)) }()
	f, err := newFiller(g.address(), p, nil, joined)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.close()) }()
	for i := range r.cfg.Repetitions + 1 {
		packets, took, err := r.repetition(g, f)
		if err != nil {
			return err
		}
		if i > 0 { // the first one faults the tables' memory in
			rates.add(key(p.perPacket), mega(uint64(packets*p.perPacket), took))
		}
	}
	return nil
}

// repetition drains Config.Packets, in as many rounds as the queue demands.
func (r *run) repetition(g *gate, f *filler) (packets int, took time.Duration, err error) {
	for packets < r.cfg.Packets {
		sent, waiting, err := g.fill(r.ctx, f, min(round, r.cfg.Packets-packets))
		if err != nil {
			return 0, 0, err
		}
		t, err := g.drain(r.ctx, waiting)
		if err != nil {
			return 0, 0, err
		}
		packets, took = packets+sent, took+t
	}
	return packets, took, nil
}

// mega returns millions per second.
func mega(n uint64, took time.Duration) float64 { return float64(n) / took.Seconds() / 1e6 }

// measureToLog fills the figure of the whole way into the embedded log, synced
// as in production: the CPU time of the process between the moment that the
// queue is full and the commit of its last record.
func (r *run) measureToLog() error {
	return r.profile("to-log", func() (err error) {
		dir, err := os.MkdirTemp(r.dir, "to-log-")
		if err != nil {
			return err
		}
		g, err := openGate()
		if err != nil {
			return err
		}
		log, err := openLog(r.ctx, dir)
		if err != nil {
			return errors.Join(err, g.Close())
		}
		defer func() { err = errors.Join(err, log.Close()) }()
		count := &counted{Log: log}
		// Longer than it takes to fill and to drain, so that a repetition is one
		// window, or contacts would have fewer records.
		c, err := newCollector(r.ctx, dir, count, g, 2*time.Second)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, stop(c)) }()
		f, err := newFiller(g.address(), r.repeats, nil, false)
		if err != nil {
			return err
		}
		f.renews = true
		defer func() { err = errors.Join(err, f.close()) }()
		return r.toLog(g, f, count)
	})
}

func openLog(ctx context.Context, dir string) (*feed.Log, error) {
	cfg := feed.DefaultConfig()
	cfg.Dir = dir
	return feed.Open(ctx, cfg, feed.Deps{Logger: slog.New(slog.DiscardHandler)})
}

func (r *run) toLog(g *gate, f *filler, count *counted) error {
	rates := medians{}
	for i := range r.cfg.Repetitions + 1 {
		want := count.records.Load() + uint64(len(f.data)*f.perPacket)
		begin := processCPU()
		sending, err := r.pass(g, f)
		if err != nil {
			return err
		}
		if err := await(r.ctx, stopTime, func() bool { return count.records.Load() >= want }); err != nil {
			return fmt.Errorf("%d of %d records in the log: %w", count.records.Load(), want, err)
		}
		if i > 0 {
			rates.add("log", mega(uint64(len(f.data)*f.perPacket), processCPU()-begin-sending))
		}
	}
	r.result.ToLog = rates.of("log")
	r.result.ToLogRecords = float64(count.records.Load()) / float64(count.contacts.Load())
	return nil
}

// pass drains every packet of f once and returns the CPU time of sending them.
func (r *run) pass(g *gate, f *filler) (sending time.Duration, err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for left := len(f.data); left > 0; {
		begin := threadCPU()
		sent, waiting, err := g.fill(r.ctx, f, min(left, round))
		sending += threadCPU() - begin
		if err != nil {
			return 0, err
		}
		if _, err := g.drain(r.ctx, waiting); err != nil {
			return 0, err
		}
		left -= sent
	}
	return sending, nil
}

// await polls until done, for a time.
func await(ctx context.Context, limit time.Duration, done func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// machine describes where the figures come from.
func cpuModel() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		if name, model, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(model)
		}
	}
	return ""
}
