package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/flowhound/flowhound/internal/flow"
	"github.com/flowhound/flowhound/internal/peer"
	"github.com/flowhound/flowhound/testbench/botnet"
	"github.com/flowhound/flowhound/testbench/exporter"
	"github.com/flowhound/flowhound/testbench/traffic"
)

// ispDay returns a small ISP with a botnet in it, its flow records of the last
// seconds, and the size of its graph.
func ispDay(t *testing.T) (records []flow.Record, hosts, links int) {
	t.Helper()
	cfg, err := traffic.Background("isp", 2000)
	if err != nil {
		t.Fatal(err)
	}
	n, err := traffic.Generate(cfg.Infect(botnet.Kademlia, 0.02), 7)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().UnixMilli()
	records = slices.Collect(n.Records(traffic.Span{FromMS: now - 10_000, ToMS: now}))
	src, dst := n.Links()
	seen := map[uint32]bool{}
	for i := range src {
		seen[src[i]], seen[dst[i]] = true, true
	}
	return records, len(seen), len(src)
}

// A real exporter meters generated traffic and exports it: every flow that it
// says it sent is counted, and the graph is the traffic's.
func TestRealExporter(t *testing.T) {
	softflowd := peer.Need(t, "softflowd")
	records, hosts, links := ispDay(t)
	records = slices.DeleteFunc(records, func(r flow.Record) bool { return r.Proto != 6 && r.Proto != 17 })
	dir := t.TempDir()
	file := filepath.Join(dir, "traffic.pcap")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	written, err := exporter.WriteTraffic(f, slices.Values(records), 3)
	if err != nil || f.Close() != nil {
		t.Fatalf("write traffic: %v", err)
	}
	a := startAppliance(t, t.TempDir())
	for i, version := range []string{"9", "10"} {
		ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
		defer cancel()
		out, err := exec.CommandContext(ctx, softflowd, "-r", file, "-n", a.udp.String(), "-v", version, "-d",
			"-A", "milli", "-m", strconv.Itoa(len(records)), "-p", filepath.Join(dir, "pid"+version), "-c", "none").CombinedOutput()
		if err != nil {
			t.Fatalf("softflowd -v %s: %v\n%s", version, err, out)
		}
		want := uint64(i+1) * written.Records
		a.await("record of every flow", 20*time.Second, func() bool { return a.state().Roles.Collector.Records >= want })
		if got := a.state().Roles.Collector.Records; got != want {
			t.Errorf("softflowd -v %s: got %d flow records, want %d", version, got, want)
		}
	}
	a.awaitGraph(hosts, links)
	a.stop()
}

