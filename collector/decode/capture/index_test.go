package capture_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"
	"testing"

	"github.com/flowhound/flowhound/collector/decode/capture"
)

// want is a line of a table of INDEX.md: what a group of files holds, as
// counted by goflow2's decoder and by an independent walker.
type want struct {
	source, group               string
	packets                     uint64
	templates, optionsTemplates uint64
	records, options            uint64
	flows, counters, others     uint64
	files                       []string
}

// sources are the folders of INDEX.md's headings.
var sources = map[string]string{
	"logstash-codec-netflow": "logstash-codec-netflow/spec/codecs",
	"fluent-plugin-netflow":  "fluent-plugin-netflow/test/dump",
	"telegraf":               "telegraf/plugins/inputs/netflow/testcases",
	"ipfixcol2":              "ipfixcol2/doc/data/ipfix",
	"tcpdump":                "tcpdump/tests",
}

// capturesDir returns the folder of real captures, which is no part of the
// repository.
func capturesDir(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("FLOWHOUND_SHARED")
	if dir == "" {
		dir = "../../../../shared"
	}
	dir = filepath.Join(dir, "captures")
	if _, err := os.Stat(filepath.Join(dir, "INDEX.md")); err != nil {
		t.Skipf("no captures: set FLOWHOUND_SHARED to the folder that holds captures/INDEX.md (%v)", err)
	}
	return dir
}

// index parses the tables of INDEX.md and finds the files of each group.
func index(t *testing.T) []want {
	t.Helper()
	dir := capturesDir(t)
	b, err := os.ReadFile(filepath.Join(dir, "INDEX.md"))
	if err != nil {
		t.Fatal(err)
	}
	var wants []want
	source := ""
	for line := range strings.Lines(string(b)) {
		if name, ok := strings.CutPrefix(line, "## "); ok {
			source = strings.TrimSpace(name)
			continue
		}
		cells := strings.Split(line, "|")
		if sources[source] == "" || len(cells) < 9 || strings.HasPrefix(line, "|---") || strings.TrimSpace(cells[1]) == "group" {
			continue
		}
		w := want{source: source, group: strings.TrimSpace(cells[1])}
		for _, n := range numbers(cells[3], `(?:IPFIX|v5|v9|sFlow) (\d+)`) {
			w.packets += n
		}
		w.templates, w.optionsTemplates = pair(cells[4])
		w.records = numbers(cells[5], `(\d+)`)[0]
		w.options = numbers(cells[6], `(\d+)`)[0]
		if n := numbers(cells[7], `(\d+)`); len(n) >= 2 {
			w.flows, w.counters = n[0], n[1]
			if len(n) == 3 {
				w.others = n[2]
			}
		}
		w.files = groupFiles(t, filepath.Join(dir, sources[source]), w)
		wants = append(wants, w)
	}
	if len(wants) != 64 {
		t.Fatalf("INDEX.md: %d groups, want 64", len(wants))
	}
	return wants
}

func numbers(cell, pattern string) (ns []uint64) {
	for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(cell, -1) {
		n, _ := strconv.ParseUint(m[1], 10, 64)
		ns = append(ns, n)
	}
	return ns
}

func pair(cell string) (a, b uint64) {
	n := numbers(cell, `(\d+)`)
	return n[0], n[1]
}

