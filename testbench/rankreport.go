package testbench

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"

	"github.com/flowhound/flowhound/detector/graph"
)

// Machine is where figures were measured.
type Machine struct {
	CPU   string `json:"cpu"`
	Cores int    `json:"cores"`
	Go    string `json:"go"`
}

// RankResult is what was measured: medians, in seconds of the clock unless
// their name says CPU.
type RankResult struct {
	Machine Machine `json:"machine"`
	Hosts   uint64  `json:"hosts"`
	Links   uint64  `json:"links"`

	// Both ranks in one superstep, with float32 shares; with those from seeds in
	// the same superstep; with float64 shares; and one rank of the plain baseline.
	SuperstepSeconds       float64 `json:"superstep_seconds"`
	SuperstepSeededSeconds float64 `json:"superstep_seeded_seconds"`
	SuperstepDoubleSeconds float64 `json:"superstep_double_seconds"`
	BaselineSeconds        float64 `json:"baseline_superstep_seconds"`

	// The most that the process ever held, per directed link and per host: graph,
	// a view and an epoch for readers, the next ones and their scratch, and the
	// generator. RankedBytes is without seeds, contrast, verdict and what readers
	// have of them; and the store alone.
	ResidentBytes     uint64  `json:"resident_bytes"`
	BytesPerLink      float64 `json:"bytes_per_link"`
	BytesPerHost      float64 `json:"bytes_per_host"`
	RankedBytes       uint64  `json:"ranked_bytes"`
	StoreBytesPerLink float64 `json:"store_bytes_per_link"`

	ApplyContactsPerCPU float64 `json:"apply_contacts_per_cpu_s"`
	BuildContactsPerCPU float64 `json:"build_contacts_per_cpu_s"`
	BuildCPUSeconds     float64 `json:"build_cpu_seconds"`

	FreezeSeconds      float64 `json:"freeze_seconds"`
	FreezeAfterSeconds float64 `json:"freeze_after_1pct_seconds"`
	FreezeFraction     float64 `json:"freeze_fraction_after_1pct"`

	EpochSupersteps   int     `json:"epoch_supersteps"`
	EpochSeconds      float64 `json:"epoch_seconds"`
	EpochAfterSeconds float64 `json:"epoch_after_1pct_seconds"`
	EpochFraction     float64 `json:"epoch_fraction_after_1pct"`
	// From the frozen view to the verdict: ranks with and without seeds, the
	// undirected rank, contrast and clusters.
	JudgeSeconds float64 `json:"judge_seconds"`

	SnapshotBytes  int64   `json:"snapshot_bytes"`
	SnapshotMBPerS float64 `json:"snapshot_mb_per_s"`
	RestoreMBPerS  float64 `json:"restore_mb_per_s"`
	// Reading the snapshot and entering the contacts of one slice, without the
	// log's part.
	RestoreReplaySeconds float64 `json:"restore_replay_seconds"`
}

// resident fills in the memory that the process has needed up to now.
func (r *RankResult) resident(s graph.Stats) {
	r.ResidentBytes = peakMemory()
	r.BytesPerLink = float64(r.ResidentBytes) / float64(s.Links)
	r.BytesPerHost = float64(r.ResidentBytes) / float64(s.Hosts)
}

// peakMemory returns the most bytes that the process ever had in memory.
func peakMemory() uint64 {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		panic("BUG: getrusage: " + err.Error())
	}
	return uint64(u.Maxrss) << 10
}

// paperLinks is the size from which the figures of seconds and bytes are
// targets.
const paperLinks = 57_000_000