// Killed at any moment and fed again what the router still has, the appliance
// ends with the same graph and the same scores, to the last bit, as one that
// nothing happened to. Killed once more when all is done, it has them at once.
func TestKill(t *testing.T) {
	records, hosts, links := ispDay(t)
	calmDir, roughDir := t.TempDir(), t.TempDir()
	calm := startAppliance(t, calmDir)
	if sent := calm.send(t.Context(), "127.0.0.2", slices.Values(records)); sent != uint64(len(records)) {
		t.Fatalf("sent %d of %d records", sent, len(records))
	}
	calm.awaitGraph(hosts, links)
	want := calm.get("/api/v1/scores")
	calm.stop()

	// The same keys make the same pseudonyms.
	keys, err := os.ReadFile(filepath.Join(calmDir, "keys"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(roughDir, "keys"), keys, 0o600); err != nil {
		t.Fatal(err)
	}
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	for range 4 {
		a := startAppliance(t, roughDir)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { a.sendAt(ctx, 400, "127.0.0.2", slices.Values(records)); close(done) }()
		time.Sleep(time.Duration(random.Int64N(int64(1500 * time.Millisecond))))
		a.kill()
		cancel()
		<-done
	}
	rough := startAppliance(t, roughDir)
	rough.send(t.Context(), "127.0.0.2", slices.Values(records))
	rough.awaitGraph(hosts, links)
	if got := rough.get("/api/v1/scores"); !bytes.Equal(got, want) {
		t.Errorf("seed %d: scores after four kills differ from the undisturbed run's: %s", seed, firstDifference(got, want))
	}
	if gaps := rough.state().Roles.Detector.Gaps; gaps != 0 {
		t.Errorf("seed %d: %d batches are missing in the log", seed, gaps)
	}
	rough.kill()
	again := startAppliance(t, roughDir)
	if got := again.get("/api/v1/scores"); !bytes.Equal(got, want) {
		t.Errorf("seed %d: scores right after a kill and restart differ: %s", seed, firstDifference(got, want))
	}
	again.stop()
}

// firstDifference shows where two lists of lines part.
func firstDifference(got, want []byte) string {
	g, w := strings.Split(string(got), "\n"), strings.Split(string(want), "\n")
	for i := range min(len(g), len(w)) {
		if g[i] != w[i] {
			return "line " + strconv.Itoa(i+1) + ": got " + g[i] + ", want " + w[i]
		}
	}
	return "got " + strconv.Itoa(len(g)) + " lines, want " + strconv.Itoa(len(w))
}

// What a clean stop has received is on disk: the next start ranks it.
func TestStopLosesNothing(t *testing.T) {
	records, hosts, links := ispDay(t)
	dir := t.TempDir()
	a := startAppliance(t, dir)
	sent := a.send(t.Context(), "127.0.0.3", slices.Values(records))
	a.await("record", 10*time.Second, func() bool { return a.state().Roles.Collector.Records == sent })
	a.stop()
	b := startAppliance(t, dir)
	b.awaitGraph(hosts, links)
	b.stop()
}

// No plain address of a host or an exporter shows anywhere outside the
// collector's memory: not on disk, not over HTTP, not in the log.
func TestNoPlainAddress(t *testing.T) {
	records, hosts, links := ispDay(t)
	dir := t.TempDir()
	a := startAppliance(t, dir)
	a.send(t.Context(), "127.0.0.77", slices.Values(records))
	a.awaitGraph(hosts, links)
	var seen bytes.Buffer
	for _, path := range []string{"/", "/metrics", "/api/v1/status", "/api/v1/exporters", "/api/v1/suspects?top=10000", "/api/v1/scores", "/api/v1/epochs", "/debug/pprof/heap"} {
		seen.Write(a.get(path))
	}
	a.stop()
	seen.WriteString(a.log.String())
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Base(path) == "keys" {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = io.Copy(&seen, f)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	text := seen.Bytes()
	if len(text) < 10_000 {
		t.Fatalf("looked at %d bytes only", len(text))
	}
	if bytes.Contains(text, []byte("127.0.0.77")) {
		t.Error("the exporter's address shows")
	}
	// A lone IPv4 address has four bytes, which random data holds by chance:
	// the 16-byte form and the text do not occur so.
	hostsSeen := map[flow.Addr]bool{}
	for _, r := range records {
		hostsSeen[r.Src], hostsSeen[r.Dst] = true, true
	}
	for h := range hostsSeen {
		if bytes.Contains(text, h[:]) {
			t.Errorf("the 16 bytes of a host's address show")
		}
		if s := h.NetIP().String(); containsWord(text, s) {
			t.Errorf("a host's address shows as text")
		}
	}
}

// containsWord reports whether text holds word between characters that cannot
// belong to an address.
func containsWord(text []byte, word string) bool {
	for {
		i := bytes.Index(text, []byte(word))
		if i < 0 {
			return false
		}
		end := i + len(word)
		before := i == 0 || !strings.ContainsRune("0123456789.:abcdef", rune(text[i-1]))
		after := end == len(text) || !strings.ContainsRune("0123456789.:abcdef", rune(text[end]))
		if before && after {
			return true
		}
		text = text[end:]
	}
}

// The commands that ask a running appliance show it to people and programs.
func TestAsking(t *testing.T) {
	records, hosts, links := ispDay(t)
	a := startAppliance(t, t.TempDir())
	a.send(t.Context(), "127.0.0.4", slices.Values(records))
	a.awaitGraph(hosts, links)
	ask := func(args ...string) string {
		t.Helper()
		out, err := exec.Command("flowhound", append(args, "--server", a.http)...).CombinedOutput()
		if err != nil {
			t.Fatalf("flowhound %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	if out := ask("suspects", "--top", "3"); !strings.Contains(out, "PSEUDONYM") || !strings.Contains(out, "3 of ") {
		t.Errorf("suspects:\n%s", out)
	}
	var list struct{ Suspects []suspect }
	if err := json.Unmarshal([]byte(ask("suspects", "--output", "json")), &list); err != nil || len(list.Suspects) == 0 {
		t.Fatalf("suspects as JSON: %v, %d of them", err, len(list.Suspects))
	}
	if out := ask("explain", list.Suspects[0].Pseudonym); !strings.Contains(out, "suspect since") || !strings.Contains(out, "peers:") {
		t.Errorf("explain:\n%s", out)
	}
	if out := ask("exporters"); !strings.Contains(out, "p1.1.") {
		t.Errorf("exporters: want an unnamed exporter's pseudonym, got\n%s", out)
	}
	out, err := exec.Command("flowhound", "suspects", "--server", peer.FreeTCP(t)).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "no appliance answers") {
		t.Errorf("suspects of nobody: %v, %s", err, out)
	}
	a.stop()
}
