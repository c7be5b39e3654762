package config

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// root is a configuration with every kind of field.
type root struct {
	// State is the directory of the state.
	State string `yaml:"state" env:"FLOWHOUND_STATE"`
	// Collector receives packets.
	Collector collectorConfig `yaml:"collector"`
	Log       logConfig       `yaml:"log" doc:"Log says what is logged."`
	Private   int             `yaml:"-"`
}

type collectorConfig struct {
	Workers int           `yaml:"workers"` // number of receiving workers
	Flush   time.Duration `yaml:"flush"`   // How often contacts are flushed.
	// Listen are the UDP addresses. An empty list listens nowhere,
	// which is allowed.
	Listen    []netip.AddrPort  `yaml:"listen"`
	Exporters []exporterConfig  `yaml:"exporters"`
	Names     map[string]string `yaml:"names"`
	Hosts     []netip.Addr      `yaml:"hosts"`
	Ratio     float64           `yaml:"ratio"`
	On        bool              `yaml:"on"`
	Small     uint8             `yaml:"small"`
	Extra     *exporterConfig   `yaml:"extra"`
}

type exporterConfig struct {
	Prefix netip.Prefix `yaml:"prefix"`
	Rate   uint32       `yaml:"rate"`
}

type logConfig struct {
	Level slog.Level `yaml:"level" env:"FLOWHOUND_LOG_LEVEL" doc:"Level is the least level logged."`
}

func (c collectorConfig) Validate() error {
	if c.Workers < 1 {
		return fmt.Errorf("workers: %d, want at least 1", c.Workers)
	}
	return nil
}

func (c *root) Validate() error {
	if c.State == "" {
		return errors.New("state: empty")
	}
	return nil
}

func defaults() root {
	return root{State: "/var/lib/x", Collector: collectorConfig{
		Workers: 2, Flush: 10 * time.Second, Ratio: 0.5, Small: 7,
		Listen: []netip.AddrPort{netip.MustParseAddrPort("[::]:2055")},
		Names:  map[string]string{"a": "b"},
	}}
}

func TestMerge(t *testing.T) {
	f := func(text string, change func(*root)) {
		t.Helper()
		got, want := defaults(), defaults()
		if err := Parse("f.yaml", []byte(text), &got); err != nil {
			t.Errorf("%q: %v", text, err)
			return
		}
		change(&want)
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%q:\ngot  %+v\nwant %+v", text, got, want)
		}
	}
	none := func(*root) {}
	f("", none)
	f("# nothing but a comment\n", none)
	f("---\n", none)
	f("collector:\n", none)
	f("collector:\n  # flush: 1s\n", none)
	f("collector:\n  workers: ~\n", none)
	f("collector: {}", none)
	f("state: /srv\r\n", func(r *root) { r.State = "/srv" })
	f("state: 5", func(r *root) { r.State = "5" })
	f("collector:\n  workers: 0x10\n", func(r *root) { r.Collector.Workers = 16 })
	f("collector:\n  flush: 1m30s\n", func(r *root) { r.Collector.Flush = 90 * time.Second })
	f("collector:\n  flush: \"5m\"\n", func(r *root) { r.Collector.Flush = 5 * time.Minute })
	f("collector:\n  flush: 0\n", func(r *root) { r.Collector.Flush = 0 })
	f("collector:\n  ratio: 1\n", func(r *root) { r.Collector.Ratio = 1 })
	f("collector:\n  on: true\n", func(r *root) { r.Collector.On = true })
	f("collector:\n  listen: []\n", func(r *root) { r.Collector.Listen = []netip.AddrPort{} })
	f("collector:\n  listen: [127.0.0.1:1, '[::1]:2']\n", func(r *root) {
		r.Collector.Listen = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:1"), netip.MustParseAddrPort("[::1]:2")}
	})
	f("collector:\n  names: {c: d}\n", func(r *root) { r.Collector.Names = map[string]string{"c": "d"} })
	f("collector:\n  extra:\n    rate: 3\n", func(r *root) { r.Collector.Extra = &exporterConfig{Rate: 3} })
	f("collector:\n  exporters:\n    - prefix: 192.0.2.0/24\n      rate: 9\n    - rate: 1\n", func(r *root) {
		r.Collector.Exporters = []exporterConfig{{netip.MustParsePrefix("192.0.2.0/24"), 9}, {Rate: 1}}
	})
	f("collector:\n  exporters: [{prefix: 2001:db8::/32, rate: 1}]\n", func(r *root) {
		r.Collector.Exporters = []exporterConfig{{netip.MustParsePrefix("2001:db8::/32"), 1}}
	})
	// The parser splits these at their last colon, in a list in braces only.
	f("collector: {listen: [127.0.0.1:1, 127.0.0.1:2]}", func(r *root) {
		r.Collector.Listen = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:1"), netip.MustParseAddrPort("127.0.0.1:2")}
	})
	f("collector: {hosts: [192.0.2.1, 2001:db8::2]}", func(r *root) {
		r.Collector.Hosts = []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::2")}
	})
	f("log:\n  level: debug\n", func(r *root) { r.Log.Level = slog.LevelDebug })
}

