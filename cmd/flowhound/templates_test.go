package main

import (
	"bytes"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/flowhound/flowhound/internal/flow"
	"github.com/flowhound/flowhound/testbench/exporter"
)

// router is an exporter that goes on while the appliance restarts: it tells
// its templates once, in its first packet.
type router struct {
	t       *testing.T
	source  string
	encoder *exporter.Encoder
}

func newRouter(t *testing.T, source string, p exporter.Protocol) *router {
	t.Helper()
	enc, err := exporter.New(exporter.Config{Protocol: p, Domain: 7, BootMS: time.Now().Add(-time.Hour).UnixMilli(),
		TemplateEvery: 1 << 30, Sampling: 10})
	if err != nil {
		t.Fatal(err)
	}
	return &router{t, source, enc}
}

// send sends records to the appliance, slowly enough for a small buffer.
func (r *router) send(a *appliance, records []flow.Record) {
	r.t.Helper()
	c, err := net.DialUDP("udp", &net.UDPAddr{IP: net.ParseIP(r.source)}, net.UDPAddrFromAddrPort(a.udp))
	if err != nil {
		r.t.Fatal(err)
	}
	defer c.Close()
	emit := func(packet []byte) error {
		time.Sleep(200 * time.Microsecond)
		_, err := c.Write(packet)
		return err
	}
	for i := range records {
		if err := r.encoder.Add(&records[i], time.Now().UnixMilli(), emit); err != nil {
			r.t.Fatal(err)
		}
	}
	if err := r.encoder.Flush(time.Now().UnixMilli(), emit); err != nil {
		r.t.Fatal(err)
	}
}

// Restarted twice in the middle of data whose templates come only once, the
// appliance loses no record, and no address stands in the file that it keeps.
func TestTemplatesSurviveRestart(t *testing.T) {
	records, hosts, links := ispDay(t)
	dir := t.TempDir()
	routers := []*router{newRouter(t, "127.0.0.81", exporter.NetFlow9), newRouter(t, "127.0.0.82", exporter.IPFIX)}
	parts := slices.Collect(slices.Chunk(records, len(records)/6+1))
	for i := range 3 {
		a := startAppliance(t, dir)
		want := uint64(0)
		for j, r := range routers {
			r.send(a, parts[2*i+j])
			want += uint64(len(parts[2*i+j]))
		}
		a.await("record of every flow", 10*time.Second, func() bool { return a.state().Roles.Collector.Records >= want })
		metrics := string(a.get("/metrics"))
		for _, line := range []string{`flowhound_collector_decode_drops_total{reason="no_template"} 0`, `flowhound_collector_held_sets 0`} {
			if !bytes.Contains([]byte(metrics), []byte(line+"\n")) {
				t.Errorf("run %d: no %q among the metrics", i, line)
			}
		}
		if i == 2 {
			a.awaitGraph(hosts, links)
		}
		a.stop()
	}
	file, err := os.ReadFile(filepath.Join(dir, "templates"))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range routers {
		address := netip.MustParseAddr(r.source).As16()
		if bytes.Contains(file, address[12:]) || bytes.Contains(file, []byte(r.source)) {
			t.Errorf("the template file holds the address %s", r.source)
		}
	}
	// A file that is damaged is set aside, not a reason to stay down.
	if err := os.WriteFile(filepath.Join(dir, "templates"), file[:len(file)-1], 0o600); err != nil {
		t.Fatal(err)
	}
	a := startAppliance(t, dir)
	if line := `flowhound_collector_template_file_errors_total{operation="read"} 1`; !bytes.Contains(a.get("/metrics"), []byte(line)) {
		t.Errorf("no %q among the metrics", line)
	}
	a.stop()
	aside, err := os.ReadFile(filepath.Join(dir, "templates.corrupt"))
	if err != nil || !bytes.Equal(aside, file[:len(file)-1]) {
		t.Errorf("damaged file set aside: %v, %d bytes, want %d", err, len(aside), len(file)-1)
	}
}
