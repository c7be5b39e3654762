package app

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/flowhound/flowhound/internal/config"
	"github.com/flowhound/flowhound/internal/metric"
)

var update = flag.Bool("update", false, "write the generated documents")

const moduleRoot = "../.."

// Every key of the configuration is explained where it is declared, and the
// document and the texts of check are what those comments say.
func TestConfigurationDocument(t *testing.T) {
	cfg := DefaultConfig()
	cfg.StateDir = "" // the document is the same on every machine
	fields := config.Fields(cfg)
	if err := config.Describe(fields, "github.com/flowhound/flowhound", moduleRoot); err != nil {
		t.Fatal(err)
	}
	for _, bad := range config.Check(cfg, fields) {
		t.Error(bad)
	}
	var page bytes.Buffer
	if err := config.Markdown(&page, fields); err != nil {
		t.Fatal(err)
	}
	compare(t, filepath.Join(moduleRoot, "docs", "configuration.md"), page.Bytes())
	texts, err := json.MarshalIndent(config.Comments(fields), "", " ")
	if err != nil {
		t.Fatal(err)
	}
	compare(t, "config_docs.json", append(texts, '\n'))
}

// docs/metrics.md lists what a whole appliance exports, and the spool of a
// collector alone.
func TestMetricsDocument(t *testing.T) {
	a := runAppliance(t)
	a.cfg.Log.URL = "nats://192.0.2.1:4222"
	forwarder, err := a.newForwarder()
	if err != nil {
		t.Fatal(err)
	}
	defer forwarder.Stop(t.Context())
	metrics, err := metric.Describe(a.registry)
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range metric.Check(metrics) {
		t.Error(bad)
	}
	var page bytes.Buffer
	if err := metric.Markdown(&page, metrics); err != nil {
		t.Fatal(err)
	}
	compare(t, filepath.Join(moduleRoot, "docs", "metrics.md"), page.Bytes())
}

// compare checks a generated file, or writes it with -update.
func compare(t *testing.T, path string, want []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, want, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is not what the source says: run make generate", path)
	}
}
