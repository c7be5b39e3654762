package testbench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"text/tabwriter"
)

// GrowthConfig describes a measurement of how cost grows with a graph.
type GrowthConfig struct {
	Links []int    // sizes, ascending
	Self  []string // command that measures one size, up to --hosts and --links: the program's own testbench rank
	// Progress is told what the measurements say of themselves.
	Progress io.Writer
}

// DefaultGrowthConfig returns the paper's range as far as 6 GB of memory go.
func DefaultGrowthConfig() GrowthConfig {
	return GrowthConfig{Links: []int{100_000, 1_000_000, 3_600_000, 14_000_000, 57_000_000}, Progress: io.Discard}
}

// Growth measures each size in a process of its own, so that its peak of
// memory is its own too. All have as many hosts a link as the paper's operator.
func Growth(ctx context.Context, c GrowthConfig) ([]RankResult, error) {
	if len(c.Self) == 0 || len(c.Links) == 0 {
		return nil, errors.New("testbench growth: want a command and sizes")
	}
	var results []RankResult
	for _, links := range c.Links {
		hosts := int(int64(links) * 16 / 57)
		args := append(c.Self[1:len(c.Self):len(c.Self)], "--output", "json",
			"--hosts", fmt.Sprint(hosts), "--links", fmt.Sprint(links))
		cmd := exec.CommandContext(ctx, c.Self[0], args...)
		cmd.Stderr = c.Progress
		text, err := cmd.Output()
		if err != nil {
			return results, fmt.Errorf("testbench growth: %d links: %w", links, err)
		}
		var r RankResult
		if err := json.Unmarshal(text, &r); err != nil {
			return results, fmt.Errorf("testbench growth: %d links: %w", links, err)
		}
		results = append(results, r)
	}
	return results, nil
}

// WriteGrowthTable writes a row for each size.
func WriteGrowthTable(w io.Writer, results []RankResult) error {
	var b strings.Builder
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	_, _ = fmt.Fprintln(t, "LINKS\tHOSTS\tBUILD CPU-S\tFREEZE S\tEPOCH S\tSUPERSTEP S\tPEAK MB\tBYTES A LINK\tOF THE STORE\t")
	for _, r := range results {
		_, _ = fmt.Fprintf(t, "%d\t%d\t%.2f\t%.3f\t%.3f\t%.4f\t%.0f\t%.0f\t%.1f\t\n", r.Links, r.Hosts, r.BuildCPUSeconds,
			r.FreezeSeconds, r.EpochSeconds, r.SuperstepSeconds, float64(r.ResidentBytes)/1e6, r.BytesPerLink, r.StoreBytesPerLink)
	}
	_ = t.Flush() // a strings.Builder takes everything
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("testbench growth: write result: %w", err)
	}
	return nil
}

// WriteGrowthPlot draws time and memory over links, all axes logarithmic, as
// SVG: what grows linearly is parallel to the dotted line.
func WriteGrowthPlot(w io.Writer, results []RankResult) error {
	time := panel{title: "seconds", curves: []curve{
		{"build, CPU time", func(r RankResult) float64 { return r.BuildCPUSeconds }},
		{"cold epoch", func(r RankResult) float64 { return r.EpochSeconds }},
		{"freeze from nothing", func(r RankResult) float64 { return r.FreezeSeconds }},
		{"superstep, both ranks", func(r RankResult) float64 { return r.SuperstepSeconds }},
	}}
	memory := panel{title: "bytes", curves: []curve{
		{"resident, at its peak", func(r RankResult) float64 { return float64(r.ResidentBytes) }},
		{"of the store", func(r RankResult) float64 { return r.StoreBytesPerLink * float64(r.Links) }},
	}}
	const width, height = 860, 420
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">`+"\n", width, height)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="#fff"/>`+"\n", width, height)
	time.draw(&b, results, 55, 40, 330, 310)
	memory.draw(&b, results, 490, 40, 330, 310)
	b.WriteString("</svg>\n")
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("testbench growth: write plot: %w", err)
	}
	return nil
}
