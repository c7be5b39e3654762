package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/flowhound/flowhound/internal/peer"
)

// startRole runs one role of the appliance with a configuration file, at the
// addresses of a. The test's end kills it.
func startRole(t *testing.T, role, config string, a appliance) *appliance {
	t.Helper()
	a.t, a.log = t, new(lockedBuffer)
	a.cmd = exec.Command("flowhound", role, "--config", config)
	a.cmd.Stderr = a.log
	if err := a.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = a.cmd.Process.Kill()
		_ = a.cmd.Wait()
		if t.Failed() {
			t.Logf("log of the %s:\n%s", role, a.log)
		}
	})
	return &a
}

func (a *appliance) ready() bool {
	resp, err := http.Get("http://" + a.http + "/readyz")
	if err != nil {
		return false
	}
	resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// pair is a detector with its log on a loopback port, and a POP's collector.
type pair struct {
	t         *testing.T
	detector  string // configuration files
	collector string
	ring      appliance // addresses
	pop       appliance
}

func newPair(t *testing.T) *pair {
	p := &pair{t: t}
	log := peer.FreeTCP(t)
	add := func(path, text string) {
		f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.WriteString(text); err != nil {
			t.Fatal(err)
		}
	}
	p.detector, p.ring.http, _ = writeConfig(t, t.TempDir())
	add(p.detector, fmt.Sprintf("log: {listen: %q}\n", log))
	dir := t.TempDir()
	p.collector, p.pop.http, p.pop.udp = writeConfig(t, dir)
	add(p.collector, fmt.Sprintf("  name: pop-1\nlog: {url: \"nats://%s\"}\n", log))
	refused(t, "collector", p.collector, "flowhound keys create --key "+filepath.Join(dir, "keys"))
	createKeys(t, dir)
	return p
}

// createKeys does what an operator does before the first POP's start.
func createKeys(t *testing.T, dir string) {
	t.Helper()
	if out, err := exec.Command("flowhound", "keys", "create", "--key", filepath.Join(dir, "keys")).CombinedOutput(); err != nil {
		t.Fatalf("keys create: %v\n%s", err, out)
	}
}

func (p *pair) startDetector() *appliance { return startRole(p.t, "detector", p.detector, p.ring) }

func (p *pair) startCollector() *appliance {
	c := startRole(p.t, "collector", p.collector, p.pop)
	c.await("readiness of the collector", 20*time.Second, c.ready)
	return c
}

// spoolState is what the tests read of a collector's /api/v1/status.
type spoolState struct {
	Ready bool
	Spool struct {
		RemoteUp          bool   `json:"remote_up"`
		WaitingMessages   uint64 `json:"waiting_messages"`
		ForwardedContacts uint64 `json:"forwarded_contacts"`
		LostFlushes       uint64 `json:"lost_flushes"`
	}
}

func (a *appliance) spool() (s spoolState) {
	a.t.Helper()
	if err := json.Unmarshal(a.get("/api/v1/status"), &s); err != nil {
		a.t.Fatal(err)
	}
	return s
}

// The ring's detector is not there when the collector starts, comes, is killed
// while traffic flows, and comes back; then the collector is killed with a full
// spool. The graph at the end is the traffic's: nothing is lost.
func TestSpool(t *testing.T) {
	records, hosts, links := ispDay(t)
	p := newPair(t)
	pop := p.startCollector()
	third := len(records) / 3
	send := func(a *appliance, part int) {
		t.Helper()
		rs := records[part*third : min((part+1)*third, len(records))]
		if part == 2 {
			rs = records[2*third:]
		}
		before := a.state().Roles.Collector.Records
		if sent := a.sendAt(context.Background(), 500, "127.0.0.2", slices.Values(rs)); sent != uint64(len(rs)) {
			t.Fatalf("sent %d of %d records", sent, len(rs))
		}
		a.await("record", 10*time.Second, func() bool { return a.state().Roles.Collector.Records == before+uint64(len(rs)) })
	}
	send(pop, 0)
	pop.await("spooled flush", 5*time.Second, func() bool { return pop.spool().Spool.WaitingMessages > 100 })
	if s := pop.spool(); !s.Ready || s.Spool.RemoteUp {
		t.Errorf("without a detector: got %+v, want ready, and a remote log that is not up", s)
	}
	ring := p.startDetector()
	ring.await("readiness of the detector", 20*time.Second, ring.ready)
	pop.await("empty spool", 20*time.Second, func() bool { s := pop.spool().Spool; return s.RemoteUp && s.WaitingMessages == 0 })

	killed := make(chan struct{})
	go func() { // in the middle of the traffic
		defer close(killed)
		time.Sleep(100 * time.Millisecond)
		_ = ring.cmd.Process.Kill()
		_ = ring.cmd.Wait()
	}()
	send(pop, 1)
	<-killed
	time.Sleep(3 * time.Second)
	if s := pop.spool(); !s.Ready || s.Spool.RemoteUp || s.Spool.WaitingMessages == 0 {
		t.Errorf("with the detector killed: got %+v, want ready, and messages that wait", s)
	}
	pop.kill()
	pop = p.startCollector()
	ring = p.startDetector()
	send(pop, 2)
	ring.awaitGraph(hosts, links)
	pop.await("empty spool", 20*time.Second, func() bool { return pop.spool().Spool.WaitingMessages == 0 })
	if gaps := ring.state().Roles.Detector.Gaps; gaps != 0 {
		t.Errorf("%d batches are missing in the log", gaps)
	}
	if s := pop.spool().Spool; s.LostFlushes != 0 {
		t.Errorf("%d flushes are lost", s.LostFlushes)
	}
	text := string(pop.get("/metrics"))
	for _, want := range []string{"flowhound_log_spool_remote_up 1", "flowhound_log_spool_waiting_messages 0", "flowhound_log_up 1"} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("metrics: no line %q", want)
		}
	}
	pop.stop()
	ring.stop()
}

// A second machine of the same name takes over; the first ends with one line
// that says why.
func TestSpoolNameConflict(t *testing.T) {
	p := newPair(t)
	ring := p.startDetector()
	ring.await("readiness of the detector", 20*time.Second, ring.ready)
	first := p.startCollector()
	first.await("connection", 20*time.Second, func() bool { s := first.spool().Spool; return s.RemoteUp && s.WaitingMessages == 0 })
	text, err := os.ReadFile(p.collector)
	if err != nil {
		t.Fatal(err)
	}
	other := *p
	dir := t.TempDir()
	createKeys(t, dir)
	config, httpAddress, udp := writeConfig(t, dir)
	mine, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	_, tail, _ := strings.Cut(string(text), "  name: pop-1")
	other.collector = filepath.Join(t.TempDir(), "second.yaml")
	if err := os.WriteFile(other.collector, []byte(string(mine)+"  name: pop-1"+tail), 0o600); err != nil {
		t.Fatal(err)
	}
	other.pop = appliance{http: httpAddress, udp: udp}
	second := other.startCollector()
	ended := make(chan error, 1)
	go func() { ended <- first.cmd.Wait() }()
	select {
	case err := <-ended:
		if line := lastLine(first.log.String()); err == nil || !strings.Contains(line, "another collector runs under this name") {
			t.Errorf("the first ends with %v and %q", err, line)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the first collector goes on")
	}
	second.stop()
	ring.stop()
}
