// Package testbench runs experiments with whole appliances: the demonstration,
// which hides a botnet in an ISP's traffic and looks whether it is found
// (BotCloud, François et al. 2011 §V), and the traffic for a user's own lab.
package testbench

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"time"

	"github.com/flowhound/flowhound/testbench/botnet"
	"github.com/flowhound/flowhound/testbench/exporter"
	"github.com/flowhound/flowhound/testbench/traffic"
)

// DemoTarget is the appliance that the demonstration is shown on.
type DemoTarget interface {
	// NetFlow returns the UDP address that takes NetFlow and IPFIX.
	NetFlow() netip.AddrPort
	// Received returns how many flow records it has decoded up to now. The
	// sender waits for it, so it should be no older than some milliseconds.
	Received() uint64
	// WaitEpoch returns when the newest epoch covers all flows that ended up
	// to t.
	WaitEpoch(ctx context.Context, t time.Time) error
	// Suspects returns all suspects of the newest epoch, the worst first.
	Suspects(ctx context.Context) ([]Suspect, error)
	// Pseudonym returns the printed pseudonym that it gives an address.
	Pseudonym(netip.Addr) string
}

// Suspect is a suspect as the appliance's API tells it.
type Suspect struct {
	Pseudonym  string   `json:"pseudonym"`
	Score      float64  `json:"score"`
	ClientRank float64  `json:"client_rank"` // multiple of the average
	ServerRank float64  `json:"server_rank"`
	Core       uint32   `json:"core"`
	Cluster    int      `json:"cluster"`
	Seed       bool     `json:"seed"`
	Since      string   `json:"since,omitempty"`
	Evidence   []string `json:"evidence"`
	// Bot is the truth, which the appliance does not know.
	Bot bool `json:"bot"`
}

// DemoConfig describes a demonstration; the defaults are those of
// [DefaultDemoConfig].
type DemoConfig struct {
	Hosts  int           // default 323,000, as in BotCloud's accuracy experiment
	Share  float64       // share of hosts that are bots, default 0.01
	IPv6   float64       // share of hosts with IPv6, default 0.1
	Botnet botnet.Family // default Kademlia
	Seed   uint64        // of the network, default 1
	// Rate limits the packets per second of all routers together; default
	// 20,000, about half a million flow records.
	Rate float64
	// Window is how many records may be on their way before the sender waits
	// for the receiver; default 4000, some 170 packets, which the kernel's
	// smallest usual receive buffer holds.
	Window uint64
	// Progress takes the progress bar, or lines if it is no terminal.
	Progress io.Writer
	Now      func() time.Time
}

// DefaultDemoConfig returns the demonstration that `flowhound demo` shows.
func DefaultDemoConfig() DemoConfig {
	return DemoConfig{
		Hosts: 323_000, Share: .01, IPv6: .1, Botnet: botnet.Kademlia, Seed: 1,
		Rate: 20_000, Window: 4000, Progress: io.Discard, Now: time.Now,
	}
}

// DemoResult is what a demonstration found.
type DemoResult struct {
	Hosts   int     `json:"hosts"` // that sent or received a flow
	Bots    int     `json:"bots"`
	Links   int     `json:"links"`   // directed, of the network
	Flows   uint64  `json:"flows"`   // flow records sent
	Lost    uint64  `json:"lost"`    // of these, not received
	Packets uint64  `json:"packets"` // export packets sent
	TPR     float64 `json:"tpr"`     // share of the bots that are suspects
	FPR     float64 `json:"fpr"`     // share of the other hosts that are suspects
	Seconds float64 `json:"seconds"`
	// Found says that the TPR is at least 99 % and the FPR at most 1 %.
	Found    bool      `json:"found"`
	Suspects []Suspect `json:"suspects"`
}

// Demo hides a botnet in an ISP's traffic, sends the traffic to the target as
// real NetFlow v5, v9 and IPFIX packets, waits for the epoch that covers it,
// and compares the suspects with the truth.
func Demo(ctx context.Context, c DemoConfig, target DemoTarget) (DemoResult, error) {
	begun := c.Now()
	network, err := c.network()
	if err != nil {
		return DemoResult{}, fmt.Errorf("demo: %w", err)
	}
	n, err := traffic.Generate(network, c.Seed)
	if err != nil {
		return DemoResult{}, fmt.Errorf("demo: %w", err)
	}
	src, _ := n.Links()
	r := DemoResult{Hosts: n.Config.Hosts, Bots: len(n.Bots), Links: len(src)}
	if err := r.play(ctx, c, n, target); err != nil {
		return r, fmt.Errorf("demo: %w", err)
	}
	if r.Suspects, err = target.Suspects(ctx); err != nil {
		return r, fmt.Errorf("demo: suspects: %w", err)
	}
	r.judge(n, target.Pseudonym)
	r.Seconds = c.Now().Sub(begun).Seconds()
	return r, nil
}

