package config

import (
	"slices"
	"strings"
	"testing"
)

const module = "github.com/flowhound/flowhound"

func described(t *testing.T) []Field {
	t.Helper()
	d := defaults()
	fields := Fields(&d)
	if err := Describe(fields, module, "../.."); err != nil {
		t.Fatal(err)
	}
	return fields
}

func TestDescribe(t *testing.T) {
	fields := described(t)
	f := func(path, kind, value, env, doc string) {
		t.Helper()
		i := slices.IndexFunc(fields, func(f Field) bool { return f.Path == path })
		if i < 0 {
			t.Errorf("%s: not listed", path)
			return
		}
		got := fields[i]
		if got.Type != kind || got.Default != value || got.Env != env || got.Doc != doc {
			t.Errorf("%s: got %q %q %q %q, want %q %q %q %q", path, got.Type, got.Default, got.Env, got.Doc, kind, value, env, doc)
		}
	}
	f("state", "text", "/var/lib/x", "FLOWHOUND_STATE", "The directory of the state.")
	f("collector", "section", "", "", "Receives packets.")
	f("collector.workers", "whole number", "2", "", "Number of receiving workers.")
	f("collector.flush", "duration", "10s", "", "How often contacts are flushed.")
	f("collector.listen", "list of addresses with port", `["[::]:2055"]`, "", "The UDP addresses. An empty list listens nowhere, which is allowed.")
	f("collector.names", "map of texts", "{a: b}", "", "")
	f("collector.exporters[].prefix", "prefix", `""`, "", "")
	f("log.level", "level", "INFO", "FLOWHOUND_LOG_LEVEL", "Level is the least level logged.")
}

type careless struct {
	Tagless int
	Loose   int `yaml:"loose"` // 5 of them
	Bare    int `yaml:"bare"`
}

func TestCheckBites(t *testing.T) {
	fields := Fields(careless{})
	if err := Describe(fields, module, "../.."); err != nil {
		t.Fatal(err)
	}
	got := strings.Join(Check(careless{}, fields), "\n")
	for _, want := range []string{"config.careless.Tagless: no yaml tag", "bare (config.careless.Bare): no comment"} {
		if !strings.Contains(got, want) {
			t.Errorf("got %q, want it to contain %q", got, want)
		}
	}
	if strings.Contains(got, "loose") {
		t.Errorf("got %q: a trailing comment is a comment", got)
	}
}

func TestMarkdown(t *testing.T) {
	var b strings.Builder
	if err := Markdown(&b, described(t)); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"## Top level\n", "## `collector`\n\nReceives packets.\n\n| key | type |", "## `collector.exporters[]`",
		"| `collector.flush` | duration | `10s` | How often contacts are flushed. |",
		"| `state` | text | `/var/lib/x` | The directory of the state. Environment: `FLOWHOUND_STATE`. |",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
	if strings.Count(b.String(), "## `collector`\n") != 1 {
		t.Errorf("section collector is not told once:\n%s", b.String())
	}
}

func TestDumpComments(t *testing.T) {
	d := defaults()
	var b strings.Builder
	if err := Dump(&b, d, Comments(described(t))); err != nil {
		t.Fatal(err)
	}
	want := "# Receives packets.\ncollector:\n  # Number of receiving workers.\n  workers: 2\n"
	if !strings.Contains(b.String(), want) {
		t.Errorf("got\n%s\nwant it to contain\n%s", b.String(), want)
	}
}
