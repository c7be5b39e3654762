package metric

import (
	"fmt"
	"regexp"
	"strings"
)

var (
	nameForm = regexp.MustCompile(`^flowhound_[a-z][a-z0-9]*(_[a-z0-9]+)+$`)

	// Base units only (prometheus.io/docs/practices/naming).
	scaledUnit = regexp.MustCompile(`_(ms|milliseconds|microseconds|us|nanoseconds|ns|minutes|hours|days|kb|kib|mb|mib|gb|gib|kilobytes|megabytes|gigabytes|bits|percent)(_|$)`)

	// What a histogram may measure, its last word.
	histogramUnit = regexp.MustCompile(`_(seconds|bytes|ratio|records|contacts|hosts|links|supersteps|packets)$`)

	// Labels that would carry addresses or numbers without bound.
	unbounded = regexp.MustCompile(`^(ip|addr|address|src|dst|source|destination|port|domain|template|template_id|client|user|seq|sequence|slice|epoch|generation)$`)
)

// Check returns what the names, kinds, labels and help texts of metrics break
// of the house rules: nothing when all is well.
func Check(metrics []Metric) []string {
	var bad []string
	for _, m := range metrics {
		for _, fault := range faults(m) {
			bad = append(bad, m.Name+": "+fault)
		}
	}
	return bad
}

func faults(m Metric) []string {
	var bad []string
	add := func(broken bool, format string, args ...any) {
		if broken {
			bad = append(bad, fmt.Sprintf(format, args...))
		}
	}
	total := strings.HasSuffix(m.Name, "_total")
	base := strings.TrimSuffix(m.Name, "_total")
	add(!nameForm.MatchString(m.Name), "want flowhound_<component>_<what>, lower case")
	add(m.Kind == "counter" && !total, "a counter ends in _total")
	add(m.Kind != "counter" && total, "only a counter ends in _total, this is a %s", m.Kind)
	add(m.Kind == "histogram" && !histogramUnit.MatchString(m.Name), "a histogram ends in its unit")
	add(m.Kind == "summary" || m.Kind == "untyped", "kind %s cannot be aggregated", m.Kind)
	add(scaledUnit.MatchString(m.Name), "unit is not a base unit such as seconds, bytes, ratio")
	for _, suffix := range []string{"_count", "_sum", "_bucket"} {
		add(strings.HasSuffix(base, suffix) && m.Kind != "gauge", "%s belongs to histograms' series", suffix)
	}
	for _, l := range m.Labels {
		add(unbounded.MatchString(l), "label %q has no bound", l)
	}
	help := strings.TrimSpace(m.Help)
	add(help == "" || !strings.HasSuffix(help, ".") || strings.ContainsAny(help, "\n\t"), "help is not a sentence with a period: %q", m.Help)
	add(help != "" && (help[0] < 'A' || help[0] > 'Z'), "help does not start with a capital letter: %q", m.Help)
	return bad
}
