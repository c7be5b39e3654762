package main

import (
	"fmt"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/flowhound/flowhound/internal/app"
	"github.com/flowhound/flowhound/testbench"
	"github.com/flowhound/flowhound/testbench/exporter"
	"github.com/flowhound/flowhound/testbench/load"
	"github.com/flowhound/flowhound/testbench/traffic"
)

func newTestbenchCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "testbench",
		Short: "generate traffic and botnets for a lab, and measure",
	}
	cmd.AddCommand(newTrafficCommand(), newRankBenchCommand(), newGrowthCommand(), newConvertCommand(), newLoadCommand(), newReceiveCommand())
	return cmd
}

func newTrafficCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "traffic",
		Short: "send an ISP's traffic, with or without a botnet, as export packets",
		Long: `Draws an ISP's traffic and sends its flows in real time as NetFlow v5, v9, IPFIX
or sFlow, each protocol from a router of its own. On loopback the routers have the
addresses 127.0.0.2 and up.`,
		Example: "  flowhound testbench traffic --botnet kademlia --bots 0.01\n  flowhound testbench traffic --target 127.0.0.1:6343 --protocols sflow --rounds 0",
		Args:    cobra.NoArgs,
	}
	c := testbench.DefaultTrafficConfig()
	target := cmd.Flags().String("target", c.Target.String(), "`address` of the collector, host:port")
	protocols := cmd.Flags().StringSlice("protocols", names(c.Protocols), "`list` of "+strings.Join(names(exporter.Protocols), ", "))
	cmd.Flags().StringVar(&c.Background, "background", c.Background, "`"+strings.Join(traffic.Names, "|")+"`")
	cmd.Flags().IntVar(&c.Hosts, "hosts", c.Hosts, "`number` of hosts")
	cmd.Flags().Float64Var(&c.IPv6, "ipv6", c.IPv6, "`share` of hosts with IPv6")
	cmd.Flags().StringVar((*string)(&c.Botnet), "botnet", "", "`overlay` of a hidden botnet, such as kademlia")
	cmd.Flags().Float64Var(&c.Share, "bots", 0.01, "`share` of the hosts that are bots, with --botnet")
	cmd.Flags().Uint64Var(&c.Seed, "seed", c.Seed, "`number` that the network is drawn from")
	cmd.Flags().Float64Var(&c.Rate, "rate", c.Rate, "`packets` per second, all routers together")
	cmd.Flags().IntVar(&c.Rounds, "rounds", c.Rounds, "play the traffic `N` times; 0 means until Ctrl-C")
	output := addOutputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		var err error
		if c.Target, err = netip.ParseAddrPort(*target); err != nil {
			return fmt.Errorf("--target: %w", err)
		}
		c.Protocols = nil
		for _, p := range *protocols {
			c.Protocols = append(c.Protocols, exporter.Protocol(p))
		}
		ctx, cancel := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
		defer cancel()
		c.Progress = cmd.ErrOrStderr()
		r, err := testbench.Traffic(ctx, c)
		if err != nil {
			return err
		}
		if *output == outputJSON {
			return printJSON(cmd.OutOrStdout(), r)
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "%d flow records in %d packets about %d hosts, %d of them bots, in %.1f s\n", r.Flows, r.Packets, r.Hosts, r.Bots, r.Seconds)
		return err
	}
	return cmd
}

func newLoadCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "collector",
		Short: "measure the collector beside nfcapd, nfacctd and goflow2",
		Long: `Measures what the collector does per second of CPU time, never of the wall:
decoding alone; receiving, decoding and collecting into contacts; the whole way
into the embedded log. The same traffic goes to each peer that is installed, and
each figure stands beside its target. Takes two minutes; everything happens on
loopback and in a temporary directory.

As root the receive queues can be made as large as the measurement wants, and
--peers can install what is missing.`,
		Example: "  flowhound testbench collector --peers\n  flowhound testbench collector --loss=60s --restart --sources 1000000 --output json",
		Args:    cobra.NoArgs,
	}
	c := load.DefaultConfig()
	cmd.Flags().IntVar(&c.Repetitions, "repetitions", c.Repetitions, "`number` of times that each figure is measured; the median counts")
	cmd.Flags().IntVar(&c.Packets, "packets", c.Packets, "`number` of packets of one repetition")
	cmd.Flags().IntVar(&c.Hosts, "hosts", c.Hosts, "`number` of hosts in the ISP's traffic")
	cmd.Flags().BoolVar(&c.Peers, "peers", false, "install the peers that are missing: nfdump and pmacct by apt-get, goflow2 by go install")
	cmd.Flags().DurationVar(&c.Loss, "loss", 0, "`duration` of a stream to a collector on one core, which shall lose nothing")
	cmd.Flags().Lookup("loss").NoOptDefVal = "60s"
	cmd.Flags().Float64Var(&c.LossRate, "loss-rate", c.LossRate, "`packets` per second of that stream")
	cmd.Flags().BoolVar(&c.Restart, "restart", false, "restart a collector under 20,000 packets/s")
	cmd.Flags().IntVar(&c.Sources, "sources", 0, "`number` of forged sources that send templates and bombs")
	cmd.Flags().StringVar(&c.Profiles, "profiles", "", "`directory` to write CPU profiles to")
	cmd.Flags().StringVar(&c.Dir, "dir", "", "`directory` for the receivers' files, instead of the temporary one")
	output := addOutputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		self, err := os.Executable()
		if err != nil {
			return fmt.Errorf("testbench collector: %w", err)
		}
		c.Self = []string{self, "testbench", "receive"}
		c.Progress = cmd.ErrOrStderr()
		ctx, cancel := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
		defer cancel()
		r, err := load.Run(ctx, c)
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

// newReceiveCommand is the collector that testbench collector measures, in a
// process of its own as its peers are.
func newReceiveCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "receive ADDRESS DIRECTORY",
		Short:  "collector and log, until SIGTERM",
		Hidden: true,
		Args:   cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			files, err := app.ActivatedSockets()
			if err != nil {
				return err
			}
			ctx, cancel := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
			defer cancel()
			saveMemory(app.CollectorOnly)
			return load.Receive(ctx, args[0], args[1], files, cmd.OutOrStdout())
		},
	}
}

func names(protocols []exporter.Protocol) []string {
	var list []string
	for _, p := range protocols {
		list = append(list, string(p))
	}
	return list
}