// groupFiles returns the files of a group in the order that INDEX.md gives.
func groupFiles(t *testing.T, dir string, w want) []string {
	t.Helper()
	var files []string
	switch w.source {
	case "telegraf":
		files, _ = filepath.Glob(filepath.Join(dir, w.group, "*"))
	case "fluent-plugin-netflow":
		files, _ = filepath.Glob(filepath.Join(dir, "*"))
	case "logstash-codec-netflow":
		all, _ := filepath.Glob(filepath.Join(dir, "*"))
		for _, f := range all {
			name := strings.TrimSuffix(filepath.Base(f), ".dat")
			if m := regexp.MustCompile(`^(.*?)_(opttpl|tpl|data|dpi)`).FindStringSubmatch(name); m != nil {
				name = m[1]
			}
			// INDEX.md says that one group's file has another name.
			if name == "netflow9_cisco_asr1001x" {
				name = "netflow9_test_cisco_asr1001x"
			}
			if name == w.group {
				files = append(files, f)
			}
		}
	default:
		files = []string{filepath.Join(dir, w.group)}
	}
	if len(files) == 0 {
		t.Fatalf("%s %s: no files", w.source, w.group)
	}
	sort.SliceStable(files, func(i, j int) bool { return rank(files[i]) < rank(files[j]) })
	return files
}

// rank orders the files of a group: templates first.
func rank(file string) int {
	name := filepath.Base(file)
	has := func(s string) bool { return strings.Contains(name, s) }
	switch {
	case has("opttpl") || has("sampler_template"):
		return 0
	case has("tpl") && !has("tpldata"), has("template") && !has("data"):
		return 1
	case strings.HasSuffix(name, "sampler.dump"):
		return 2
	}
	return 3
}

func (w *want) check(t *testing.T, counts []capture.Count) {
	t.Helper()
	var sum capture.Count
	var errors []string
	for _, c := range counts {
		sum.Packets += c.Packets
		sum.Records += c.Records
		sum.Options += c.Options
		sum.Templates += c.Templates
		sum.OptionsTemplates += c.OptionsTemplates
		sum.FlowSamples += c.FlowSamples
		sum.CounterSamples += c.CounterSamples
		sum.OtherSamples += c.OtherSamples
		if len(c.Errors) > 0 {
			errors = append(errors, fmt.Sprint(filepath.Base(c.File), c.Errors))
		}
	}
	got := fmt.Sprintf("packets %d records %d options %d templates %d/%d samples %d/%d/%d", sum.Packets, sum.Records,
		sum.Options, sum.Templates, sum.OptionsTemplates, sum.FlowSamples, sum.CounterSamples, sum.OtherSamples)
	expect := fmt.Sprintf("packets %d records %d options %d templates %d/%d samples %d/%d/%d", w.packets, w.records+w.flows,
		w.options, w.templates, w.optionsTemplates, w.flows, w.counters, w.others)
	if got != expect {
		t.Errorf("%s %s:\n got %s\nwant %s\nerrors %v", w.source, w.group, got, expect, errors)
	} else if len(errors) > 0 {
		t.Logf("%s %s: errors %v", w.source, w.group, errors)
	}
}

// TestIndex decodes each group in the order that INDEX.md gives.
func TestIndex(t *testing.T) {
	for _, w := range index(t) {
		counts, err := capture.Decode(w.files, nil)
		if err != nil {
			t.Errorf("%s: %v", w.group, err)
			continue
		}
		w.check(t, counts)
	}
}

// TestIndexGlob decodes each group in the order of a shell's glob, which
// gives data before templates: the sums must not change.
func TestIndexGlob(t *testing.T) {
	for _, w := range index(t) {
		files := slices.Sorted(slices.Values(w.files))
		counts, err := capture.Decode(files, nil)
		if err != nil {
			t.Errorf("%s: %v", w.group, err)
			continue
		}
		w.check(t, counts)
	}
}

// TestIndexAtOnce decodes all files of all groups in one call.
func TestIndexAtOnce(t *testing.T) {
	wants := index(t)
	var files []string
	for _, w := range wants {
		files = append(files, w.files...)
	}
	slices.Sort(files)
	counts, err := capture.Decode(files, nil)
	if err != nil {
		t.Fatal(err)
	}
	byFile := make(map[string]capture.Count)
	for _, c := range counts {
		byFile[c.File] = c
	}
	for _, w := range wants {
		var own []capture.Count
		for _, f := range w.files {
			own = append(own, byFile[f])
		}
		w.check(t, own)
	}
}