// WriteTable writes the figures beside their targets, for a person.
func (r RankResult) WriteTable(w io.Writer) error {
	var b strings.Builder
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	row := func(what, value, target string, met bool) {
		_, _ = fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", what, value, target, map[bool]string{true: "yes", false: "no"}[met])
	}
	show := func(what, value string) { _, _ = fmt.Fprintf(t, "%s\t%s\t\t\n", what, value) }
	_, _ = fmt.Fprintln(t, "WHAT\tVALUE\tTARGET\tMET")
	full := r.Links >= paperLinks
	superstep := fmt.Sprintf("%.4f s", r.SuperstepSeconds)
	if full {
		row("both ranks, one superstep", superstep, "≤ 0.30 s", r.SuperstepSeconds <= 0.30)
	} else {
		show("both ranks, one superstep", superstep)
	}
	row("… against one rank of a plain CSR", fmt.Sprintf("%.2f× of %.4f s", r.SuperstepSeconds/r.BaselineSeconds, r.BaselineSeconds),
		"≤ 1.0×", r.SuperstepSeconds <= r.BaselineSeconds)
	show("… with both ranks from seeds too", fmt.Sprintf("%.4f s", r.SuperstepSeededSeconds))
	show("… with float64 shares", fmt.Sprintf("%.4f s", r.SuperstepDoubleSeconds))
	memory := fmt.Sprintf("%.2f GB, %.0f a link, %.0f a host", float64(r.ResidentBytes)/1e9, r.BytesPerLink, r.BytesPerHost)
	if full {
		row("memory, all included, at its peak", memory, "≤ 6 GB", r.ResidentBytes <= 6e9)
	} else {
		show("memory, all included, at its peak", memory)
	}
	show("… without contrast and verdict", fmt.Sprintf("%.2f GB", float64(r.RankedBytes)/1e9))
	show("… of the store alone", fmt.Sprintf("%.1f a link", r.StoreBytesPerLink))
	row("apply contacts, steady state", fmt.Sprintf("%.2f M/CPU-s", r.ApplyContactsPerCPU/1e6), "≥ 3 M/CPU-s", r.ApplyContactsPerCPU >= 3e6)
	show("… all of them new", fmt.Sprintf("%.2f M/CPU-s", r.BuildContactsPerCPU/1e6))
	row("freeze after 1 % change", fmt.Sprintf("%.1f %% of %.3f s", 100*r.FreezeFraction, r.FreezeSeconds), "≤ 10 %", r.FreezeFraction <= 0.10)
	row("epoch after 1 % change", fmt.Sprintf("%.1f %% of %.2f s", 100*r.EpochFraction, r.EpochSeconds), "≤ 15 %", r.EpochFraction <= 0.15)
	show("whole epoch, from frozen view to verdict", fmt.Sprintf("%.1f s", r.JudgeSeconds))
	row("snapshot", fmt.Sprintf("%.0f MB/s, %.0f MB", r.SnapshotMBPerS, float64(r.SnapshotBytes)/1e6), "≥ 300 MB/s", r.SnapshotMBPerS >= 300)
	row("restore", fmt.Sprintf("%.0f MB/s", r.RestoreMBPerS), "≥ 300 MB/s", r.RestoreMBPerS >= 300)
	replay := fmt.Sprintf("%.2f s", r.RestoreReplaySeconds)
	if full {
		row("… and replay of one slice", replay, "≤ 30 s", r.RestoreReplaySeconds <= 30)
	} else {
		show("… and replay of one slice", replay)
	}
	_ = t.Flush() // a strings.Builder takes everything
	_, _ = fmt.Fprintf(&b, "\n%d hosts, %d links; %s, %d cores, %s; medians\n", r.Hosts, r.Links, r.Machine.CPU, r.Machine.Cores, r.Machine.Go)
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("testbench rank: write result: %w", err)
	}
	return nil
}

// memoryBytes returns the machine's memory.
func memoryBytes() uint64 {
	var s unix.Sysinfo_t
	if err := unix.Sysinfo(&s); err != nil {
		panic("BUG: sysinfo: " + err.Error())
	}
	return uint64(s.Totalram) * uint64(s.Unit)
}

// processCPU returns the CPU time of this process, the collector's of garbage
// included.
func processCPU() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		panic("BUG: getrusage: " + err.Error())
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func thisMachine() Machine {
	m := Machine{CPU: "unknown CPU", Cores: runtime.GOMAXPROCS(0), Go: runtime.Version()}
	file, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return m
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if name, value, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(name) == "model name" {
			m.CPU = strings.TrimSpace(value)
			break
		}
	}
	return m
}
