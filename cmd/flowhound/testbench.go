package main

import (
	"fmt"
	"net/netip"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/flowhound/flowhound/testbench"
	"github.com/flowhound/flowhound/testbench/exporter"
	"github.com/flowhound/flowhound/testbench/traffic"
)

func newTestbenchCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "testbench",
		Short: "generate traffic and botnets for a lab",
	}
	cmd.AddCommand(newTrafficCommand())
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

func names(protocols []exporter.Protocol) []string {
	var list []string
	for _, p := range protocols {
		list = append(list, string(p))
	}
	return list
}
