package metric

import (
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

func TestRegistry(t *testing.T) {
	r := NewRegistry()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, f := range families {
		names[f.GetName()] = true
	}
	for _, want := range []string{"flowhound_build_info", "process_resident_memory_bytes", "go_goroutines"} {
		if !names[want] {
			t.Errorf("no %s among %d families", want, len(families))
		}
	}
	if problems, err := testutil.GatherAndLint(r, "flowhound_build_info"); err != nil || len(problems) > 0 {
		t.Errorf("promlint: %v %v", problems, err)
	}
}

func TestBuild(t *testing.T) {
	b := BuildInfo()
	if b.Version == "" || b.Go != runtime.Version() || b.Platform != runtime.GOOS+"/"+runtime.GOARCH {
		t.Errorf("got %+v", b)
	}
	b = Build{}
	b.fill(&debug.BuildInfo{Main: debug.Module{Version: "v0.2.0"}, Settings: []debug.BuildSetting{
		{Key: "vcs.revision", Value: "abc"}, {Key: "vcs.modified", Value: "true"},
	}})
	if b.Version != "v0.2.0" || b.Revision != "abc-dirty" {
		t.Errorf("got %+v, want v0.2.0 and abc-dirty", b)
	}
}

func exampleRegistry() *prometheus.Registry {
	r := NewRegistry()
	drops := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "flowhound_collector_drops_total", Help: `Datagrams dropped, by "reason".`}, []string{"reason"})
	drops.WithLabelValues("short")
	took := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "flowhound_detector_superstep_duration_seconds", Help: "Time of a superstep."})
	later := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "flowhound_detector_late_total", Help: "Late contacts, by peer and reason."}, []string{"peer", "reason"})
	r.MustRegister(drops, took, later)
	return r
}

func TestDescribe(t *testing.T) {
	got, err := Describe(exampleRegistry())
	if err != nil {
		t.Fatal(err)
	}
	want := []Metric{
		{"flowhound_build_info", "gauge", []string{"goversion", "revision", "version"}, "What this process was built from: always 1.", false},
		{"flowhound_collector_drops_total", "counter", []string{"reason"}, `Datagrams dropped, by "reason".`, false},
		{"flowhound_detector_late_total", "counter", []string{"peer", "reason"}, "Late contacts, by peer and reason.", true},
		{"flowhound_detector_superstep_duration_seconds", "histogram", nil, "Time of a superstep.", false},
	}
	equal := func(a, b Metric) bool {
		return a.Name == b.Name && a.Kind == b.Kind && slices.Equal(a.Labels, b.Labels) && a.Help == b.Help && a.Empty == b.Empty
	}
	if !slices.EqualFunc(got, want, equal) {
		t.Errorf("got\n%+v\nwant\n%+v", got, want)
	}
	if bad := Check(got); len(bad) > 0 {
		t.Errorf("good metrics are called bad: %q", bad)
	}
}

func TestCheckBites(t *testing.T) {
	f := func(m Metric, want string) {
		t.Helper()
		if m.Help == "" {
			m.Help = "Something."
		}
		bad := Check([]Metric{m})
		if len(bad) != 1 || !strings.HasPrefix(bad[0], m.Name+": ") || !strings.Contains(bad[0], want) {
			t.Errorf("%+v: got %q, want one fault with %q", m, bad, want)
		}
	}
	f(Metric{Name: "flowhound_collector_drops", Kind: "counter"}, "ends in _total")
	f(Metric{Name: "flowhound_collector_drops_total", Kind: "gauge"}, "only a counter")
	f(Metric{Name: "collector_drops_total", Kind: "counter"}, "want flowhound_")
	f(Metric{Name: "flowhound_drops", Kind: "gauge"}, "want flowhound_")
	f(Metric{Name: "flowhound_collector_Drops", Kind: "gauge"}, "lower case")
	f(Metric{Name: "flowhound_detector_step_duration", Kind: "histogram"}, "ends in its unit")
	f(Metric{Name: "flowhound_detector_step_seconds", Kind: "summary"}, "cannot be aggregated")
	f(Metric{Name: "flowhound_detector_step_ms", Kind: "gauge"}, "base unit")
	f(Metric{Name: "flowhound_detector_full_percent", Kind: "gauge"}, "base unit")
	f(Metric{Name: "flowhound_collector_flows_count_total", Kind: "counter"}, "_count belongs")
	f(Metric{Name: "flowhound_collector_flows_total", Kind: "counter", Labels: []string{"reason", "src"}}, `"src" has no bound`)
	f(Metric{Name: "flowhound_collector_flows_total", Kind: "counter", Help: "Flows"}, "period")
	f(Metric{Name: "flowhound_collector_flows_total", Kind: "counter", Help: "flows received."}, "capital")
}

func TestMarkdown(t *testing.T) {
	metrics, err := Describe(exampleRegistry())
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := Markdown(&b, metrics); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"\n## collector\n\n| metric | type | labels | meaning |\n",
		"| `flowhound_detector_late_total` | counter | `peer`, `reason` | Late contacts, by peer and reason. |\n",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
}
