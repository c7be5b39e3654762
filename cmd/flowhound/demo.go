package main

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/flowhound/flowhound/collector/pseudonym"
	"github.com/flowhound/flowhound/internal/app"
	"github.com/flowhound/flowhound/internal/flow"
	"github.com/flowhound/flowhound/testbench"
	"github.com/flowhound/flowhound/testbench/botnet"
)

func newDemoCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "watch the appliance find a botnet in an ISP's traffic, on loopback",
		Long: `Starts the appliance of flowhound run on free loopback ports with state in a
temporary directory, hides a Kademlia botnet on 1 % of an ISP's hosts, sends the
traffic to it as NetFlow v5, v9 and IPFIX packets over UDP, waits for the epoch and
compares the suspects with the truth.

Exit status 0 means found: at least 99 % of the bots are suspects and at most 1 %
of the other hosts.`,
		Example: "  flowhound demo\n  flowhound demo --hosts 323000\n  flowhound demo --output json | jq '.tpr, .fpr'",
		Args:    cobra.NoArgs,
	}
	c := testbench.DefaultDemoConfig()
	cmd.Flags().IntVar(&c.Hosts, "hosts", c.Hosts, "`number` of hosts in the ISP's traffic")
	cmd.Flags().Float64Var(&c.Share, "bots", c.Share, "`share` of the hosts that are bots")
	cmd.Flags().StringVar((*string)(&c.Botnet), "botnet", string(c.Botnet), "overlay of the bots: `"+strings.Join(overlays(), "|")+"`")
	_ = cmd.RegisterFlagCompletionFunc("botnet", cobra.FixedCompletions(overlays(), cobra.ShellCompDirectiveNoFileComp))
	cmd.Flags().Uint64Var(&c.Seed, "seed", c.Seed, "`number` that the network is drawn from")
	output := addOutputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		ctx, cancel := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
		defer cancel()
		c.Progress = cmd.ErrOrStderr()
		if err := c.Validate(); err != nil {
			return fmt.Errorf("demo: %w", err)
		}
		result, err := runDemo(ctx, c)
		if err != nil {
			return err
		}
		if *output == outputJSON {
			err = result.WriteJSON(cmd.OutOrStdout())
		} else {
			err = result.WriteTable(cmd.OutOrStdout())
		}
		if err == nil && !result.Found {
			err = errVerdict
		}
		return err
	}
	return cmd
}

// overlays lists the botnets' names.
func overlays() []string {
	var list []string
	for _, f := range botnet.Families {
		list = append(list, string(f))
	}
	return list
}

// runDemo runs the demonstration on an appliance of its own.
func runDemo(ctx context.Context, c testbench.DemoConfig) (result testbench.DemoResult, err error) {
	dir, err := os.MkdirTemp("", "flowhound-demo-")
	if err != nil {
		return result, fmt.Errorf("demo: %w", err)
	}
	defer os.RemoveAll(dir)
	cfg := demoAppliance(dir)
	a, err := app.New(cfg, app.All, app.Deps{Logger: app.NewLogger(c.Progress, cfg.Logging)})
	if err != nil {
		return result, fmt.Errorf("demo: %w", err)
	}
	stop, err := a.Background(ctx)
	if err != nil {
		return result, fmt.Errorf("demo: %w", err)
	}
	defer func() {
		if stopErr := stop(); err == nil && stopErr != nil {
			err = fmt.Errorf("demo: %w", stopErr)
		}
	}()
	target, err := newDemoTarget(a, cfg)
	if err != nil {
		return result, fmt.Errorf("demo: %w", err)
	}
	fmt.Fprintf(c.Progress, "the appliance listens for NetFlow on %s, status page http://%s/\n", target.NetFlow(), a.HTTPAddress())
	return testbench.Demo(ctx, c, target)
}

// demoAppliance returns the configuration of run with free loopback ports, and
// with slices of seconds instead of minutes: nobody waits five minutes for a
// demonstration.
func demoAppliance(dir string) app.Config {
	cfg := app.DefaultConfig()
	cfg.StateDir = dir
	cfg.Slice, cfg.Window = 5*time.Second, time.Hour
	cfg.HTTP.Listen = "127.0.0.1:0"
	cfg.Logging.Level = app.Quiet
	cfg.Collector.Listen = []string{"127.0.0.1:0"}
	cfg.Collector.Flush, cfg.Collector.Grace = 500*time.Millisecond, 500*time.Millisecond
	return cfg
}

// demoTarget is the appliance as the demonstration sees it: its ports, its
// counters and its API, and the key that the truth is compared with.
type demoTarget struct {
	app      *app.App
	slice    time.Duration
	netflow  netip.AddrPort
	permuter *pseudonym.Permuter
	client   *client
}

func newDemoTarget(a *app.App, cfg app.Config) (*demoTarget, error) {
	listening := a.Collector().Listening()
	if len(listening) == 0 {
		return nil, fmt.Errorf("the collector does not listen")
	}
	netflow, err := netip.ParseAddrPort(listening[0])
	if err != nil {
		return nil, err
	}
	keys, err := pseudonym.ReadKeyFile(app.KeyFileIn(cfg.StateDir))
	if err != nil {
		return nil, err
	}
	permuter, err := keys.Permuter(keys.Newest())
	if err != nil {
		return nil, err
	}
	return &demoTarget{app: a, slice: cfg.Slice, netflow: netflow, permuter: permuter, client: newClient(a.HTTPAddress())}, nil
}

// NetFlow implements [testbench.DemoTarget].
func (t *demoTarget) NetFlow() netip.AddrPort { return t.netflow }

// Received implements [testbench.DemoTarget].
func (t *demoTarget) Received() uint64 { return t.app.Collector().Status().Records }

// WaitEpoch implements [testbench.DemoTarget].
func (t *demoTarget) WaitEpoch(ctx context.Context, last time.Time) error {
	// Records that arrived after their slice had ended count into the one that
	// was open then, which is not later than now's.
	now := time.Now()
	if now.After(last) {
		last = now
	}
	want := flow.SliceOf(last.UnixMilli(), t.slice.Milliseconds())
	poll := time.NewTicker(50 * time.Millisecond)
	defer poll.Stop()
	for {
		if e := t.app.Detector().Status().Epoch; e != nil && e.Slice >= want {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-poll.C:
		}
	}
}

// Suspects implements [testbench.DemoTarget].
func (t *demoTarget) Suspects(ctx context.Context) ([]testbench.Suspect, error) {
	var answer struct {
		Suspects []testbench.Suspect `json:"suspects"`
	}
	err := t.client.get(ctx, "/api/v1/suspects?top=1000000", &answer)
	return answer.Suspects, err
}

// Pseudonym implements [testbench.DemoTarget].
func (t *demoTarget) Pseudonym(a netip.Addr) string {
	return t.permuter.Host(flow.AddrFrom(a)).Pseudonym.Text(t.permuter.Generation())
}
