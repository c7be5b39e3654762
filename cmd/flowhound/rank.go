package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/flowhound/flowhound/detector/graph"
	"github.com/flowhound/flowhound/detector/graph/edgelist"
	"github.com/flowhound/flowhound/detector/rank"
)

// graphFlags are what every command over an edge list takes; convert has no
// seeds.
type graphFlags struct {
	edges      string
	seeds      string
	undirected bool
	skipBad    bool
}

func addEdgeFlags(cmd *cobra.Command) *graphFlags {
	f := new(graphFlags)
	cmd.Flags().StringVar(&f.edges, "edges", "", "edge list `file`, - for standard input (required)")
	cmd.Flags().BoolVar(&f.undirected, "undirected", false, "each line stands for both directions")
	cmd.Flags().BoolVar(&f.skipBad, "skip-bad", false, "count lines that are no link instead of stopping at the first")
	_ = cmd.MarkFlagRequired("edges")
	return f
}

func addGraphFlags(cmd *cobra.Command) *graphFlags {
	f := addEdgeFlags(cmd)
	cmd.Flags().StringVar(&f.seeds, "seeds", "", "`file` of known bots, one id a line")
	return f
}

// onlyFlags refuses arguments: who names a file without --edges means that.
func onlyFlags(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("%s takes no argument %q: the edge list is --edges FILE", cmd.Name(), args[0])
	}
	return nil
}

// loadedGraph is an edge list in memory: ids[v] is the id of vertex v.
type loadedGraph struct {
	view  *graph.View
	ids   []uint64
	seeds []graph.Vertex
}

// load reads the edge list and the seeds, with a progress bar on a terminal.
func (f *graphFlags) load(cmd *cobra.Command) (*loadedGraph, error) {
	seeds, err := f.readSeeds() // first: it is short, and may be mistyped
	if err != nil {
		return nil, err
	}
	in, size, err := openEdges(cmd, f.edges)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	progress, done := byteBar(cmd.ErrOrStderr(), size, "reading links")
	view, ids, stats, err := edgelist.Read(in, f.edges, edgelist.Options{
		Undirected: f.undirected, SkipBad: f.skipBad, Progress: progress,
	})
	done()
	if err != nil {
		return nil, err
	}
	f.tell(cmd.ErrOrStderr(), stats, len(ids))
	g := &loadedGraph{view: view, ids: ids}
	if f.seeds != "" {
		g.seeds, err = f.find(cmd.ErrOrStderr(), seeds, ids)
	}
	return g, err
}

// tell says what of the edge list did not become a link.
func (f *graphFlags) tell(w io.Writer, s edgelist.Stats, hosts int) {
	if s.Bad+s.SelfLinks+s.Duplicates > 0 {
		fmt.Fprintf(w, "%s: %d lines: %d bad ones skipped, %d links of a host to itself dropped, %d links told again\n",
			f.edges, s.Lines, s.Bad, s.SelfLinks, s.Duplicates)
	}
	if hosts == 0 {
		fmt.Fprintf(w, "%s: there is no host in it\n", f.edges)
	}
}

func openEdges(cmd *cobra.Command, path string) (io.ReadCloser, int64, error) {
	if path == "-" {
		return io.NopCloser(cmd.InOrStdin()), -1, nil
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, 0, fmt.Errorf("edge list: %w", err)
	}
	size := int64(-1)
	if info, err := file.Stat(); err == nil && info.Mode().IsRegular() {
		size = info.Size()
	}
	return file, size, nil
}

// readSeeds reads the ids of --seeds, if it is set.
func (f *graphFlags) readSeeds() ([]uint64, error) {
	if f.seeds == "" {
		return nil, nil
	}
	file, err := os.Open(f.seeds)
	if err != nil {
		return nil, fmt.Errorf("seeds: %w", err)
	}
	defer file.Close()
	return edgelist.ReadSeeds(file, f.seeds)
}

// find returns the seeds that are in the graph, and says how many are not: a
// honeypot's list always names some that nobody else talked to.
func (f *graphFlags) find(w io.Writer, seeds, ids []uint64) ([]graph.Vertex, error) {
	found, missing := edgelist.Vertices(ids, seeds)
	if len(found) == 0 {
		return nil, fmt.Errorf("%s: none of its %d seeds is in the edge list", f.seeds, len(seeds))
	}
	if missing > 0 {
		fmt.Fprintf(w, "%s: %d seeds are in no link and were left out\n", f.seeds, missing)
	}
	return found, nil
}

// byteBar returns a callback that shows how much of size bytes (-1 unknown)
// was read, and what ends the bar. It draws on a terminal only.
func byteBar(w io.Writer, size int64, what string) (progress func(int64), done func()) {
	file, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(file.Fd())) {
		return nil, func() {}
	}
	bar := progressbar.NewOptions64(size, progressbar.OptionSetDescription(what), progressbar.OptionShowBytes(true),
		progressbar.OptionSetWriter(w), progressbar.OptionClearOnFinish(), progressbar.OptionThrottle(100_000_000))
	return func(n int64) { _ = bar.Set64(n) }, func() { _ = bar.Finish() }
}

func newRankCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rank --edges FILE",
		Short: "client and server rank of every host of an edge list",
		Long: `Ranks the hosts of an edge list with the engine of the detector. A line is
"src dst", separated by blanks, tabs or a comma; ids are numbers up to 2^64-1. A
third column, a weight, is not used; lines that begin with # or % are comments.
Or it is in the binary form that testbench convert writes.

  server rank   score flows from a host to those that it contacts (PageRank)
  client rank   score flows from a host to those that contact it

Prints "id client_rank server_rank", tab-separated, at full precision. Each column
sums to 1. BotCloud (François et al. 2011), equations 2 and 3.`,
		Example: `  flowhound rank --edges links.txt --order rank | head
  flowhound rank --edges links.txt --damping 0.85 --iterations 14`,
		Args: onlyFlags,
	}
	f := addGraphFlags(cmd)
	p := rank.DefaultParams()
	cmd.Flags().Float64Var(&p.Damping, "damping", p.Damping, "`d`: the share of a rank that follows links")
	cmd.Flags().IntVar(&p.Iterations, "iterations", 0, "exactly `N` supersteps instead of a tolerance")
	cmd.Flags().Float64Var(&p.Tolerance, "tolerance", p.Tolerance, "stop when the ranks' L1 change in a superstep is at most `E`")
	lambda := cmd.Flags().Float64("lambda", 1, "with --seeds: the `share` of W that the seeds get")
	cmd.Flags().BoolVar(&p.DanglingW, "dangling-w", false, "with --seeds: the rank of hosts without a link to carry it follows W instead of being uniform")
	order := cmd.Flags().String("order", "id", "`id|rank`: ascending id, or descending server rank")
	verify := cmd.Flags().Bool("verify", false, "compare with the definition, computed slowly in float64, and fail if ranks differ")
	output := addOutputFlag(cmd)
	cmd.MarkFlagsMutuallyExclusive("iterations", "tolerance")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if *order != "id" && *order != "rank" {
			return fmt.Errorf("--order %q: want id or rank", *order)
		}
		if cmd.Flags().Changed("iterations") && p.Iterations < 1 {
			return fmt.Errorf("--iterations %d: want at least 1", p.Iterations)
		}
		p.Weights, p.Undirected = []rank.Weight{{Lambda: *lambda}}, f.undirected
		if err := p.Validate(); err != nil {
			return err
		}
		g, err := f.load(cmd)
		if err != nil {
			return err
		}
		p.Weights[0].Seeds = g.seeds
		results, err := rank.Run(g.view, p)
		if err == nil && *verify {
			err = verifyRanks(cmd.ErrOrStderr(), results[0], rank.Reference(g.view, p)[0], p)
		}
		if err != nil {
			return err
		}
		return printRanks(cmd.OutOrStdout(), g, results[0], *order == "rank", *output)
	}
	return cmd
}

// verifyRanks says how far ranks are from those of the definition. What stops
// by tolerance is within tolerance·d/(1-d) of the exact ranks in L1, on both
// sides; what else may differ is rounding.
func verifyRanks(w io.Writer, got, want rank.Result, p rank.Params) error {
	most := 1e-12
	if p.Iterations == 0 {
		most += 2 * p.Tolerance * p.Damping / (1 - p.Damping)
	}
	d := rank.Distance(got, want)
	if !(d <= most) {
		return fmt.Errorf("ranks differ from the definition by %.2g in L1, at most %.2g is right", d, most)
	}
	_, err := fmt.Fprintf(w, "verified: ranks differ from the definition by %.2g in L1, %.2g may be\n", d, most)
	return err
}

func printRanks(w io.Writer, g *loadedGraph, r rank.Result, byRank bool, output outputFormat) error {
	vertices := make([]int, g.view.Len())
	for i := range vertices {
		vertices[i] = i
	}
	if byRank {
		slices.SortStableFunc(vertices, func(a, b int) int {
			switch {
			case r.Server[a] > r.Server[b]:
				return -1
			case r.Server[a] < r.Server[b]:
				return 1
			}
			return 0
		})
	}
	out := bufio.NewWriterSize(w, 1<<16)
	var line []byte
	for _, v := range vertices {
		line = line[:0]
		if output == outputJSON {
			line = fmt.Appendf(line, `{"id":%d,"client_rank":%s,"server_rank":%s}`, g.ids[v], exact(r.Client[v]), exact(r.Server[v]))
		} else {
			line = strconv.AppendUint(line, g.ids[v], 10)
			line = append(append(line, '\t'), exact(r.Client[v])...)
			line = append(append(line, '\t'), exact(r.Server[v])...)
		}
		if _, err := out.Write(append(line, '\n')); err != nil {
			return err
		}
	}
	return out.Flush()
}

// exact prints the shortest number that reads back as the same float64.
func exact(x float64) string { return strconv.FormatFloat(x, 'g', -1, 64) }
