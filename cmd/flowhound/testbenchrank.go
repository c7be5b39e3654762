package main

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/flowhound/flowhound/testbench"
)

func newRankBenchCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rank",
		Short: "measure the graph and its ranks at a given size",
		Long: `Draws the network of an ISP with scrambled ids, builds its graph from contacts as
the log delivers them, and measures the detector's work on it: supersteps beside
a plain compressed-row PageRank in the same run, memory, contacts per CPU-second,
freeze and epoch after 1 % of the links changed, snapshot and restore. Each
figure stands beside its target. The default takes half a minute, the paper's
operator (16,000,000 hosts, 57,000,000 links) some minutes and 6 GB.`,
		Example: "  flowhound testbench rank\n  flowhound testbench rank --hosts 16000000 --links 57000000 --output json",
		Args:    cobra.NoArgs,
	}
	c := testbench.DefaultRankConfig()
	cmd.Flags().IntVar(&c.Hosts, "hosts", c.Hosts, "`number` of hosts")
	cmd.Flags().IntVar(&c.Links, "links", c.Links, "`number` of directed links")
	cmd.Flags().Uint64Var(&c.Seed, "seed", c.Seed, "`number` that the network is drawn from")
	cmd.Flags().IntVar(&c.Repetitions, "repetitions", c.Repetitions, "`number` of times that each figure is measured; the median counts")
	cmd.Flags().StringVar(&c.Dir, "dir", "", "`directory` for the snapshot, instead of the temporary one")
	output := addOutputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		ctx, cancel := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
		defer cancel()
		c.Progress = cmd.ErrOrStderr()
		r, err := testbench.Rank(ctx, c)
		if err != nil {
			return err
		}
		if *output == outputJSON {
			return printJSON(cmd.OutOrStdout(), r)
		}
		return r.WriteTable(cmd.OutOrStdout())
	}
	return cmd
}

func newGrowthCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "growth",
		Short: "measure how time and memory grow with the graph",
		Long: `Runs testbench rank at each size, in a process of its own, with as many hosts a
link as the paper's operator had, and writes a table, and a plot if asked. The
default sizes take some minutes and 6 GB.`,
		Example: "  flowhound testbench growth --links 100000,1000000 --plot growth.svg",
		Args:    cobra.NoArgs,
	}
	c := testbench.DefaultGrowthConfig()
	cmd.Flags().IntSliceVar(&c.Links, "links", c.Links, "`numbers` of directed links")
	plot := cmd.Flags().String("plot", "", "`file` for a plot in SVG")
	output := addOutputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		ctx, cancel := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
		defer cancel()
		self, err := os.Executable()
		if err != nil {
			return fmt.Errorf("testbench growth: %w", err)
		}
		c.Self, c.Progress = []string{self, "testbench", "rank"}, cmd.ErrOrStderr()
		var file *os.File
		if *plot != "" { // before minutes are spent on what cannot be written
			if file, err = os.Create(*plot); err != nil {
				return fmt.Errorf("testbench growth: %w", err)
			}
			defer file.Close()
		}
		results, err := testbench.Growth(ctx, c)
		if err != nil {
			return err
		}
		if file != nil {
			if err := errors.Join(testbench.WriteGrowthPlot(file, results), file.Close()); err != nil {
				return err
			}
		}
		if *output == outputJSON {
			return printJSON(cmd.OutOrStdout(), results)
		}
		return testbench.WriteGrowthTable(cmd.OutOrStdout(), results)
	}
	return cmd
}
