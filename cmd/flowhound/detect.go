package main

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"github.com/flowhound/flowhound/detector"
	"github.com/flowhound/flowhound/detector/graph"
	"github.com/flowhound/flowhound/detector/verdict"
)

func newDetectCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "detect --edges FILE",
		Short: "score every host of an edge list, the most suspicious first",
		Long: `Judges the hosts of an edge list as the detector judges an epoch, and prints

  id  score  client_rank  server_rank  core  cluster  suspect

tab-separated, the highest score first. Ranks are multiples of the average; core is
the number of peers that the host's group keeps; cluster numbers the suspects'
connected groups, 0 for hosts that are no suspects.`,
		Example: "  flowhound detect --edges links.txt --top 20\n  flowhound detect --edges links.txt --seeds honeypot.txt",
		Args:    onlyFlags,
	}
	f := addGraphFlags(cmd)
	top := cmd.Flags().Int("top", 0, "print only the first `N` hosts; 0 means all")
	cfg := detector.DefaultConfig()
	cmd.Flags().Float64Var(&cfg.Verdict.Threshold, "threshold", cfg.Verdict.Threshold, "least contrast of a suspect")
	output := addOutputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if *top < 0 {
			return fmt.Errorf("--top %d: want 0 or more", *top)
		}
		if err := cfg.Validate(); err != nil {
			return err
		}
		g, err := f.load(cmd)
		if err != nil {
			return err
		}
		result, err := detector.Judge(g.view, g.seeds, cfg)
		if err != nil {
			return err
		}
		return printDetected(cmd.OutOrStdout(), g, result, *top, *output)
	}
	return cmd
}

// detectedHost is a line of detect.
type detectedHost struct {
	ID         uint64   `json:"id"`
	Score      float64  `json:"score"`
	ClientRank float64  `json:"client_rank"`
	ServerRank float64  `json:"server_rank"`
	Core       uint16   `json:"core"`
	Cluster    int      `json:"cluster"`
	Suspect    bool     `json:"suspect"`
	Evidence   []string `json:"evidence,omitempty"`
}

func printDetected(w io.Writer, g *loadedGraph, r detector.Judgement, top int, output outputFormat) error {
	n := g.view.Len()
	suspects := make(map[graph.Vertex]verdict.Suspect, len(r.Verdict.Suspects))
	for _, s := range r.Verdict.Suspects {
		suspects[s.Vertex] = s
	}
	order := make([]graph.Vertex, n)
	for i := range order {
		order[i] = graph.Vertex(i)
	}
	slices.SortStableFunc(order, func(a, b graph.Vertex) int {
		return cmp.Compare(r.Verdict.Scores[b], r.Verdict.Scores[a])
	})
	if top > 0 && top < n {
		order = order[:top]
	}
	out := bufio.NewWriterSize(w, 1<<16)
	for _, v := range order {
		s, suspect := suspects[v]
		h := detectedHost{
			ID: g.ids[v], Score: r.Verdict.Scores[v], ClientRank: r.Client[v] * float64(n), ServerRank: r.Server[v] * float64(n),
			Core: r.Contrast.Core[v], Cluster: s.Cluster, Suspect: suspect, Evidence: s.Evidence,
		}
		if output == outputJSON {
			if err := printJSONLine(out, h); err != nil {
				return err
			}
			continue
		}
		if _, err := fmt.Fprintf(out, "%d\t%s\t%s\t%s\t%d\t%d\t%t\n", h.ID, exact(h.Score), exact(h.ClientRank), exact(h.ServerRank), h.Core, h.Cluster, h.Suspect); err != nil {
			return err
		}
	}
	return out.Flush()
}
