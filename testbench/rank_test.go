package testbench

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"testing"
)

// A tiny run fills in every figure that a program may ask for (issue's list).
func TestRankShape(t *testing.T) {
	c := DefaultRankConfig()
	c.Hosts, c.Links, c.Repetitions, c.Dir = 2000, 7200, 1, t.TempDir()
	var said bytes.Buffer
	c.Progress = &said
	r, err := Rank(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	if r.Links < 7200 || r.Links > 8600 || r.Hosts < 1800 || r.Hosts > 2200 {
		t.Errorf("got %d links of %d hosts, want about 7200 of 2000", r.Links, r.Hosts)
	}
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var figures map[string]any
	if err := json.Unmarshal(text, &figures); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{
		"superstep_seconds", "baseline_superstep_seconds", "resident_bytes", "bytes_per_link", "bytes_per_host",
		"apply_contacts_per_cpu_s", "freeze_fraction_after_1pct", "epoch_fraction_after_1pct", "snapshot_mb_per_s", "restore_mb_per_s",
		"restore_replay_seconds",
	} {
		if x, ok := figures[name].(float64); !ok || x <= 0 {
			t.Errorf("%s: got %v, want a positive number", name, figures[name])
		}
	}
	var table bytes.Buffer
	if err := r.WriteTable(&table); err != nil || strings.Contains(table.String(), "NaN") || !strings.Contains(table.String(), "≥ 300 MB/s") {
		t.Errorf("table: %v\n%s", err, table.String())
	}
	if !strings.Contains(said.String(), "links") {
		t.Errorf("progress: got %q", said.String())
	}
}

func TestRankRefuses(t *testing.T) {
	f := func(hosts, links, repetitions int) {
		t.Helper()
		c := DefaultRankConfig()
		c.Hosts, c.Links, c.Repetitions = hosts, links, repetitions
		if _, err := Rank(context.Background(), c); err == nil {
			t.Errorf("%d hosts, %d links, %d repetitions: got no error", hosts, links, repetitions)
		}
	}
	f(99, 1000, 1)
	f(1000, 999, 1)
	f(1000, 2000, 0)
	f(1000, 1<<40, 1) // more memory than any machine has
	if err := (RankConfig{Links: 57_000_000}).fits(9e9); err != nil {
		t.Errorf("the paper's size in 9 GB: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Rank(ctx, DefaultRankConfig()); err == nil {
		t.Error("cancelled: got no error")
	}
}

// The generator's hosts look random: pseudonyms differ and every shard has its
// part.
func TestGeneratorScrambles(t *testing.T) {
	g := generator{hosts: 1 << 14, seed: 1}
	seen := map[[16]byte]bool{}
	var perShard [256]int
	for x := range uint64(1 << 14) {
		h := g.host(x)
		seen[h.Pseudonym] = true
		perShard[h.Shard]++
	}
	if len(seen) != 1<<14 {
		t.Errorf("got %d pseudonyms of %d hosts", len(seen), 1<<14)
	}
	for s, n := range perShard {
		if n < 20 || n > 120 { // 64 expected, 8 the standard deviation
			t.Errorf("shard %d: got %d hosts, want about 64", s, n)
		}
	}
}
