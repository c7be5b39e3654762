package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/flowhound/flowhound/collector/decode"
	"github.com/flowhound/flowhound/testbench/exporter"
	"github.com/flowhound/flowhound/testbench/load"
)

// hostilePackets is how much of the mix the live socket gets: some seconds'
// worth. FLOWHOUND_HOSTILE overrides it; make hostile sends a million.
const hostilePackets = 60_000

// Random bytes, cut and flipped packets and every named bomb on the live
// socket: memory stays flat, every datagram is accounted for, and the good
// exporter beside them loses nothing.
func TestHostilePackets(t *testing.T) {
	count := hostilePackets
	if text := os.Getenv("FLOWHOUND_HOSTILE"); text != "" {
		var err error
		if count, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	records, hosts, links := ispDay(t)
	a := startAppliance(t, t.TempDir())
	a.send(t.Context(), "127.0.0.2", slices.Values(records))
	a.awaitGraph(hosts, links)
	before := a.residentBytes()

	seed := rand.Uint64()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- sendHostile(ctx, a.udp, rand.New(rand.NewPCG(seed, 0)), count) }()
	rounds := uint64(1)
	for len(done) == 0 {
		a.sendAt(ctx, 2000, "127.0.0.2", slices.Values(records))
		rounds++
	}
	if err := <-done; err != nil {
		t.Fatalf("seed %d: %v", seed, err)
	}
	want := rounds * uint64(len(records))
	a.await("every record of the good exporter", 20*time.Second, func() bool {
		return a.goodRecords(len(records)) >= want
	})
	if got := a.goodRecords(len(records)); got != want {
		t.Errorf("seed %d: the good exporter's records: got %d, want %d", seed, got, want)
	}
	// Each of the two workers may fill its caps with what the bombs taught it;
	// the rest is the graph of hosts that noise invents, and the collector's
	// garbage.
	bound := before + 2*(decode.MaxTemplateBytes+decode.MaxHeldBytes) + 100<<20
	if after := a.residentBytes(); after > bound {
		t.Errorf("seed %d: memory grew from %d to %d MB, want at most %d", seed, before>>20, after>>20, bound>>20)
	}
	m := a.metrics()
	if got, want := m["flowhound_collector_datagrams_total"], m["flowhound_collector_datagrams_decoded_total"]+m["flowhound_collector_datagrams_dropped_total"]; got != want {
		t.Errorf("seed %d: %v datagrams received, %v accounted for", seed, got, want)
	}
	if m["flowhound_collector_datagrams_dropped_total"] == 0 || m["flowhound_collector_decode_drops_total"] == 0 {
		t.Errorf("seed %d: nothing was dropped: the mix was not hostile", seed)
	}
	a.stop()
}

// sendHostile sends count datagrams from addresses of their own, each a bomb,
// noise, or a real export packet cut or flipped somewhere.
func sendHostile(ctx context.Context, target netip.AddrPort, r *rand.Rand, count int) error {
	var real [][]byte
	for _, p := range exporter.Protocols {
		enc, err := exporter.New(exporter.Config{Protocol: p, Domain: 9})
		if err != nil {
			return err
		}
		keep := func(packet []byte) error { real = append(real, bytes.Clone(packet)); return nil }
		if err := enc.Flush(0, keep); err != nil {
			return err
		}
	}
	bombs := load.Bombs()
	pace := exporter.NewPace(20_000)
	senders := make([]*exporter.Sender, 16)
	for i := range senders {
		var err error
		senders[i], err = exporter.OpenSender(exporter.SenderConfig{Target: target, Source: netip.AddrFrom4([4]byte{127, 0, 1, byte(i + 1)}), Pace: pace})
		if err != nil {
			return err
		}
		defer senders[i].Close()
	}
	for range count {
		if err := senders[r.IntN(len(senders))].Send(ctx, hostile(r, bombs, real)); err != nil {
			return fmt.Errorf("send: %w", err)
		}
	}
	return nil
}

// hostile draws one datagram.
func hostile(r *rand.Rand, bombs, real [][]byte) []byte {
	noise := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		return b
	}
	versions := [][]byte{{0, 5}, {0, 9}, {0, 10}, {0, 0, 0, 5}, {}}
	switch r.IntN(4) {
	case 0:
		version := versions[r.IntN(len(versions))]
		length := 1 + r.IntN(1400)
		if len(version) == 2 && version[1] == 5 {
			length %= 70 // noise of 72 bytes is a valid v5 packet with a flow
		}
		return append(slices.Clone(version), noise(length)...)
	case 1:
		b := bombs[r.IntN(len(bombs))]
		return b[:1+r.IntN(len(b))]
	case 2:
		b := slices.Clone(append(bombs, real...)[r.IntN(len(bombs)+len(real))])
		if len(b) > 0 {
			b[r.IntN(len(b))] ^= byte(1 << r.IntN(8))
		}
		return append(b, 0)[:max(1, len(b))]
	default:
		return bombs[r.IntN(len(bombs))]
	}
}

// goodRecords returns the records of the exporter that has sent at least so
// many.
func (a *appliance) goodRecords(least int) (records uint64) {
	a.t.Helper()
	var list []struct {
		Records uint64 `json:"records"`
	}
	if err := json.Unmarshal(a.get("/api/v1/exporters"), &list); err != nil {
		a.t.Fatal(err)
	}
	for _, e := range list {
		if e.Records >= uint64(least) {
			records = max(records, e.Records)
		}
	}
	return records
}

// metrics returns the sums of all series of each metric.
func (a *appliance) metrics() map[string]float64 {
	a.t.Helper()
	sums := map[string]float64{}
	lines := bufio.NewScanner(bytes.NewReader(a.get("/metrics")))
	for lines.Scan() {
		name, _, _ := strings.Cut(lines.Text(), "{")
		name, _, _ = strings.Cut(name, " ")
		i := strings.LastIndexByte(lines.Text(), ' ')
		if v, err := strconv.ParseFloat(lines.Text()[i+1:], 64); err == nil && !strings.HasPrefix(name, "#") {
			sums[name] += v
		}
	}
	return sums
}

// residentBytes returns the appliance's resident memory.
func (a *appliance) residentBytes() int64 {
	a.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", a.cmd.Process.Pid))
	if err != nil {
		a.t.Fatal(err)
	}
	fields := strings.Fields(string(text))
	pages, err := strconv.ParseInt(fields[1], 10, 64)
	if err != nil {
		a.t.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}
