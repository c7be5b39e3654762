package collector

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flowhound/flowhound/collector/listen"
	"github.com/flowhound/flowhound/federation/wire"
	"github.com/flowhound/flowhound/internal/config"
)

func anExporter(name string, from ...string) Exporter {
	e := Exporter{Name: name}
	for _, f := range from {
		var p Prefix
		if err := p.UnmarshalText([]byte(f)); err != nil {
			panic(err)
		}
		e.From = append(e.From, p)
	}
	return e
}

func TestAccessTakesTheLongestPrefix(t *testing.T) {
	a, err := newAccess([]Exporter{
		anExporter("all-ten", "10.0.0.0/8"), anExporter("one", "10.1.2.3", "2001:db8::/32"), anExporter("net", "10.1.0.0/16", "2001:db8:1::/48"),
	})
	if err != nil {
		t.Fatal(err)
	}
	f := func(addr, want string) {
		t.Helper()
		ip := netip.MustParseAddr(addr)
		if got := a.name(ip); got != want || a.admits(ip) != (want != unnamed) {
			t.Errorf("%s: %q, admitted %v, want %q", addr, got, a.admits(ip), want)
		}
	}
	f("10.1.2.3", "one")
	f("10.1.2.4", "net")
	f("10.2.2.4", "all-ten")
	f("11.2.2.4", unnamed)
	f("2001:db8:1::7", "net")
	f("2001:db8:2::7", "one")
	f("2001:db9::1", unnamed)
	open, err := newAccess(nil)
	if err != nil || !open.admits(netip.MustParseAddr("11.2.2.4")) {
		t.Errorf("empty list: %v, want everybody admitted", err)
	}
}

// naiveName is longest-prefix match by trying every prefix.
func naiveName(es []Exporter, ip netip.Addr) string {
	best, name := -1, unnamed
	for _, e := range es {
		for _, p := range e.From {
			if p.Contains(ip) && p.Bits() > best {
				best, name = p.Bits(), e.Name
			}
		}
	}
	return name
}

func TestAccessEqualsNaiveMatch(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	ip := func() netip.Addr {
		return netip.AddrFrom4([4]byte{10, byte(rng.IntN(3)), byte(rng.IntN(3)), byte(rng.IntN(4))})
	}
	for round := range 200 {
		var es []Exporter
		seen := make(map[netip.Prefix]bool)
		for i := range 12 {
			p, _ := ip().Prefix(8 + rng.IntN(25))
			if !seen[p] {
				es = append(es, anExporter(fmt.Sprint("e", i), p.String()))
			}
			seen[p] = true
		}
		a, err := newAccess(es)
		if err != nil {
			t.Fatal(err)
		}
		for range 50 {
			x := ip()
			if got, want := a.name(x), naiveName(es, x); got != want {
				t.Fatalf("round %d, %v: got %s, want %s", round, x, got, want)
			}
		}
	}
}

// A million forged sources leave 64 and a count; the good exporter goes on.
func TestStrangersAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startRig(t, setup{config: func(c *Config) { c.Exporters = []Exporter{anExporter("edge", "192.0.2.0/24")} }})
		rng := rand.New(rand.NewPCG(7, 8))
		stranger := r.v5("203.0.113.1", record{src: "10.0.0.1", dst: "10.0.0.2"})
		batch := make([]listen.Packet, 64)
		for range 1000 {
			for i := range batch {
				stranger.From = netip.AddrPortFrom(netip.AddrFrom4([4]byte{11, byte(rng.Uint32()), byte(rng.Uint32()), byte(rng.Uint32())}), 1)
				batch[i] = stranger
			}
			r.sources[0].feed(batch...)
		}
		r.sources[0].feed(r.v5("192.0.2.7", record{src: "10.0.0.1", dst: "10.0.0.2"}))
		if n := len(r.Refused()); n != 64 {
			t.Errorf("%d refused sources listed, want 64", n)
		}
		if n := r.metric("datagrams_dropped_total", "exporter"); n != 64_000 {
			t.Errorf("%v datagrams refused, want 64000", n)
		}
		if n := r.metric("exporter_records_total", "edge"); n != 1 {
			t.Errorf("%v records of edge, want 1", n)
		}
		r.stop()
		if n := flows(paired(t, r.log.read(t).contacts)); n != 1 {
			t.Errorf("%d flows in the log, want 1", n)
		}
		r.conserved()
	})
}

