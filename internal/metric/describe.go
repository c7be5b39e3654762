package metric

import (
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// Metric is what a reader of /metrics has to know about one metric.
type Metric struct {
	Name   string
	Kind   string   // counter, gauge, histogram, summary or untyped
	Labels []string // variable ones, then constant ones
	Help   string
	// Empty is true when no series was there to tell the kind, which then is
	// what the name says.
	Empty bool
}

// descText is how client_golang prints a descriptor, which shows its parts no
// other way.
var descText = regexp.MustCompile(`^Desc\{fqName: ("(?:[^"\\]|\\.)*"), help: ("(?:[^"\\]|\\.)*"), unit: "(?:[^"\\]|\\.)*", constLabels: \{(.*)\}, variableLabels: \{(.*)\}\}$`)

var labelName = regexp.MustCompile(`([a-zA-Z_][a-zA-Z0-9_]*)="(?:[^"\\]|\\.)*"`)

// Describe returns the metrics of c, which may be a whole registry, sorted by
// name. Those of the Go runtime and the process are left out.
func Describe(c prometheus.Collector) ([]Metric, error) {
	byName := map[string]*Metric{}
	for _, d := range descriptors(c) {
		m, err := parse(d)
		if err != nil {
			return nil, err
		}
		if strings.HasPrefix(m.Name, "go_") || strings.HasPrefix(m.Name, "process_") {
			continue
		}
		byName[m.Name] = &m
	}
	if err := kinds(c, byName); err != nil {
		return nil, err
	}
	var list []Metric
	for _, m := range byName {
		list = append(list, *m)
	}
	slices.SortFunc(list, func(a, b Metric) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}

func descriptors(c prometheus.Collector) []*prometheus.Desc {
	ch := make(chan *prometheus.Desc)
	go func() { c.Describe(ch); close(ch) }()
	var list []*prometheus.Desc
	for d := range ch {
		list = append(list, d)
	}
	return list
}

func parse(d *prometheus.Desc) (Metric, error) {
	if err := d.Err(); err != nil {
		return Metric{}, fmt.Errorf("metric: %w", err)
	}
	parts := descText.FindStringSubmatch(d.String())
	if parts == nil {
		return Metric{}, fmt.Errorf("metric: descriptor in an unknown form: %s", d)
	}
	name, err := strconv.Unquote(parts[1])
	if err != nil {
		return Metric{}, fmt.Errorf("metric %s: %w", parts[1], err)
	}
	help, err := strconv.Unquote(parts[2])
	if err != nil {
		return Metric{}, fmt.Errorf("metric %s: %w", name, err)
	}
	m := Metric{Name: name, Help: help, Kind: "gauge", Empty: true}
	if strings.HasSuffix(name, "_total") {
		m.Kind = "counter"
	}
	if parts[4] != "" {
		m.Labels = strings.Split(parts[4], ",")
	}
	for _, l := range labelName.FindAllStringSubmatch(parts[3], -1) {
		m.Labels = append(m.Labels, l[1])
	}
	return m, nil
}

// kinds sets the kind of each metric that has a series.
func kinds(c prometheus.Collector, byName map[string]*Metric) error {
	ch := make(chan prometheus.Metric)
	go func() { c.Collect(ch); close(ch) }()
	var failure error
	for series := range ch { // to the end, or the collector would hang
		var d dto.Metric
		if err := series.Write(&d); err != nil {
			failure = fmt.Errorf("metric: %w", err)
			continue
		}
		described, err := parse(series.Desc())
		if err != nil {
			failure = err
			continue
		}
		if m := byName[described.Name]; m != nil {
			m.Kind, m.Empty = kindOf(&d), false
		}
	}
	return failure
}

func kindOf(d *dto.Metric) string {
	switch {
	case d.Counter != nil:
		return "counter"
	case d.Gauge != nil:
		return "gauge"
	case d.Histogram != nil:
		return "histogram"
	case d.Summary != nil:
		return "summary"
	}
	return "untyped"
}

// Markdown writes docs/metrics.md: one table per component.
func Markdown(w io.Writer, metrics []Metric) error {
	var b strings.Builder
	b.WriteString("# Metrics\n\n" +
		"Every metric that FlowHound serves under `/metrics`; this page is generated from the source by `make generate`.\n\n" +
		"```sh\ncurl -s http://127.0.0.1:8470/metrics | grep ^flowhound_\n```\n\n" +
		"Label values are bounded: no label ever holds an address. Those of the Go runtime (`go_…`) and the process (`process_…`) come on top.\n")
	last := ""
	for _, m := range metrics {
		if c := component(m.Name); c != last {
			last = c
			fmt.Fprintf(&b, "\n## %s\n\n| metric | type | labels | meaning |\n| --- | --- | --- | --- |\n", c)
		}
		labels := ""
		if len(m.Labels) > 0 {
			labels = "`" + strings.Join(m.Labels, "`, `") + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", m.Name, m.Kind, labels, strings.ReplaceAll(m.Help, "|", `\|`))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// component returns the second word of a metric's name.
func component(name string) string {
	word, _, _ := strings.Cut(strings.TrimPrefix(name, Prefix), "_")
	return word
}
