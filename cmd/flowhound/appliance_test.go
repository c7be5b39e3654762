package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/flowhound/flowhound/internal/flow"
	"github.com/flowhound/flowhound/internal/peer"
	"github.com/flowhound/flowhound/testbench/exporter"
)

// appliance is the real program, run as a user would, on loopback.
type appliance struct {
	t    *testing.T
	cmd  *exec.Cmd
	log  *lockedBuffer
	http string         // host:port
	udp  netip.AddrPort // where it listens for export packets
}

// settings are what the tests change of the configuration, as YAML. Slices are
// short, so that epochs come fast.
const settings = `
state_dir: %q
slice: 1s
window: 1h
http: {listen: %q}
collector:
  listen: [%q]
  flush: 200ms
  grace: 100ms
`

// writeConfig writes a configuration for a state directory and free ports.
func writeConfig(t *testing.T, dir string) (path, httpAddress string, udp netip.AddrPort) {
	t.Helper()
	httpAddress, udp = peer.FreeTCP(t), peer.FreeUDP(t)
	path = filepath.Join(t.TempDir(), "flowhound.yaml")
	if err := os.WriteFile(path, fmt.Appendf(nil, settings, dir, httpAddress, udp), 0o600); err != nil {
		t.Fatal(err)
	}
	return path, httpAddress, udp
}

// startAppliance runs "flowhound run" on a state directory and waits until it
// is ready. The test's end kills it.
func startAppliance(t *testing.T, dir string) *appliance {
	t.Helper()
	if testing.Short() {
		t.Skip("an end-to-end test")
	}
	config, httpAddress, udp := writeConfig(t, dir)
	a := &appliance{t: t, log: new(lockedBuffer), http: httpAddress, udp: udp}
	a.cmd = exec.Command("flowhound", "run", "--config", config)
	a.cmd.Stderr = a.log
	if err := a.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = a.cmd.Process.Kill()
		_ = a.cmd.Wait()
		if t.Failed() {
			t.Logf("log of the appliance:\n%s", a.log)
		}
	})
	a.await("readiness", 20*time.Second, func() bool {
		resp, err := http.Get("http://" + a.http + "/readyz")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	return a
}

// await polls until done, or fails the test.
func (a *appliance) await(what string, limit time.Duration, done func() bool) {
	a.t.Helper()
	for end := time.Now().Add(limit); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			a.t.Fatalf("no %s within %v", what, limit)
		}
	}
}

// get returns the body of an answer of the API.
func (a *appliance) get(path string) []byte {
	a.t.Helper()
	resp, err := http.Get("http://" + a.http + path)
	if err != nil {
		a.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		a.t.Fatal(err)
	}
	return body
}

// state is what the tests read of /api/v1/status.
type state struct {
	Roles struct {
		Collector struct {
			Packets uint64 `json:"packets"`
			Records uint64 `json:"records"`
		} `json:"collector"`
		Detector struct {
			Contacts uint64 `json:"contacts"`
			Gaps     uint64 `json:"gap_batches"`
			Epoch    *struct {
				Slice, Hosts, Links, Suspects int
			} `json:"epoch"`
		} `json:"detector"`
	} `json:"roles"`
}

func (a *appliance) state() (s state) {
	a.t.Helper()
	if err := json.Unmarshal(a.get("/api/v1/status"), &s); err != nil {
		a.t.Fatal(err)
	}
	return s
}

// awaitGraph waits for an epoch with exactly so many hosts and links.
func (a *appliance) awaitGraph(hosts, links int) {
	a.t.Helper()
	var got string
	defer func() {
		if a.t.Failed() {
			a.t.Logf("the last epoch was %s, want %d hosts and %d links", got, hosts, links)
		}
	}()
	a.await("complete epoch", 30*time.Second, func() bool {
		e := a.state().Roles.Detector.Epoch
		if e != nil {
			got = fmt.Sprintf("%+v", *e)
		}
		return e != nil && e.Hosts == hosts && e.Links == links
	})
}

// stop ends the appliance as Ctrl-C does and expects that it ends well.
func (a *appliance) stop() {
	a.t.Helper()
	if err := a.cmd.Process.Signal(syscall.SIGINT); err != nil {
		a.t.Fatal(err)
	}
	if err := a.cmd.Wait(); err != nil {
		a.t.Errorf("after SIGINT: %v", err)
	}
}

// kill ends the appliance as a power switch does.
func (a *appliance) kill() {
	a.t.Helper()
	if err := a.cmd.Process.Kill(); err != nil {
		a.t.Fatal(err)
	}
	_ = a.cmd.Wait()
}

// send exports records to the appliance, as IPFIX, from a loopback address of
// its own, and stops early without an error when the appliance goes away.
func (a *appliance) send(ctx context.Context, source string, records iter.Seq[flow.Record]) (sent uint64) {
	return a.sendAt(ctx, 4000, source, records)
}

// sendAt is send with a pace in packets per second.
func (a *appliance) sendAt(ctx context.Context, pace float64, source string, records iter.Seq[flow.Record]) (sent uint64) {
	enc, err := exporter.New(exporter.Config{Protocol: exporter.IPFIX, Domain: 1, BootMS: time.Now().Add(-time.Hour).UnixMilli()})
	if err != nil {
		a.t.Fatal(err)
	}
	out, err := exporter.OpenSender(exporter.SenderConfig{Target: a.udp, Source: netip.MustParseAddr(source), Pace: exporter.NewPace(pace)})
	if err != nil {
		a.t.Fatal(err)
	}
	defer out.Close()
	emit := func(packet []byte) error { return out.Send(ctx, packet) }
	for r := range records {
		if enc.Add(&r, time.Now().UnixMilli(), emit) != nil {
			return enc.Sent().Records
		}
	}
	if enc.Flush(time.Now().UnixMilli(), emit) == nil {
		_ = out.Flush(ctx)
	}
	return enc.Sent().Records
}

// lockedBuffer is a buffer that a process may write while a test reads it.
type lockedBuffer struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// lastLine returns the last line of a program's complaint.
func lastLine(text string) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return lines[len(lines)-1]
}
