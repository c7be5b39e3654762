package detector

import (
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/flowhound/flowhound/federation/wire"
	"github.com/flowhound/flowhound/internal/flow"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// shape lists the paths and types of a JSON document, one a line; of an array
// only its first element, of what is a map by name "*".
func shape(path string, v any, out map[string]bool) {
	switch v := v.(type) {
	case map[string]any:
		for _, k := range slices.Sorted(maps.Keys(v)) {
			shape(path+"."+k, v[k], out)
		}
		if len(v) == 0 {
			out[path+" {}"] = true
		}
	case []any:
		if len(v) == 0 {
			out[path+" []"] = true
			return
		}
		shape(path+"[]", v[0], out)
	case nil:
		out[path+" null"] = true
	default:
		out[fmt.Sprintf("%s %T", path, v)] = true
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs; read the difference and run with -update if it is meant:\n%s", path, got)
	}
}

// The API's answers keep their shape, before the first epoch and after.
func TestAPIShape(t *testing.T) {
	full := scenario(6)
	var b strings.Builder
	get := func(d *Detector, path string) {
		t.Helper()
		code, body := ask(d, http.MethodGet, path, "")
		name, _, _ := strings.Cut(path, "p1.")
		fmt.Fprintf(&b, "GET %s %d\n", name, code)
		for line := range strings.Lines(body) {
			var v any
			if err := json.Unmarshal([]byte(line), &v); err != nil {
				t.Fatalf("%s: %v in %q", path, err, line)
			}
			out := map[string]bool{}
			shape("", v, out)
			fmt.Fprintf(&b, "  %s\n", strings.Join(slices.Sorted(maps.Keys(out)), "\n  "))
			break
		}
	}
	paths := []string{"status", "epochs", "suspects?top=3", "scores", "seeds", "nonsense"}
	empty := boot(t, newMemLog(), t.TempDir(), testConfig())
	wait(t, "the start", func() bool { return empty.Ready() == nil })
	b.WriteString("# before the first epoch\n")
	for _, p := range paths {
		get(empty, "/api/v1/"+p)
	}
	d := boot(t, full, t.TempDir(), testConfig())
	settled(t, d)
	b.WriteString("# after an epoch\n")
	for _, p := range paths {
		get(d, "/api/v1/"+p)
	}
	e := d.epoch.Load()
	get(d, "/api/v1/hosts/"+e.pseudonym(e.verdict.Suspects[0].Vertex))
	golden(t, "api.golden", b.String())
}

// Errors have the right status code and say what is wrong, as JSON.
func TestAPIErrors(t *testing.T) {
	d := boot(t, scenario(6), t.TempDir(), testConfig())
	settled(t, d)
	unknown := flow.Pseudonym{0xff, 15: 1}.Text(0)
	f := func(method, path, body string, code int, want string) {
		t.Helper()
		got, text := ask(d, method, path, body)
		var answer map[string]string
		if err := json.Unmarshal([]byte(text), &answer); err != nil || got != code || !strings.Contains(answer["error"], want) {
			t.Errorf("%s %s: got %d %s (%v), want %d with %q", method, path, got, text, err, code, want)
		}
	}
	f("GET", "/api/v1/suspects?top=-1", "", 400, "top")
	f("GET", "/api/v1/suspects?top=many", "", 400, "top")
	f("GET", "/api/v1/suspects?top=99999999", "", 400, "top")
	f("GET", "/api/v1/hosts/192.0.2.1", "", 400, "p1.")
	f("GET", "/api/v1/hosts/"+unknown, "", 404, "not in the window")
	f("GET", "/api/v1/hosts/"+unknown+"?peers=x", "", 400, "peers")
	f("GET", "/api/v1/nothing", "", 404, "no such")
	f("POST", "/api/v1/status", "", 405, "method")
	f("PUT", "/api/v1/seeds", "", 405, "method")
	f("POST", "/api/v1/seeds", "", 400, "body")
	f("POST", "/api/v1/seeds", `{"hosts": []}`, 400, "at least one")
	f("POST", "/api/v1/seeds", `{"bots": ["x"]}`, 400, "bots")
	f("POST", "/api/v1/seeds", `{"hosts": ["192.0.2.1"]}`, 400, "p1.")
	f("DELETE", "/api/v1/seeds", `{"hosts": ["`+unknown+`"]}`, 404, "not set by the API")
	f("POST", "/api/v1/seeds", `{"hosts": ["`+strings.Repeat("x", maxBody)+`"]}`, 413, "too large")
	many := make([]string, wire.MaxSeeds+1)
	for i := range many {
		many[i] = flow.Pseudonym{byte(i), byte(i >> 8), byte(i >> 16)}.Text(0)
	}
	body, err := json.Marshal(seedsBody{many})
	if err != nil {
		t.Fatal(err)
	}
	f("POST", "/api/v1/seeds", string(body), 413, "at most")
}

// Seeds set over the API are in the log, in the list, in the next epoch, and
// survive a restart; deleting them undoes that.
func TestAPISeeds(t *testing.T) {
	l := scenario(6)
	dir := t.TempDir()
	d := bootClosing(t, l, dir, testConfig())
	settled(t, d)
	list := func(body string) (out []seedJSON) {
		t.Helper()
		var v struct{ Seeds []seedJSON }
		if err := json.Unmarshal([]byte(body), &v); err != nil {
			t.Fatalf("%s: %v", body, err)
		}
		return v.Seeds
	}
	_, body := ask(d, "GET", "/api/v1/seeds", "")
	if got := list(body); len(got) != 2 || got[0].Source != "api" || !got[0].InGraph {
		t.Fatalf("got %+v, want the scenario's two", got)
	}
	old := list(body)[0].Pseudonym
	fresh, absent := host(5).Pseudonym.Text(0), flow.Pseudonym{0xfe}.Text(3)
	code, body := ask(d, "POST", "/api/v1/seeds", fmt.Sprintf(`{"hosts": [%q, %q, %q, %q]}`, fresh, absent, fresh, old))
	if got := list(body); code != 200 || len(got) != 4 || !got[2].InGraph || got[3].InGraph || got[3].Pseudonym != absent {
		t.Fatalf("after the post: %d %+v", code, got)
	}
	code, body = ask(d, "DELETE", "/api/v1/seeds", fmt.Sprintf(`{"hosts": [%q]}`, old))
	if got := list(body); code != 200 || len(got) != 3 {
		t.Fatalf("after the delete: %d %+v", code, got)
	}
	c := newFakeCollector(l, "pop-c")
	c.flush(firstSlice+6, [][2]uint32{{5, 6}}, firstSlice+6)
	epochHas := func(d *Detector) func() bool {
		return func() bool {
			e := d.epoch.Load()
			return e != nil && e.slice >= firstSlice+6 && len(e.seeds) == 2
		}
	}
	wait(t, "an epoch with the seeds", epochHas(d))
	stop(t, d)
	d = boot(t, l, dir, testConfig())
	wait(t, "an epoch with the seeds after the restart", epochHas(d))
	_, body = ask(d, "GET", "/api/v1/hosts/"+fresh, "")
	var h hostJSON
	if err := json.Unmarshal([]byte(body), &h); err != nil || !h.Seed || h.Suspect == nil || h.SeededClientRank == nil || *h.SeededClientRank <= 1 {
		t.Errorf("the seed explained: %v %s", err, body)
	}
}

// The list of suspects, the explanations and the streamed scores tell the same
// story, and scores come with every digit.
func TestAPIAgrees(t *testing.T) {
	d := boot(t, scenario(6), t.TempDir(), testConfig())
	settled(t, d)
	_, body := ask(d, "GET", "/api/v1/suspects?top=1000", "")
	var listed suspectsJSON
	if err := json.Unmarshal([]byte(body), &listed); err != nil {
		t.Fatal(err)
	}
	if len(listed.Suspects) < 20 || listed.Total != len(listed.Suspects) {
		t.Fatalf("%d suspects of %d listed", len(listed.Suspects), listed.Total)
	}
	type line struct {
		Pseudonym          string
		Client_rank, Score float64
		Server_rank        float64
	}
	streamed := map[string]line{}
	_, text, _ := strings.Cut(scores(t, d), "\n")
	sum := 0.0
	for l := range strings.Lines(text) {
		var s line
		if err := json.Unmarshal([]byte(l), &s); err != nil {
			t.Fatalf("%s: %v", l, err)
		}
		if !strings.Contains(l, strconv.FormatFloat(s.Client_rank, 'g', -1, 64)) {
			t.Fatalf("%s: client rank is cut", l)
		}
		streamed[s.Pseudonym] = s
		sum += s.Client_rank
	}
	if n := float64(len(streamed)); sum < n*(1-1e-9) || sum > n*(1+1e-9) {
		t.Errorf("client ranks average %v, want 1", sum/n)
	}
	for i, s := range listed.Suspects {
		if got := streamed[s.Pseudonym]; got.Score != s.Score || got.Client_rank != s.ClientRank || got.Server_rank != s.ServerRank {
			t.Errorf("%s: listed %+v, streamed %+v", s.Pseudonym, s, got)
		}
		var h hostJSON
		_, body := ask(d, "GET", "/api/v1/hosts/"+s.Pseudonym+"?peers=5", "")
		if err := json.Unmarshal([]byte(body), &h); err != nil {
			t.Fatal(err)
		}
		if h.Score != s.Score || h.Suspect == nil || h.Suspect.Place != i+1 || len(h.Suspect.Evidence) < 3 || len(h.Peers) != min(5, h.PeersTotal) {
			t.Errorf("%s explained: %s", s.Pseudonym, body)
		}
		for _, p := range h.Peers {
			if !p.Out && !p.In || p.Flows == 0 || p.Port != 4672 || p.LastSeen.IsZero() {
				t.Errorf("%s: peer %+v", s.Pseudonym, p)
			}
		}
	}
}

// All metrics are there from the start, with bounded labels, and the values
// follow the epoch.
func TestMetrics(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	cfg := testConfig()
	cfg.TopK = 5
	d, err := New(cfg, Deps{Log: scenario(6), Registerer: registry, Dir: t.TempDir(), Now: frozen})
	if err != nil {
		t.Fatal(err)
	}
	gather := func() (names string, values map[string]float64) {
		t.Helper()
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		values = map[string]float64{}
		var b strings.Builder
		for _, f := range families {
			for _, m := range f.Metric {
				labels := ""
				for _, l := range m.Label {
					if l.GetName() != "host" {
						labels += fmt.Sprintf("{%s=%q}", l.GetName(), l.GetValue())
					}
				}
				if name := f.GetName() + labels; values[name] == 0 {
					values[name] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
					fmt.Fprintln(&b, f.GetType(), name)
				}
			}
		}
		return b.String(), values
	}
	before, _ := gather()
	if err := d.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, d) })
	settled(t, d)
	after, v := gather()
	golden(t, "metrics.golden", after)
	for line := range strings.Lines(after) {
		if !strings.Contains(before, line) && !strings.Contains(line, "suspect_score") {
			t.Errorf("%s is not there before the first epoch", strings.TrimSpace(line))
		}
	}
	e := d.epoch.Load()
	f := func(name string, want float64) {
		t.Helper()
		if got := v["flowhound_detector_"+name]; got != want {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
	}
	f("suspects", float64(len(e.verdict.Suspects)))
	f("suspect_score_truncated", float64(len(e.verdict.Suspects)-5))
	f("hosts", float64(e.view.Len()))
	f(`score_hosts{at_most="+Inf"}`, float64(e.view.Len()))
	f("seeds", 2)
	f("epoch_timestamp_seconds", float64(e.slice+1))
	f("epochs_total", 1)
	if sum := v[`flowhound_detector_rank_sum{rank="client"}`]; sum < 1-1e-9 || sum > 1+1e-9 {
		t.Errorf("rank sum: got %v, want 1", sum)
	}
}
