package lint

import (
	"os"
	"strings"
	"testing"
	"testing/fstest"
)

var checks = map[string]func(*Tree) []string{
	"floors": Floors, "pure": Pure, "format": Format, "package comments": PackageComments,
	"comments": Comments, "metric names": MetricNames, "files": Files, "links": Links,
}

func TestTree(t *testing.T) {
	tree, err := Load(os.DirFS("../.."))
	if err != nil {
		t.Fatal(err)
	}
	if len(tree.Packages) < 10 {
		t.Fatalf("got %d packages: this is not the repository", len(tree.Packages))
	}
	for name, check := range checks {
		t.Run(name, func(t *testing.T) {
			for _, fault := range check(tree) {
				t.Error(fault)
			}
		})
	}
}

// Each check finds what it is there for, and only its own fault.
func TestChecksBite(t *testing.T) {
	f := func(check, file, source, want string) {
		t.Helper()
		fsys := fstest.MapFS{
			"go.mod":                 {Data: []byte("module " + Module + "\n")},
			"internal/flow/flow.go":  {Data: []byte("// Package flow is.\npackage flow\n")},
			"detector/rank/rank.go":  {Data: []byte("// Package rank is.\npackage rank\n")},
			"collector/collector.go": {Data: []byte("// Package collector is.\npackage collector\n")},
			"docs/design.md":         {Data: []byte("# Design\n\n## The parts: 2\n")},
			file:                     {Data: []byte(source)},
		}
		tree, err := Load(fsys)
		if err != nil {
			t.Errorf("%s: %v", file, err)
			return
		}
		for name, c := range checks {
			faults := c(tree)
			switch {
			case name != check && len(faults) > 0:
				t.Errorf("%s: check %q found %q too", file, name, faults)
			case name == check && want == "" && len(faults) > 0:
				t.Errorf("%s: got %q, want no fault", file, faults)
			case name == check && want != "" && (len(faults) != 1 || !strings.Contains(faults[0], want)):
				t.Errorf("%s: check %q got %q, want %q", file, name, faults, want)
			}
		}
	}
	own := func(pkg, imp string) string {
		return "package " + pkg + "\n\nimport _ \"" + imp + "\"\n"
	}
	f("floors", "detector/extra.go", "// Package detector is.\npackage detector\n\nimport _ \""+Module+"/detector/rank\"\n", "")
	f("floors", "detector/extra.go", "// Package detector is.\npackage detector\n\nimport _ \""+Module+"/collector\"\n", "detector (floor 4) imports collector (floor 4)")
	f("floors", "collector/template/t.go", "// Package template is.\npackage template\n\nimport _ \""+Module+"/internal/flow\"\n", "collector/template (floor 0) imports internal/flow (floor 0)")
	f("floors", "internal/flow/up.go", own("flow", Module+"/detector/rank"), "internal/flow (floor 0) imports detector/rank (floor 2)")
	f("floors", "detector/novelty/x.go", "// Package novelty is.\npackage novelty\n", "detector/novelty has no floor")
	f("floors", "collector/extra.go", own("collector", "github.com/nats-io/nats.go"), "belongs to federation/feed")
	f("floors", "collector/extra_test.go", own("collector", "github.com/nats-io/nats.go"), "")

	f("pure", "detector/rank/extra.go", own("rank", "net"), "detector/rank is pure but imports net")
	f("pure", "detector/rank/extra.go", own("rank", "os"), "detector/rank is pure but imports os")
	f("pure", "detector/rank/extra_test.go", own("rank", "os"), "")
	f("pure", "detector/rank/extra.go", "package rank\n\nimport \"time\"\n\nvar _ = time.Now\n", "extra.go:5: pure package uses time.Now")
	f("pure", "detector/rank/extra.go", "package rank\n\nimport t \"time\"\n\nfunc f() { t.Sleep(1) }\n", "uses t.Sleep")
	f("pure", "detector/rank/extra.go", "package rank\n\nimport \"math/rand/v2\"\n\nvar _ = rand.IntN(3)\n", "uses rand.IntN")
	f("pure", "detector/rank/extra.go", "package rank\n\nimport \"math/rand/v2\"\n\nvar _ = rand.New(rand.NewPCG(1, 2)).IntN(3)\n", "")
	f("pure", "detector/rank/extra.go", "package rank\n\nimport \"time\"\n\nvar _ = time.Second\n", "")
	f("pure", "collector/extra.go", "package collector\n\nimport \"time\"\n\nvar _ = time.Now\n", "")

	f("format", "collector/extra.go", "package collector\n\nvar  x int\n", "collector/extra.go: not gofmt-ed")
	f("package comments", "detector/graph/g.go", "package graph\n", "detector/graph: no package comment")
	f("package comments", "detector/graph/g.go", "// Graph is.\npackage graph\n", `does not begin with "Package graph "`)
	f("package comments", "detector/rank/two.go", "// Package rank is too.\npackage rank\n", "2 package comments")
	f("package comments", "cmd/flowhound/main.go", "// Command flowhound is.\npackage main\n", "")
	f("package comments", "cmd/flowhound/main.go", "// Package main is.\npackage main\n", `"Command flowhound "`)

	f("comments", "collector/extra.go", "package collector\n\nfunc Open() {}\n", "collector/extra.go:3: Open has no comment")
	f("comments", "collector/extra.go", "package collector\n\n// Open opens\nfunc Open() {}\n", "without a period")
	f("comments", "collector/extra.go", "package collector\n\n// T is.\ntype T[K any] struct{}\n\nfunc (t *T[K]) M() {}\n", "M has no comment")
	f("comments", "collector/extra.go", "package collector\n\ntype t struct{}\n\nfunc (t) M() {}\n", "")
	f("comments", "collector/extra.go", "package collector\n\n// Kinds.\nconst (\n\tA = iota\n\tB\n)\n", "")
	f("comments", "collector/extra.go", "package collector\n\nvar X int // a trailing comment\n", "")

	opts := func(kind, fields string) string {
		return "package collector\n\nimport \"github.com/prometheus/client_golang/prometheus\"\n\nvar _ = prometheus." + kind + "{" + fields + "}\n"
	}
	f("metric names", "collector/m.go", opts("CounterOpts", `Name: "flowhound_collector_drops"`), "counter flowhound_collector_drops does not end in _total")
	f("metric names", "collector/m.go", opts("CounterOpts", `Namespace: "flowhound", Subsystem: "collector", Name: "drops_total"`), "")
	f("metric names", "collector/m.go", opts("GaugeOpts", `Name: "flowhound_collector_drops_total"`), "gauge flowhound_collector_drops_total ends in _total")
	f("metric names", "collector/m.go", opts("HistogramOpts", `Name: "flowhound_collector_flush_duration"`), "does not end in its unit")
	f("metric names", "collector/m.go", opts("GaugeOpts", `Name: "collector_queue"`), "want flowhound_")

	f("files", "docs/big.bin", strings.Repeat("x", MaxFileSize+1), "docs/big.bin: 1048577 bytes")
	f("files", "docs/run.sh", "cd "+"/wo"+"rk/main\n", "docs/run.sh:1: path of one machine: "+"/wo"+"rk/m…")
	f("files", "docs/run.sh", "x=\"/ho"+"me/jane/flowhound\"\n", "path of one machine")
	f("files", "docs/run.sh", "ls /home /root https://example.net/work/x net/work/y\n", "")

	f("links", "docs/a.md", "see [design](design.md#the-parts-2), [top](#here), [web](https://example.net/x)\n\n# Here\n", "")
	f("links", "docs/a.md", "see [design](desing.md)\n", "docs/a.md: link desing.md: no such file")
	f("links", "docs/a.md", "see [design](design.md#the-whole)\n", "no such heading")
	f("links", "docs/a.md", "see ![picture](../../x.png)\n", "leads out of the repository")
	f("links", "docs/a.md", "code `[a](b.md)`\n\n```\n[a](b.md)\n```\n", "")
}

// Nested modules and test data are not packages of ours, but their files are
// files of the tree.
func TestForeign(t *testing.T) {
	tree, err := Load(fstest.MapFS{
		"internal/tools/go.mod":        {Data: []byte("module x\n")},
		"internal/tools/t.go":          {Data: []byte("package tools\n")},
		"collector/testdata/broken.go": {Data: []byte("not Go")},
		"bin/flowhound":                {Data: []byte("x")},
		".git/config":                  {Data: []byte("x")},
		"collector/sub/.git":           {Data: []byte("x")}, // of a worktree
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(tree.Packages) != 0 || len(tree.Files) != 3 {
		t.Errorf("got %d packages and files %q, want none and 3", len(tree.Packages), tree.Files)
	}
	if _, err := Load(fstest.MapFS{"collector/broken.go": {Data: []byte("not Go")}}); err == nil {
		t.Error("a Go file that does not parse: got no error")
	}
}