func TestReloadSwapsExportersAndSeeds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seeds := filepath.Join(t.TempDir(), "seeds")
		write := func(text string) {
			if err := os.WriteFile(seeds, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		write("# honeypot\n10.0.0.66   # bot\n\n10.0.0.66\n2001:db8::1\n")
		r := startRig(t, setup{config: func(c *Config) {
			c.Seeds = seeds
			c.Exporters = []Exporter{anExporter("a", "192.0.2.1")}
		}})
		send := func() {
			r.sources[0].feed(r.v5("192.0.2.1", record{src: "10.0.0.1", dst: "10.0.0.2"}),
				r.v5("192.0.2.2", record{src: "10.0.0.1", dst: "10.0.0.2"}))
		}
		send()
		cfg := r.cfg
		cfg.Exporters = []Exporter{anExporter("b", "192.0.2.2")}
		write("10.0.0.67\n")
		if err := r.Reload(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
		if err := r.Reload(t.Context(), cfg); err != nil { // unchanged seeds are not written again
			t.Fatal(err)
		}
		send()
		write("10.0.0.67\nno address\n")
		err := r.Reload(t.Context(), cfg)
		if err == nil || !strings.Contains(err.Error(), seeds+":2:") {
			t.Errorf("reload of bad seeds: %v, want %s:2:", err, seeds)
		}
		cfg.Exporters = []Exporter{anExporter("b", "192.0.2.2"), anExporter("b", "192.0.2.3")}
		if err := r.Reload(t.Context(), cfg); err == nil {
			t.Error("two exporters of one name: no error")
		}
		if a, b := r.metric("datagrams_dropped_total", "exporter"), r.metric("exporter_records_total", "b"); a != 2 || b != 1 {
			t.Errorf("%v datagrams refused, %v records of b, want 2 and 1", a, b)
		}
		r.stop()
		got := r.log.read(t).seeds
		if len(got) != 2 || len(got[0].Hosts) != 2 || len(got[1].Hosts) != 1 {
			t.Fatalf("seeds in the log: %+v, want 2 hosts, then 1", got)
		}
		if want := (wire.Seed{Host: r.host("10.0.0.67"), Generation: 1}); got[1].Hosts[0] != want || got[1].Source != "pop-1" {
			t.Errorf("seed %+v of %q, want %+v of pop-1", got[1].Hosts[0], got[1].Source, want)
		}
	})
}

func TestSeedsAreWithdrawn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		seeds := filepath.Join(dir, "seeds")
		if err := os.WriteFile(seeds, []byte("10.0.0.66\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		first := startRig(t, setup{keys: filepath.Join(dir, "keys"), config: func(c *Config) { c.Seeds = seeds }})
		first.stop()
		startRig(t, setup{keys: filepath.Join(dir, "keys"), log: first.log}).stop()
		got := first.log.read(t).seeds
		if len(got) != 2 || len(got[1].Hosts) != 0 {
			t.Errorf("seeds in the log: %+v, want one host, then none", got)
		}
	})
}

func TestParseSeedsNamesTheLine(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		_, err := parseSeeds(strings.NewReader(text))
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	f("10.0.0.1\n10.0.0.0/24\n", "2: ")
	f("host.example\n", "1: ")
	f("# a\n\n10.0.0.1:80 # b\n", "3: ")
	f("fe80::1%eth0\n", "1: ")
	f("1.1.1.1\n"+strings.Repeat("x", 1<<17), "2: ")
}

func TestExportersAPI(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startRig(t, setup{workers: 2, config: func(c *Config) {
			c.Exporters = []Exporter{anExporter("edge", "192.0.2.1"), anExporter("rest", "192.0.2.0/24")}
			c.Exporters[0].Sampling.Default = 100
		}})
		time.Sleep(time.Second) // not at the moment of a flush
		for range 3 {
			for i := range 10 {
				r.sources[i%2].feed(r.v5("192.0.2.1", record{src: "10.0.0.1", dst: "10.0.0.2"}, record{src: "10.0.0.1", dst: "10.0.0.3"}))
			}
			time.Sleep(r.cfg.Flush)
		}
		time.Sleep(time.Second)
		w := httptest.NewRecorder()
		r.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/api/v1/exporters", nil))
		var list []map[string]any
		if err := json.Unmarshal(w.Body.Bytes(), &list); err != nil {
			t.Fatalf("%s: %v", w.Body, err)
		}
		if len(list) != 1 {
			t.Fatalf("%d exporters, want 1: %s", len(list), w.Body)
		}
		for key, want := range map[string]any{"name": "edge", "configured": true, "records": 60.0, "packets": 30.0, "sampling": 100.0, "rate": 2.0} {
			if got := list[0][key]; got != want {
				t.Errorf("%s: got %v, want %v", key, got, want)
			}
		}
		for _, key := range []string{"lost", "templates", "last_seen_seconds", "clock_skew", "versions", "dropped"} {
			if _, ok := list[0][key]; !ok {
				t.Errorf("no %s in %s", key, w.Body)
			}
		}
		if s := r.Status(); s.Workers != 2 || s.Records != 60 || s.Name != "pop-1" || s.Incarnation != 1 || s.Generation != 1 {
			t.Errorf("status %+v", s)
		}
		r.stop()
	})
}

