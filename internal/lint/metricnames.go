package lint

import (
	"fmt"
	"go/ast"
	"regexp"
	"strconv"
	"strings"
)

// metricKinds are the option structs and constructors of client_golang whose
// metrics have a name by kind.
var metricKinds = map[string]string{
	"CounterOpts": "counter", "GaugeOpts": "gauge", "HistogramOpts": "histogram",
	"NewCounterFunc": "counter", "NewGaugeFunc": "gauge",
}

var (
	metricName    = regexp.MustCompile(`^flowhound_[a-z][a-z0-9]*(_[a-z0-9]+)+$`)
	histogramName = regexp.MustCompile(`_(seconds|bytes|ratio|records|contacts|hosts|links|supersteps|packets)$`)
)

// MetricNames checks the names that stand as literals in prometheus.XOpts{Name:
// …}. Names that are put together are checked on the live registry, by
// internal/metric.Check.
func MetricNames(t *Tree) []string {
	var bad []string
	for _, p := range t.Packages {
		for _, f := range p.code() {
			ast.Inspect(f.AST, func(n ast.Node) bool {
				if lit, ok := n.(*ast.CompositeLit); ok {
					if fault := t.metricFault(lit); fault != "" {
						bad = append(bad, fault)
					}
				}
				return true
			})
		}
	}
	return bad
}

func (t *Tree) metricFault(lit *ast.CompositeLit) string {
	sel, ok := lit.Type.(*ast.SelectorExpr)
	if !ok || metricKinds[sel.Sel.Name] == "" {
		return ""
	}
	kind, name := metricKinds[sel.Sel.Name], literalField(lit, "Name")
	if name == "" {
		return ""
	}
	for _, part := range []string{"Subsystem", "Namespace"} {
		if s := literalField(lit, part); s != "" {
			name = s + "_" + name
		}
	}
	total := strings.HasSuffix(name, "_total")
	switch {
	case !metricName.MatchString(name):
		return fmt.Sprintf("%s: metric %s, want flowhound_<component>_<what>", t.at(lit), name)
	case kind == "counter" && !total:
		return fmt.Sprintf("%s: counter %s does not end in _total", t.at(lit), name)
	case kind != "counter" && total:
		return fmt.Sprintf("%s: %s %s ends in _total", t.at(lit), kind, name)
	case kind == "histogram" && !histogramName.MatchString(name):
		return fmt.Sprintf("%s: histogram %s does not end in its unit", t.at(lit), name)
	}
	return ""
}

// literalField returns the string literal of a field, "" if it is none.
func literalField(lit *ast.CompositeLit, field string) string {
	for _, e := range lit.Elts {
		kv, ok := e.(*ast.KeyValueExpr)
		if !ok {
			continue
		}
		if k, ok := kv.Key.(*ast.Ident); !ok || k.Name != field {
			continue
		}
		if v, ok := kv.Value.(*ast.BasicLit); ok {
			s, _ := strconv.Unquote(v.Value)
			return s
		}
	}
	return ""
}
