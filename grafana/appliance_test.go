package grafana_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
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

// appliance is a running `flowhound run` with slices of two seconds, beside a
// collector at a POP that forwards to its log.
type appliance struct {
	http, pop string
	netflow   netip.AddrPort
}

// startAppliance builds and starts the real binary on free loopback ports.
func startAppliance(t *testing.T) *appliance {
	t.Helper()
	dir := t.TempDir()
	bin := filepath.Join(dir, "flowhound")
	if out, err := exec.Command("go", "build", "-o", bin, "../cmd/flowhound").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	a := &appliance{http: peer.FreeTCP(t), netflow: peer.FreeUDP(t), pop: peer.FreeTCP(t)}
	log := peer.FreeTCP(t)
	config := filepath.Join(dir, "flowhound.yaml")
	text := fmt.Sprintf(`state_dir: %s
slice: 2s
window: 1m
http: {listen: "%s"}
collector:
  listen: ["%s"]
  flush: 500ms
  grace: 0s
  exporters: [{name: lab, from: [127.0.0.1]}]
detector: {patience: 2s, full_every: 2, snapshot_slices: 2}
log: {listen: "%s"}
`, filepath.Join(dir, "state"), a.http, a.netflow, log)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	start(t, "appliance", exec.Command(bin, "run", "--config", config), "http://"+a.http+"/metrics")
	pop := filepath.Join(dir, "pop.yaml")
	text = fmt.Sprintf(`state_dir: %s
slice: 2s
window: 1m
http: {listen: "%s"}
collector: {name: pop, listen: ["%s"], flush: 500ms, grace: 0s}
log: {url: "nats://%s"}
`, filepath.Join(dir, "pop"), a.pop, peer.FreeUDP(t), log)
	if err := os.WriteFile(pop, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(bin, "keys", "create", "--key", filepath.Join(dir, "pop", "keys")).CombinedOutput(); err != nil {
		t.Fatalf("keys create: %v\n%s", err, out)
	}
	start(t, "collector", exec.Command(bin, "collector", "--config", pop), "http://"+a.pop+"/metrics")
	return a
}

// startPrometheus starts a Prometheus that scrapes the targets every second under
// our rules.
func startPrometheus(t *testing.T, targets ...string) *prometheus {
	t.Helper()
	dir := t.TempDir()
	rules, err := filepath.Abs("alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(dir, "prometheus.yml")
	text := fmt.Sprintf(`global: {scrape_interval: 1s, evaluation_interval: 1s}
rule_files: [%q]
scrape_configs:
  - job_name: flowhound
    static_configs: [{targets: [%s]}]
`, rules, strings.Join(targets, ", "))
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	address := peer.FreeTCP(t)
	start(t, "prometheus", exec.Command(peer.Need(t, "prometheus"), "--config.file="+config, "--storage.tsdb.path="+filepath.Join(dir, "data"),
		"--web.listen-address="+address, "--log.level=warn"), "http://"+address+"/-/ready")
	return &prometheus{url: "http://" + address}
}

// start runs cmd until the test ends and waits for probe to answer 200.
func start(t *testing.T, name string, cmd *exec.Cmd, probe string) {
	t.Helper()
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(20 * time.Second):
			_ = cmd.Process.Kill()
			<-ended
		}
		if t.Failed() {
			t.Logf("%s said:\n%s", name, output.String())
		}
	})
	for range 300 {
		resp, err := http.Get(probe)
		if err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return
			}
		}
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("%s ended: %v\n%s", name, err, output.String())
		case <-time.After(100 * time.Millisecond):
		}
	}
	t.Fatalf("%s does not answer", name)
}

// feed sends NetFlow v9 of a small network with a botnet in it until the
// returned function is called.
func (a *appliance) feed(t *testing.T) (stop func()) {
	t.Helper()
	sender, err := exporter.OpenSender(exporter.SenderConfig{Target: a.netflow})
	if err != nil {
		t.Fatal(err)
	}
	encoder, err := exporter.New(exporter.Config{Protocol: exporter.NetFlow9, BootMS: time.Now().Add(-time.Hour).UnixMilli(), TemplateEvery: 20})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		emit := func(packet []byte) error { return sender.Send(ctx, packet) }
		for ctx.Err() == nil {
			now := time.Now().UnixMilli()
			for _, r := range network(now) {
				if encoder.Add(&r, now, emit) != nil {
					return
				}
			}
			_ = encoder.Flush(now, emit)
			select {
			case <-ctx.Done():
			case <-time.After(500 * time.Millisecond):
			}
		}
	})
	return func() { cancel(); wg.Wait(); _ = sender.Close() }
}

// network returns the flow records of 2,000 clients of 100 servers and of 50
// bots who talk to 16 of each other, both directions of each.
func network(nowMS int64) []flow.Record {
	rnd := rand.New(rand.NewPCG(1, 2))
	var records []flow.Record
	talk := func(src, dst [4]byte, sport, dport uint16) {
		r := flow.Record{
			Src: flow.AddrFrom(netip.AddrFrom4(src)), Dst: flow.AddrFrom(netip.AddrFrom4(dst)), SrcPort: sport, DstPort: dport,
			Proto: 6, TCPFlags: flow.TCPSyn | flow.TCPAck, Packets: 5, Bytes: 700, Sampling: 1, StartMS: nowMS - 300, EndMS: nowMS - 100,
		}
		records = append(records, r)
		r.Src, r.Dst, r.SrcPort, r.DstPort = r.Dst, r.Src, dport, sport
		records = append(records, r)
	}
	for c := range 2000 {
		for range 2 {
			s := rnd.IntN(10) * rnd.IntN(11)
			talk([4]byte{10, 0, byte(c >> 8), byte(c)}, [4]byte{198, 51, 100, byte(s)}, uint16(30000+c), 443)
		}
	}
	for b := range 50 {
		for i := 1; i <= 8; i++ {
			talk([4]byte{10, 1, 0, byte(b)}, [4]byte{10, 1, 0, byte((b + i*i) % 50)}, uint16(40000+b), 6881)
		}
	}
	return records
}