func TestUnnamedExportersArePseudonyms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startRig(t, setup{})
		r.sources[0].feed(r.v5("192.0.2.9", record{src: "10.0.0.1", dst: "10.0.0.2"}))
		list := r.Exporters()
		if want := r.host("192.0.2.9").Pseudonym.Text(1); len(list) != 1 || list[0].Name != want || list[0].Configured {
			t.Errorf("exporters %+v, want the pseudonym %s", list, want)
		}
		if !strings.Contains(r.logs.String(), "level=WARN") {
			t.Error("no warning that everybody is accepted")
		}
		r.stop()
	})
}

func TestStartRefuses(t *testing.T) {
	f := func(want string, s setup) {
		t.Helper()
		r := newRig(t, s)
		err := r.Start(t.Context())
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("Start: %v, want one line with %q", err, want)
		}
		if err := r.Stop(context.Background()); err != nil {
			t.Errorf("Stop after a failed Start: %v", err)
		}
	}
	keys := filepath.Join(t.TempDir(), "keys")
	if r := startRig(t, setup{keys: keys}); r != nil {
		r.stop()
		if info, err := os.Stat(keys); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("key file of the first start: %v, %v", info, err)
		}
		if !strings.Contains(r.logs.String(), "permutation key created") {
			t.Error("the first start does not say that it made a key")
		}
	}
	f("no such file", setup{keys: filepath.Join(t.TempDir(), "none", "keys")})
	f("generation 7", setup{keys: keys, config: func(c *Config) { c.Keys.Generation = 7 }})
	f(`realm "default"`, setup{keys: keys, config: func(c *Config) { c.Keys.Realm = "vrf" }})
	f("seeds", setup{keys: keys, config: func(c *Config) { c.Seeds = "/none" }})
	bad := newMemLog()
	bad.fault = func(int, string) fault { return refuses }
	f("injected", setup{keys: keys, log: bad})
	odd := newMemLog()
	odd.control = []stored{{key: "commit.pop-1", payload: []byte("garbage")}}
	f(`last commit of "pop-1"`, setup{keys: keys, log: odd})
	if err := os.Chmod(keys, 0o644); err != nil {
		t.Fatal(err)
	}
	f("mode 0644", setup{keys: keys})
}

func TestConfig(t *testing.T) {
	cfg := DefaultConfig()
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	err := config.Parse("test.yml", []byte(`
name: ams-1
flush: 5s
keys: {ipv6_prefix: 56}
ignore: [192.0.2.53, 2001:db8::/32]
exporters:
  - {name: edge-1, from: [192.0.2.1, 198.51.100.0/24], sampling: {default: 1000, force: true}}
`), &cfg)
	if err != nil {
		t.Fatal(err)
	}
	e := cfg.Exporters[0]
	if cfg.Name != "ams-1" || cfg.Flush != 5*time.Second || cfg.Keys.IPv6Prefix != 56 || cfg.Keys.Realm != "default" ||
		e.From[0].String() != "192.0.2.1/32" || e.Sampling != (Sampling{1000, true}) || len(cfg.Ignore) != 2 {
		t.Errorf("got %+v", cfg)
	}
	f := func(want string, change func(*Config)) {
		t.Helper()
		c := DefaultConfig()
		change(&c)
		if err := c.Validate(); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	f("name: ", func(c *Config) { c.Name = "Ams" })
	f("flush: ", func(c *Config) { c.Flush = 0 })
	f("slice: ", func(c *Config) { c.Slice = 0 })
	f("contacts: ", func(c *Config) { c.Contacts = 1 })
	f("keys.ipv6_prefix: ", func(c *Config) { c.Keys.IPv6Prefix = 129 })
	f("exporters[0].from: ", func(c *Config) { c.Exporters = []Exporter{{Name: "a"}} })
	f("exporters[0].name: ", func(c *Config) { c.Exporters = []Exporter{{Name: "unnamed"}} })
	f("exporters[1].from: ", func(c *Config) {
		c.Exporters = []Exporter{anExporter("a", "10.0.0.0/8"), anExporter("b", "10.0.0.0/8")}
	})
	for _, bad := range []string{"10.0.0.1/8", "host", "fe80::1%eth0", "", "10.0.0.0/33"} {
		if err := new(Prefix).UnmarshalText([]byte(bad)); err == nil {
			t.Errorf("prefix %q: no error", bad)
		}
	}
}
