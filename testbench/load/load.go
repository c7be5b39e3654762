// Package load measures the collector beside its peers: nfcapd (nfdump),
// nfacctd (pmacct) and goflow2. Every figure is per CPU-second and never per
// second of the wall: by CLOCK_THREAD_CPUTIME_ID for one thread's work, by
// getrusage(2) for a process and by /proc/<pid>/stat for a tree of them. A
// receive queue is filled while its reader stands still and then drained
// (notes/collector.md §2.2), so that a figure is the cost of the work and not
// of waking up, and the sender is no part of it.
package load

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"time"

	"github.com/flowhound/flowhound/testbench/exporter"
)

// Config says what [Run] measures, and how long.
type Config struct {
	// Repetitions of every figure, at least 1; the median counts. Default 5.
	Repetitions int
	// Packets that one repetition of a receiving figure drains; default 65,536.
	Packets int
	// Hosts of the ISP whose traffic is sent; default 100,000.
	Hosts int
	// Self is the command line of a program that calls [Receive] with the
	// arguments that follow it. Without it, whatever needs a collector in a
	// process of its own is left out.
	Self []string
	// Peers installs the peers that are missing: nfdump and pmacct by apt-get,
	// goflow2 by go install. Those that are there are measured anyway.
	Peers bool
	// Loss is how long packets are sent at LossRate per second to a collector
	// on one core; 0 leaves it out.
	Loss     time.Duration
	LossRate float64 // default 200,000
	// Restart restarts a collector under 20,000 packets/s.
	Restart bool
	// Sources is the number of forged sources that send templates and bombs; 0
	// leaves it out.
	Sources int
	// Profiles is a directory for CPU profiles of the figures that are
	// measured in this process; empty for none.
	Profiles string
	// Dir is where receivers keep their files; empty means the system's
	// temporary directory.
	Dir string
	// Progress is told what happens, a line each.
	Progress io.Writer
}

// DefaultConfig returns what `flowhound testbench collector` measures.
func DefaultConfig() Config {
	return Config{Repetitions: 5, Packets: 1 << 16, Hosts: 100_000, LossRate: 200_000, Progress: io.Discard}
}

// Validate returns the first setting that cannot work.
func (c Config) Validate() error {
	switch {
	case c.Repetitions < 1:
		return fmt.Errorf("load: repetitions %d: want at least 1", c.Repetitions)
	case c.Packets < 1:
		return fmt.Errorf("load: packets %d: want at least 1", c.Packets)
	case c.Loss > 0 && c.LossRate <= 0:
		return fmt.Errorf("load: rate %g: want more than 0", c.LossRate)
	case c.Sources < 0 || c.Sources > maxSources:
		return fmt.Errorf("load: sources %d: want 0 to %d", c.Sources, maxSources)
	case len(c.Self) == 0 && (c.Loss > 0 || c.Restart || c.Sources > 0):
		return errors.New("load: loss, restart and sources need a collector in a process of its own")
	}
	return nil
}

// perPackets are the numbers of records a packet that the pipeline is measured
// with: a full packet, a half-empty one, and one flow at a time.
var perPackets = []int{24, 5, 1}

// recordsPerHost is how many records an ISP's host has in a day's traffic with
// 1 … 12 flows a call, and minHosts what the traffic generator needs.
const (
	recordsPerHost = 23
	minHosts       = 2000
)

// run is what the parts of one measurement share.
type run struct {
	cfg     Config
	ctx     context.Context
	dir     string
	result  *Result
	nowMS   int64
	decode  map[exporter.Protocol]*packets
	pipe    map[int]*packets
	repeats *packets // 12 records per contact
}

// Run measures everything that c asks for.
func Run(ctx context.Context, c Config) (Result, error) {
	if err := c.Validate(); err != nil {
		return Result{}, err
	}
	dir, err := os.MkdirTemp(c.Dir, "flowhound-load-")
	if err != nil {
		return Result{}, fmt.Errorf("load: %w", err)
	}
	defer os.RemoveAll(dir)
	// The packets to send are a hundred megabytes without pointers; collecting
	// garbage around them is no part of a collector's work.
	r := &run{cfg: c, ctx: ctx, dir: dir, result: newResult(), nowMS: time.Now().UnixMilli()}
	if err := r.prepare(); err != nil {
		return Result{}, fmt.Errorf("load: %w", err)
	}
	steps := []struct {
		name string
		want bool
		run  func() error
	}{
		{"decode", true, r.measureDecode},
		{"receive, decode, contacts", true, r.measurePipeline},
		{"to the log", true, r.measureToLog},
		{"peers", true, r.measurePeers},
		{"loss", c.Loss > 0, r.measureLoss},
		{"restart", c.Restart, r.measureRestart},
		{"forged sources", c.Sources > 0, r.measureSources},
	}
	for _, s := range steps {
		if !s.want {
			continue
		}
		r.say("%s …", s.name)
		if err := s.run(); err != nil {
			return Result{}, fmt.Errorf("load: %s: %w", s.name, err)
		}
		debug.FreeOSMemory()
	}
	return *r.result, nil
}

// prepare draws and encodes the traffic.
func (r *run) prepare() error {
	r.say("drawing the traffic of %d hosts", r.cfg.Hosts)
	plain, err := drawRecords(r.cfg.Hosts, 3, 24*r.cfg.Packets)
	if err != nil {
		return err
	}
	r.pipe, r.decode = map[int]*packets{}, map[exporter.Protocol]*packets{}
	for _, n := range perPackets {
		if r.pipe[n], err = encode(exporter.NetFlow9, plain[:min(len(plain), n*r.cfg.Packets)], n, r.nowMS); err != nil {
			return err
		}
	}
	for p, n := range fullPackets {
		if r.decode[p], err = encode(p, plain[:min(len(plain), n*decodePackets)], n, r.nowMS); err != nil {
			return err
		}
	}
	// An answered call of 1 … 12 flows has 13 records on average, and some are
	// not answered: 12 records per contact, if all of them are in one window.
	repeats, err := drawRecords(max(minHosts, 24*r.cfg.Packets/recordsPerHost), 12, 1)
	if err != nil {
		return err
	}
	r.repeats, err = encode(exporter.NetFlow9, repeats, 24, r.nowMS)
	runtime.GC()
	return err
}

// say tells what happens. Somebody who does not listen stops nothing.
func (r *run) say(format string, args ...any) {
	_, _ = fmt.Fprintf(r.cfg.Progress, format+"\n", args...)
}

// medians collects the repetitions of figures by name.
type medians map[string][]float64

func (m medians) add(name string, v float64) { m[name] = append(m[name], v) }

// of returns the median, the lower one of an even number.
func (m medians) of(name string) float64 {
	v := slices.Sorted(slices.Values(m[name]))
	if len(v) == 0 {
		return 0
	}
	return v[(len(v)-1)/2]
}

func key(perPacket int) string { return strconv.Itoa(perPacket) }
