package collector

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/common/expfmt"

	"github.com/flowhound/flowhound/collector/listen"
)

// Canary addresses: none of their bytes appears by chance in text.
var (
	canaryHosts = []string{"203.0.113.211", "198.51.100.177", "100.99.98.197", "9.251.173.77"}
	canaryRoute = "203.0.113.97"
	canaryStray = "198.51.100.99"
)

// forms returns how an address could be written down.
func forms(addr string) [][]byte {
	a := netip.MustParseAddr(addr)
	b4, b16 := a.As4(), a.As16()
	le := slices.Clone(b16[10:])
	slices.Reverse(le)
	fs := [][]byte{[]byte(addr), []byte(hex.EncodeToString(b4[:])), []byte(strings.ToUpper(hex.EncodeToString(b4[:]))),
		b16[8:], le} // with ffff before the address: four bytes alone match by chance
	for shift := range 3 {
		b64 := base64.StdEncoding.EncodeToString(append(make([]byte, shift), b16[:]...))
		fs = append(fs, []byte(b64[len(b64)-10:len(b64)-4]))
	}
	return fs
}

func leaks(where string, data []byte, addrs ...string) (found []string) {
	for _, a := range addrs {
		for _, f := range forms(a) {
			if bytes.Contains(data, f) {
				found = append(found, where+" holds "+a)
			}
		}
	}
	return found
}

// pairForms are two IPv4 addresses side by side, as a contact's key is.
func pairForms(a, b string) [][]byte {
	x, y := netip.MustParseAddr(a).As4(), netip.MustParseAddr(b).As4()
	return [][]byte{slices.Concat(x[:], y[:]), slices.Concat(y[:], x[:])}
}

// No plain address leaves the collector: not in batches, control messages,
// logs, metrics, API answers or errors. The scan finds one where there is one.
func TestNoAddressLeaves(t *testing.T) {
	if got := leaks("self-test", []byte("dropped 203.0.113.211:80"), canaryHosts...); len(got) != 1 {
		t.Fatalf("the scan finds %q in a text with one canary", got)
	}
	synctest.Test(t, func(t *testing.T) {
		seeds := filepath.Join(t.TempDir(), "seeds")
		if err := os.WriteFile(seeds, []byte(canaryHosts[0]+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		r := startRig(t, setup{config: func(c *Config) {
			c.Seeds = seeds
			c.Queue = 1
			c.Exporters = []Exporter{{Name: "edge", From: []Prefix{{netip.MustParsePrefix(canaryRoute + "/32")}}}}
		}})
		feed := func() {
			r.sources[0].feed(
				r.v5(canaryRoute, record{src: canaryHosts[0], dst: canaryHosts[1]}, record{src: canaryHosts[2], dst: canaryHosts[3]}),
				r.v5(canaryStray, record{src: canaryHosts[0], dst: canaryHosts[1]}),
				listen.Packet{From: netip.MustParseAddrPort(canaryRoute + ":1"), Data: make([]byte, 3, 64)})
		}
		feed()
		time.Sleep(11 * time.Second)
		r.log.setFault(func(int, string) fault { return refuses })
		for range 5 {
			feed()
			time.Sleep(11 * time.Second)
		}
		r.log.setFault(nil)
		time.Sleep(10 * time.Second)

		all := map[string][]byte{"log": []byte(r.logs.String()), "metrics": gather(t, r)}
		for _, path := range []string{"/api/v1/exporters", "/api/v1/exporters/refused"} {
			w := httptest.NewRecorder()
			r.Handler().ServeHTTP(w, httptest.NewRequest("GET", path, nil))
			all[path] = w.Body.Bytes()
		}
		if err := os.WriteFile(seeds, []byte(canaryHosts[0]+"/32\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		err := r.Reload(t.Context(), r.cfg)
		if err == nil {
			t.Fatal("a prefix as a seed: no error")
		}
		all["error"] = []byte(err.Error())
		r.stop()
		for _, b := range r.log.batches {
			all["batch "+b.key] = b.payload
		}
		for _, m := range r.log.control {
			all["control "+m.key] = append(all["control "+m.key], m.payload...)
		}
		if len(r.log.batches) == 0 || !bytes.Contains(all["log"], []byte("flush dropped")) {
			t.Error("the scenario does not show what it should")
		}
		for where, data := range all {
			for _, leak := range leaks(where, data, append(canaryHosts, canaryRoute, canaryStray)...) {
				t.Error(leak)
			}
			for _, f := range append(pairForms(canaryHosts[0], canaryHosts[1]), pairForms(canaryHosts[2], canaryHosts[3])...) {
				if bytes.Contains(data, f) {
					t.Errorf("%s holds a pair of addresses", where)
				}
			}
		}
	})
}

func gather(t *testing.T, r *rig) []byte {
	t.Helper()
	families, err := r.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	for _, f := range families {
		if _, err := expfmt.MetricFamilyToText(&b, f); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}