// leastIPv6 is the number of hosts below which all have IPv4: a tenth of fewer
// is too small a network of its own.
const leastIPv6 = 20_000

// Validate reports what no demonstration can be made of.
func (c DemoConfig) Validate() error {
	if c.Hosts < 1000 {
		return fmt.Errorf("%d hosts: want at least 1000", c.Hosts)
	}
	if !(c.Share > 0 && c.Share <= 0.5) {
		return fmt.Errorf("%v of the hosts as bots: want more than 0 and at most 0.5", c.Share)
	}
	_, err := c.network()
	return err
}

// network returns the configuration of the network that is played.
func (c DemoConfig) network() (traffic.Config, error) {
	background, err := traffic.Background("isp", c.Hosts)
	if err != nil {
		return background, err
	}
	if c.Hosts >= leastIPv6 {
		background.IPv6 = c.IPv6
	}
	background = background.Infect(c.Botnet, c.Share)
	return background, background.Validate()
}

// play sends the network's flows and waits until they are ranked.
func (r *DemoResult) play(ctx context.Context, c DemoConfig, n *traffic.Network, target DemoTarget) error {
	protocols := []exporter.Protocol{exporter.NetFlow5, exporter.NetFlow9, exporter.IPFIX}
	t, err := openRouters(target.NetFlow(), protocols, exporter.NewPace(c.Rate), c.Now)
	if err != nil {
		return err
	}
	defer func() { _ = t.close() }() // everything was sent by then
	before := target.Received()
	received := func() uint64 { return target.Received() - before }
	missing := uint64(0) // records that are taken for lost
	bar := newProgress(c.Progress, "sending NetFlow v5, v9 and IPFIX", uint64(n.NumRecords()))
	err = t.send(ctx, n, func(sent uint64) error {
		bar.at(sent)
		// Nothing for a while means that packets were lost: go on without.
		want := sent - min(sent, c.Window+missing)
		if err := awaitProgress(ctx, received, want, 100*time.Millisecond); err != nil {
			return err
		}
		if received() < want {
			missing = sent - received()
		}
		return nil
	})
	if err != nil {
		return err
	}
	r.Flows, r.Packets = t.sent, t.packets()
	if err := awaitProgress(ctx, received, t.sent, 2*time.Second); err != nil {
		return err
	}
	r.Lost = t.sent - min(t.sent, received())
	_, _ = fmt.Fprintln(c.Progress, "all flows sent, waiting for the epoch that covers them")
	if err := target.WaitEpoch(ctx, time.UnixMilli(t.lastMS)); err != nil {
		return fmt.Errorf("epoch: %w", err)
	}
	return nil
}

// awaitProgress waits until received reaches want, or does not move for the
// patience.
func awaitProgress(ctx context.Context, received func() uint64, want uint64, patience time.Duration) error {
	last, since := received(), time.Now()
	for last < want && time.Since(since) < patience {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Millisecond):
		}
		if now := received(); now != last {
			last, since = now, time.Now()
		}
	}
	return nil
}

// judge marks the suspects that are bots and counts.
func (r *DemoResult) judge(n *traffic.Network, pseudonym func(netip.Addr) string) {
	bots := make(map[string]bool, len(n.Bots))
	for _, b := range n.Bots {
		bots[pseudonym(n.Addr(b))] = true
	}
	right, wrong := 0, 0
	for i := range r.Suspects {
		if s := &r.Suspects[i]; bots[s.Pseudonym] {
			s.Bot = true
			right++
		} else {
			wrong++
		}
	}
	r.TPR = float64(right) / float64(max(1, len(bots)))
	r.FPR = float64(wrong) / float64(max(1, r.Hosts-len(bots)))
	r.Found = r.TPR >= .99 && r.FPR <= .01
}
