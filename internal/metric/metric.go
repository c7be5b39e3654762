// Package metric makes the Prometheus registry of a process, checks the names
// of what components register there against the house rules (STYLE.md,
// prometheus.io/docs/practices/naming) and writes docs/metrics.md from them.
package metric

import (
	"runtime"
	"runtime/debug"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// Prefix begins every metric of ours.
const Prefix = "flowhound_"

// version is stamped by the linker, since Go's own stamp is the module version
// or nothing: -ldflags "-X github.com/flowhound/flowhound/internal/metric.version=v1.2.3".
var version = ""

// Build says what this binary was built from.
type Build struct {
	Version  string `json:"version"`  // release such as v1.2.3, or "development"
	Revision string `json:"revision"` // commit, with -dirty if the tree was changed, or ""
	Go       string `json:"go"`       // toolchain such as go1.26.1
	Platform string `json:"platform"` // such as linux/amd64
}

// BuildInfo returns what this binary was built from.
func BuildInfo() Build {
	b := Build{Version: version, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if ok {
		b.fill(info)
	}
	if b.Version == "" {
		b.Version = "development"
	}
	return b
}

func (b *Build) fill(info *debug.BuildInfo) {
	if b.Version == "" && info.Main.Version != "(devel)" {
		b.Version = info.Main.Version
	}
	dirty := false
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Revision = s.Value
		case "vcs.modified":
			dirty = s.Value == "true"
		}
	}
	if dirty && b.Revision != "" {
		b.Revision += "-dirty"
	}
}

// NewRegistry returns a registry that shows the build, the process and the Go
// runtime. Pedantic checks are not on: they cost at every scrape and are made
// by [Check] in the tests.
func NewRegistry() *prometheus.Registry {
	b := BuildInfo()
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name:        Prefix + "build_info",
		Help:        "What this process was built from: always 1.",
		ConstLabels: prometheus.Labels{"version": b.Version, "revision": b.Revision, "goversion": b.Go},
	})
	info.Set(1)
	r := prometheus.NewRegistry()
	r.MustRegister(
		info,
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		collectors.NewGoCollector(),
	)
	return r
}
