package lint

import (
	"fmt"
	"slices"
	"strings"
)

// floors is the table of docs/design.md: a package imports only packages of
// lower floors.
var floors = [][]string{
	0: {
		"internal/flow", "internal/huge", "internal/prefetch", "internal/parallel", "internal/config", "internal/lifecycle", "internal/metric", "internal/lint", "internal/peer",
		"collector/listen", "collector/session", "collector/template/lru", "collector/template",
	},
	1: {
		"collector/decode/packet", "collector/decode", "collector/pseudonym", "collector/contact", "collector/kafka",
		"detector/graph", "detector/graph/edgelist",
		"federation/ring", "federation/wire",
		"testbench/botnet", "testbench/traffic", "testbench/exporter", "testbench/roc",
	},
	2: {
		"collector/decode/capture",
		"detector/rank", "detector/core", "detector/mutual", "detector/chain", "detector/cluster", "detector/snapshot",
	},
	3: {"detector/verdict", "federation/feed", "federation/exchange"},
	4: {"collector", "detector", "federation"},
	5: {"internal/app"},
	6: {"testbench", "testbench/load"},
	7: {"cmd/flowhound", "systemd", "grafana"},
}

// beside are the imports within a floor, each with its reason.
var beside = map[string]string{
	"collector/template → collector/template/lru": "the store that the cache is made of",
	"collector/decode → collector/decode/packet":  "the formats' constants and fixed structures",
	"detector/graph/edgelist → detector/graph":    "reads files into a graph's view",
	"testbench/traffic → testbench/botnet":        "plants a botnet in the traffic",
}

// outsiders says which packages alone may import a module, so that replacing
// it, or its next flaw, is a matter of one place.
var outsiders = map[string][]string{
	"github.com/netsampler/goflow2":       {"collector/decode"},
	"github.com/nats-io":                  {"federation/feed"},
	"github.com/goccy/go-yaml":            {"internal/config"},
	"github.com/coreos/go-systemd":        {"internal/lifecycle"},
	"github.com/VictoriaMetrics":          {"collector"},
	"github.com/twmb":                     {"collector/kafka"},
	"github.com/spf13":                    {"cmd/flowhound"},
	"github.com/schollz/progressbar":      {"cmd/flowhound", "testbench"},
	"google.golang.org/grpc":              {"federation", "federation/exchange", "federation/wire"},
	"google.golang.org/protobuf":          {"collector/kafka", "federation", "federation/exchange", "federation/wire"},
	"github.com/prometheus/client_golang": {"internal/metric", "internal/app", "collector", "detector", "federation", "federation/feed", "testbench", "testbench/load"},
	"github.com/prometheus/client_model":  {"internal/metric"},
}

// floorOf returns the floor of the package in dir, -1 if it has none.
func floorOf(dir string) int {
	return slices.IndexFunc(floors, func(f []string) bool { return slices.Contains(f, dir) })
}

// Floors checks that every package has a floor and imports only lower ones,
// and that outside modules are imported where they belong.
func Floors(t *Tree) []string {
	var bad []string
	for _, p := range t.Packages {
		from := floorOf(p.Dir)
		if from < 0 {
			bad = append(bad, fmt.Sprintf("%s has no floor: give it one in internal/lint and docs/design.md", p.Dir))
			continue
		}
		for _, i := range p.imports() {
			if fault := importFault(p.Dir, from, i); fault != "" {
				bad = append(bad, fault)
			}
		}
	}
	return bad
}

func importFault(dir string, from int, imported string) string {
	if own, ok := strings.CutPrefix(imported, Module+"/"); ok {
		to := floorOf(own)
		if to < from || beside[dir+" → "+own] != "" {
			return "" // a package without a floor is reported once, as itself
		}
		return fmt.Sprintf("%s (floor %d) imports %s (floor %d)", dir, from, own, to)
	}
	for module, homes := range outsiders {
		if (imported == module || strings.HasPrefix(imported, module+"/")) && !slices.Contains(homes, dir) {
			return fmt.Sprintf("%s imports %s, which belongs to %s", dir, imported, strings.Join(homes, ", "))
		}
	}
	return ""
}