// Each mistake is shown where it is: line, column and words.
func TestMistakes(t *testing.T) {
	f := func(text string, line, column int, words string) {
		t.Helper()
		r := defaults()
		err := Parse("f.yaml", []byte(text), &r)
		var at *Error
		if !errors.As(err, &at) {
			t.Errorf("%q: got error %v, want a place", text, err)
			return
		}
		if at.Line != line || at.Column != column || !strings.Contains(at.Message, words) {
			t.Errorf("%q: got %d:%d %q, want %d:%d %q", text, at.Line, at.Column, at.Message, line, column, words)
		}
	}
	f("statte: x\n", 1, 1, `unknown key "statte", did you mean "state"?`)
	f("collector:\n  workerz: 3\n", 2, 3, `collector: unknown key "workerz", did you mean "workers"?`)
	f("log:\n  nonsense: 3\n", 2, 3, `log: unknown key "nonsense", want one of level`)
	f("Private: 3\n", 1, 1, `unknown key "Private"`)
	f("private: 3\n", 1, 1, `unknown key "private"`)
	f("collector:\n  workers: many\n", 2, 12, `collector.workers: want a whole number, got "many"`)
	f("collector:\n  workers: '3'\n", 2, 12, `want a whole number, got the text "3"`)
	f("collector:\n  workers: 1.5\n", 2, 12, `want a whole number, got "1.5"`)
	f("collector:\n  workers: [1]\n", 2, 12, `want a whole number, got a list`)
	f("collector:\n  workers: 99999999999999999999\n", 2, 12, `out of range`)
	f("collector:\n  workers: 0\n", 2, 3, `collector: workers: 0, want at least 1`)
	f("collector:\n  small: 256\n", 2, 10, `256 is out of range`)
	f("collector:\n  small: -1\n", 2, 10, `want a whole number ≥ 0`)
	f("collector:\n  flush: 300\n", 2, 10, `want a duration with its unit such as 30s`)
	f("collector:\n  flush: 5 minutes\n", 2, 10, `want a duration`)
	f("collector:\n  on: yes\n", 2, 7, `want true or false, got "yes"`)
	f("collector:\n  ratio: .inf\n", 2, 10, `want a number`)
	f("collector:\n  ratio: .nan\n", 2, 10, `want a number`)
	f("collector:\n  listen: 127.0.0.1:1\n", 2, 11, `want a list`)
	f("collector:\n  listen: [\"127.0.0.1\"]\n", 2, 12, `collector.listen[0]: want an address with a port`)
	f("collector:\n  listen:\n    - \n", 3, 7, `collector.listen[0]: empty`)
	f("collector:\n  exporters:\n  - prefix: 10.0.0.0/33\n", 3, 13, `collector.exporters[0].prefix: want a prefix`)
	f("collector: 4\n", 1, 12, `want keys and values, got the number 4`)
	f("collector: {hosts: [{192.0.2.1: 2}]}", 1, 22, `a text with a colon may need quotes`)
	f("collector:\n- a\n", 2, 1, `want keys and values, got a list`)
	f("- a\n", 1, 1, `want keys and values, got a list`)
	f("state: {a: 1}\n", 1, 9, `state: want a text, got keys and values`)
	f("state: a\nstate: b\n", 2, 1, `already defined`)
	f("log: {level: loud}\n", 1, 14, `unknown name`)
	f("state: &x a\n", 1, 8, `anchors`)
	f("state: a\nlog: *x\n", 2, 6, `anchors`)
	f("collector:\n  <<: {workers: 1}\n", 2, 3, `merge keys`)
	f("---\nstate: a\n---\nstate: b\n", 4, 1, `a second document`)
	f("collector:\n  listen: [1\n", 2, 11, `not found`)
	f("\tstate: a\n", 1, 6, `tab character`)
	f("state: ''\n", 1, 1, `state: empty`)
}

