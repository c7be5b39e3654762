package testbench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"

	"github.com/flowhound/flowhound/testbench/botnet"
	"github.com/flowhound/flowhound/testbench/exporter"
	"github.com/flowhound/flowhound/testbench/traffic"
)

// TrafficConfig describes traffic for an appliance in a lab; the defaults are
// those of [DefaultTrafficConfig].
type TrafficConfig struct {
	Target     netip.AddrPort      // default 127.0.0.1:2055
	Background string              // one of [traffic.Names], default isp
	Hosts      int                 // default 50,000
	IPv6       float64             // share of hosts with IPv6, default 0
	Botnet     botnet.Family       // default none
	Share      float64             // share of hosts that are bots, default 0
	Seed       uint64              // default 1
	Protocols  []exporter.Protocol // one router each, default v5, v9 and IPFIX
	Rate       float64             // packets per second, default 2000
	// Rounds is how often the network is played, default 1; 0 means until
	// ctx ends.
	Rounds   int
	Progress io.Writer // takes the progress bar
}

// TrafficResult says what [Traffic] sent.
type TrafficResult struct {
	Hosts   int     `json:"hosts"`
	Bots    int     `json:"bots"`
	Flows   uint64  `json:"flows"` // flow records
	Packets uint64  `json:"packets"`
	Seconds float64 `json:"seconds"`
	// BotAddresses are the bots' addresses of the generator's plan, for
	// comparison with revealed suspects.
	BotAddresses []netip.Addr `json:"bot_addresses"`
}

// Traffic sends a network's flows to an address as export packets, in real
// time. When ctx ends it returns what was sent, without an error.
func Traffic(ctx context.Context, c TrafficConfig) (TrafficResult, error) {
	begun := time.Now()
	n, err := c.network()
	if err != nil {
		return TrafficResult{}, fmt.Errorf("traffic: %w", err)
	}
	r := TrafficResult{Hosts: n.Config.Hosts, Bots: len(n.Bots)}
	for _, b := range n.Bots {
		r.BotAddresses = append(r.BotAddresses, n.Addr(b))
	}
	t, err := openRouters(c.Target, c.Protocols, exporter.NewPace(c.Rate), time.Now)
	if err != nil {
		return r, fmt.Errorf("traffic: %w", err)
	}
	defer func() { _ = t.close() }() // everything was sent by then
	for round := 0; (c.Rounds == 0 || round < c.Rounds) && err == nil; round++ {
		bar := newProgress(c.Progress, fmt.Sprintf("round %d", round+1), uint64(n.NumRecords()))
		before := t.sent
		err = t.send(ctx, n, func(sent uint64) error {
			bar.at(sent - before)
			return ctx.Err()
		})
	}
	r.Flows, r.Packets, r.Seconds = t.sent, t.packets(), time.Since(begun).Seconds()
	if err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		return r, fmt.Errorf("traffic: %w", err)
	}
	return r, nil
}

// DefaultTrafficConfig returns clean isp traffic to this machine, once.
func DefaultTrafficConfig() TrafficConfig {
	return TrafficConfig{
		Target:     netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 2055),
		Background: "isp", Hosts: 50_000, Seed: 1,
		Protocols: []exporter.Protocol{exporter.NetFlow5, exporter.NetFlow9, exporter.IPFIX},
		Rate:      2000, Rounds: 1, Progress: io.Discard,
	}
}

func (c TrafficConfig) network() (*traffic.Network, error) {
	b, err := traffic.Background(c.Background, c.Hosts)
	if err != nil {
		return nil, err
	}
	b.IPv6 = c.IPv6
	if c.Botnet != "" {
		b = b.Infect(c.Botnet, c.Share)
	}
	return traffic.Generate(b, c.Seed)
}
