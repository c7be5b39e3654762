package app

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
)

// testConfig returns the configuration of an appliance on free loopback ports.
func testConfig(t *testing.T) Config {
	cfg := DefaultConfig()
	cfg.StateDir = t.TempDir()
	cfg.HTTP.Listen = "127.0.0.1:0"
	cfg.Collector.Listen = []string{"127.0.0.1:0"}
	cfg.Collector.Workers = 1
	return cfg
}

// runAppliance runs an appliance until the test ends.
func runAppliance(t *testing.T) *App {
	t.Helper()
	var log bytes.Buffer
	a, err := New(testConfig(t), All, Deps{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	stop, err := a.Background(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Errorf("stop: %v\n%s", err, log.String())
		}
	})
	return a
}

// Two appliances live in one process, each with its own state and ports.
func TestTwoAppliances(t *testing.T) {
	first, second := runAppliance(t), runAppliance(t)
	for _, a := range []*App{first, second} {
		f := func(path string, want int, has string) {
			t.Helper()
			resp, err := http.Get("http://" + a.HTTPAddress() + path)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, _ := io.ReadAll(resp.Body)
			if resp.StatusCode != want || !strings.Contains(string(body), has) {
				t.Errorf("GET %s: got %d %.200q, want %d with %q", path, resp.StatusCode, body, want, has)
			}
		}
		f("/healthz", http.StatusOK, "ok")
		f("/readyz", http.StatusOK, "ready")
		f("/metrics", http.StatusOK, "flowhound_collector_")
		f("/metrics", http.StatusOK, "flowhound_detector_")
		f("/", http.StatusOK, "<title>FlowHound</title>")
		f("/status.js", http.StatusOK, "api/v1/status")
		f("/api/v1/exporters", http.StatusOK, "[]")
		f("/api/v1/suspects", http.StatusServiceUnavailable, "error")
		f("/api/v1/nothing", http.StatusNotFound, "error")
	}
	if first.HTTPAddress() == second.HTTPAddress() {
		t.Errorf("both listen on %s", first.HTTPAddress())
	}
}

// The status says what runs; it never shows a plain address.
func TestStatus(t *testing.T) {
	a := runAppliance(t)
	b, err := json.Marshal(a.status())
	if err != nil {
		t.Fatal(err)
	}
	var s struct {
		Ready bool
		Roles map[string]json.RawMessage
	}
	if err := json.Unmarshal(b, &s); err != nil {
		t.Fatal(err)
	}
	if !s.Ready || s.Roles["collector"] == nil || s.Roles["detector"] == nil {
		t.Errorf("got %s, want both roles, ready", b)
	}
}

// A second appliance on the same state directory is turned away, and a page of
// another origin cannot write.
func TestRefusals(t *testing.T) {
	a := runAppliance(t)
	cfg := testConfig(t)
	cfg.StateDir = a.cfg.StateDir
	second, err := New(cfg, All, Deps{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := second.Background(t.Context()); err == nil || !strings.Contains(err.Error(), cfg.StateDir) {
		t.Errorf("second appliance on one state directory: got %v, want an error that names it", err)
	}
	req, _ := http.NewRequest(http.MethodPost, "http://"+a.HTTPAddress()+"/api/v1/seeds", strings.NewReader(`{}`))
	req.Header.Set("Sec-Fetch-Site", "cross-site")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusForbidden {
		t.Errorf("cross-site POST: got %s, want 403", resp.Status)
	}
}

// On loopback a name that a web page could have pointed here is not answered.
func TestHostNames(t *testing.T) {
	f := func(listen string, hosts []string, host string, want bool) {
		t.Helper()
		if got := (HTTPConfig{Listen: listen, Hosts: hosts}).knows(host); got != want {
			t.Errorf("listen %s, hosts %v, Host %s: got %t, want %t", listen, hosts, host, got, want)
		}
	}
	f("127.0.0.1:8470", nil, "127.0.0.1:8470", true)
	f("127.0.0.1:8470", nil, "localhost:8470", true)
	f("[::1]:8470", nil, "[::1]:8470", true)
	f("127.0.0.1:8470", nil, "evil.example", false)
	f("127.0.0.1:8470", nil, "evil.example:8470", false)
	f("localhost:8470", nil, "evil.example", false)
	f("127.0.0.1:8470", []string{"flowhound.isp.example"}, "flowhound.isp.example", true)
	f(":8470", nil, "flowhound.isp.example:8470", true)
	f("192.0.2.10:8470", nil, "flowhound.isp.example", true)
}

// A reload says which changes it leaves to a restart.
func TestNeedRestart(t *testing.T) {
	old, changed := DefaultConfig(), DefaultConfig()
	changed.Collector.Seeds = "bots.txt"
	changed.Detector.Damping = 0.85
	changed.Slice = 2 * old.Slice
	if got := strings.Join(needRestart(old, changed), " "); got != "slice detector.damping" {
		t.Errorf("got %q, want slice and detector.damping", got)
	}
}

func TestConfigurationErrors(t *testing.T) {
	f := func(change func(*Config), want string) {
		t.Helper()
		cfg := testConfig(t)
		change(&cfg)
		if _, err := New(cfg, All, Deps{Logger: slog.New(slog.DiscardHandler)}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want an error with %q", err, want)
		}
	}
	f(func(c *Config) { c.HTTP.Listen = "here" }, "http.listen")
	f(func(c *Config) { c.HTTP.Listen = ":99999" }, "http.listen")
	f(func(c *Config) { c.Log.URL = "::foo" }, "log.url")
	f(func(c *Config) { c.Collector.Listen = []string{"2055"} }, "listen")
	f(func(c *Config) { c.Logging.Format = "xml" }, "logging.format")
	f(func(c *Config) { c.Window = c.Slice + 1 }, "window")
	f(func(c *Config) { c.Log.MaxBytes = 5 }, "max_bytes")
	f(func(c *Config) { c.StateDir = "" }, "state_dir")
}