func TestSeveralMistakesAtOnce(t *testing.T) {
	r := defaults()
	err := Parse("f.yaml", []byte("collector:\n  workers: x\n  flush: y\nnope: 1\n"), &r)
	for _, want := range []string{"f.yaml:2:12", "f.yaml:3:10", "f.yaml:4:1"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want it to show %s", err, want)
		}
	}
}

func TestErrorText(t *testing.T) {
	r := defaults()
	err := Parse("etc/f.yaml", []byte("log:\n  level: info\ncollector:\n  workerz: 3\n"), &r)
	want := "etc/f.yaml:4:3: collector: unknown key \"workerz\", did you mean \"workers\"?\n" +
		"    4 |   workerz: 3\n" +
		"      |   ^"
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}

func TestLoadFileAndEnvironment(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f.yaml")
	if err := os.WriteFile(path, []byte("state: /from/file\nlog: {level: warn}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	env := map[string]string{"FLOWHOUND_STATE": "/from/env", "FLOWHOUND_LOG_LEVEL": ""}
	lookup := func(k string) (string, bool) { v, ok := env[k]; return v, ok }
	r := defaults()
	if err := Load(path, &r, lookup); err != nil {
		t.Fatal(err)
	}
	if r.State != "/from/env" || r.Log.Level != slog.LevelWarn {
		t.Errorf("got state %q level %v, want /from/env (environment) and WARN (file)", r.State, r.Log.Level)
	}
	env["FLOWHOUND_LOG_LEVEL"] = "loud"
	if err := Load(path, &r, lookup); err == nil || !strings.Contains(err.Error(), "environment FLOWHOUND_LOG_LEVEL: ") {
		t.Errorf("wrong environment: got %v", err)
	}
	for _, bad := range []string{filepath.Join(dir, "absent.yaml"), dir} {
		if err := Load(bad, &r, nil); err == nil || !strings.Contains(err.Error(), bad) {
			t.Errorf("load %s: got %v, want an error that names it", bad, err)
		}
	}
	r = defaults()
	r.Collector.Workers = 0 // a default or a flag is to blame: no place in the file
	if err := Load("", &r, nil); err == nil || err.Error() != "configuration: collector: workers: 0, want at least 1" {
		t.Errorf("invalid without a file: got %v", err)
	}
}

// What Dump writes, Parse reads back to equal values: random configurations,
// texts that look like other YAML types included.
func TestDumpRoundTrip(t *testing.T) {
	texts := []string{"a", "", "true", "5", "1e3", "~", "null", "a: b", "# x", "ü", "x\ny", "-", "[", "'", `"`, "/var/lib", "yes", "0x1f", ".inf", " a ", "1:2", "a,b"}
	for seed := range uint64(200) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		text := func() string { return strings.TrimSpace(texts[rnd.IntN(len(texts))]) }
		want := defaults()
		want.Collector.Hosts = []netip.Addr{}
		want.State = "s" + text()
		want.Collector.Workers = 1 + rnd.IntN(1<<30)
		want.Collector.Flush = time.Duration(rnd.Int64N(1 << 50))
		want.Collector.Ratio = rnd.NormFloat64()
		want.Collector.On = rnd.IntN(2) == 0
		want.Collector.Names = map[string]string{"k" + text(): text(), "2": text()}
		if rnd.IntN(2) == 0 {
			want.Collector.Extra = &exporterConfig{netip.MustParsePrefix("10.0.0.0/8"), rnd.Uint32()}
			want.Collector.Exporters = []exporterConfig{*want.Collector.Extra, {netip.MustParsePrefix("::/0"), 2}}
		} else {
			want.Collector.Exporters = []exporterConfig{}
		}
		var b strings.Builder
		if err := Dump(&b, &want, nil); err != nil {
			t.Fatal(err)
		}
		var got root
		if err := Parse("dump", []byte(b.String()), &got); err != nil {
			t.Fatalf("seed %d: %v in\n%s", seed, err, b.String())
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("seed %d:\ngot  %+v\nwant %+v\n%s", seed, got, want, b.String())
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("collector:\n  workers: 3\n  listen: ['[::]:1']\n"))
	f.Add([]byte("a: &x [*x]\n"))
	f.Add([]byte("collector: {exporters: [{rate: 1}, ~, {prefix: 1}]}\n---\n"))
	f.Add([]byte("? a\n: b\n"))
	f.Add([]byte("|\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r := defaults()
		err := Parse("fuzz", data, &r)
		if err != nil && err.Error() == "" {
			t.Error("error without words")
		}
	})
}
