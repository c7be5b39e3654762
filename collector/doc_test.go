package collector

import (
	"strings"
	"testing"

	"github.com/flowhound/flowhound/internal/config"
	"github.com/flowhound/flowhound/internal/metric"
)

// Every setting is documented, with its default where it has one.
func TestSettingsAreDocumented(t *testing.T) {
	cfg := DefaultConfig()
	fields := config.Fields(&cfg)
	if err := config.Describe(fields, "github.com/flowhound/flowhound", ".."); err != nil {
		t.Fatal(err)
	}
	for _, bad := range config.Check(&cfg, fields) {
		t.Error(bad)
	}
	for _, f := range fields {
		element := strings.HasPrefix(f.Path, "exporters[].") && !strings.Contains(f.Path, "sampling.")
		if !f.Section && !element && !strings.Contains(f.Doc, "Default: ") {
			t.Errorf("%s: no default in %q", f.Path, f.Doc)
		}
	}
}

func TestMetricsFollowTheRules(t *testing.T) {
	r := newRig(t, setup{})
	metrics, err := metric.Describe(r.registry)
	if err != nil {
		t.Fatal(err)
	}
	if len(metrics) < 40 {
		t.Errorf("%d metrics, want at least 40", len(metrics))
	}
	for _, bad := range metric.Check(metrics) {
		t.Error(bad)
	}
}
