// Package traffic draws what an ISP's routers see in a day: subscribers who
// call servers, file-sharing swarms, scanners, transit, and a botnet's overlay
// among them, after detection notes §3.0. A [Network] gives directed links for
// graph experiments, and flow records for everything that starts at packets.
// It is a pure function of a configuration and a seed.
package traffic

import (
	"fmt"
	"math"

	"github.com/flowhound/flowhound/testbench/botnet"
)

// Pareto is a bounded Pareto distribution of whole numbers ≥ Min.
type Pareto struct {
	Min   float64
	Alpha float64
	Max   float64 // 0 means unbounded
}

// Config describes a network. The numbers of hosts, links, scanners and swarms
// scale together when [Background] makes it for another number of hosts.
type Config struct {
	Hosts    int     // hosts of all kinds, default 323,000
	Internal float64 // share of hosts that are the ISP's subscribers, default 0.05

	// Links is the number of directed links that are drawn, replies
	// included, before duplicates are merged; default 1.15 M. Scans and
	// swarms come on top of it.
	Links    int
	Reply    float64 // share of calls that are answered, default 0.9
	Activity Pareto  // calls of one subscriber, default Pareto{3, 1.2, 20,000}

	Servers    float64 // share of externals that are servers, default 0.10
	ServerZipf float64 // popularity of the r-th server ∝ r^-ServerZipf, default 1.0
	LongTail   float64 // share of subscribers' calls that go to any external, default 0.15

	Inbound         float64 // share of Links from externals to internal servers, default 0.06
	InternalServers float64 // share of subscribers that are servers, default 0.003
	InternalZipf    float64 // their popularity's exponent, default 0.9
	Transit         float64 // share of Links between two externals, default 0.05

	Scanners  int     // external scanners, default 60
	Scan      Pareto  // hosts that one scanner probes, default Pareto{60, 1.0, 0}
	ScanReply float64 // share of probes that are answered, default 0.1

	P2P           float64 // share of subscribers that share files, default 0.04
	Swarms        int     // swarms they choose from, default 200
	Swarm         Pareto  // members of a swarm, default Pareto{60, 1.1, 8,000}
	SwarmInternal float64 // share of members that are subscribers, default 0.05
	MaxSwarms     int     // a sharer joins 1 … MaxSwarms swarms, default 4
	SwarmContacts Pareto  // its contacts in all of them, default Pareto{40, 1.3, 1,500}
	SwarmIncoming float64 // share of those that call it, default 0.5

	// IPv6 is the share of hosts that make up a second, smaller network of
	// their own, with its own servers, swarms and overlay: an IPv6 host can
	// talk to IPv6 hosts only, and BitTorrent's DHT keeps the two families
	// apart as well (BEP 32). Default 0; below 1000 hosts either side is an
	// error.
	IPv6 float64

	// Flows is the most flows that one call makes; each makes 1 … Flows with
	// equal chances. Default 3, which makes about as many records as the
	// 2.1 M of BotCloud's subset.
	Flows int

	// Botnet's bots are drawn uniformly from all hosts, Bots of them; empty
	// or 0 bots mean a clean network.
	Botnet      botnet.Family
	Bots        int
	BotnetReply float64 // share of overlay links that are answered, default 0.9
}

// Names lists the backgrounds that [Background] knows.
var Names = []string{"isp", "nop2p", "uni", "p2pheavy", "flat"}

// referenceHosts is BotCloud's accuracy subset (François et al. 2011 §V), for
// which the defaults are given.
const referenceHosts = 323_000

// Background returns the named background of the detection notes, scaled to a
// number of hosts and without a botnet: isp is the reference, nop2p has no
// file sharing, uni sees few replies, in p2pheavy 15 % of the subscribers
// share files, and flat has more subscribers of more equal activity.
func Background(name string, hosts int) (Config, error) {
	scale := float64(hosts) / referenceHosts
	c := Config{
		Hosts: hosts, Internal: .05,
		Links: int(1.15e6 * scale), Reply: .9, Activity: Pareto{3, 1.2, 20_000},
		Servers: .10, ServerZipf: 1.0, LongTail: .15,
		Inbound: .06, InternalServers: .003, InternalZipf: .9, Transit: .05,
		Scanners: int(math.Ceil(60 * scale)), Scan: Pareto{60, 1.0, 0}, ScanReply: .1,
		P2P: .04, Swarms: int(math.Ceil(200 * scale)), Swarm: Pareto{60, 1.1, 8_000},
		SwarmInternal: .05, MaxSwarms: 4, SwarmContacts: Pareto{40, 1.3, 1_500}, SwarmIncoming: .5,
		Flows: 3, BotnetReply: .9,
	}
	switch name {
	case "isp":
	case "nop2p":
		c.P2P = 0
	case "uni":
		c.Reply = .15
	case "p2pheavy":
		c.P2P = .15
	case "flat":
		c.Internal, c.ServerZipf, c.Activity.Alpha = .30, .7, 2.0
		c.LongTail, c.P2P, c.Transit = .30, .02, .30
	default:
		return Config{}, fmt.Errorf("background %q: unknown, want one of %q", name, Names)
	}
	return c, c.Validate()
}

// Infect returns c with a botnet of the family on a share of the hosts.
func (c Config) Infect(f botnet.Family, share float64) Config {
	c.Botnet, c.Bots = f, int(math.Round(share*float64(c.Hosts)))
	return c
}

// What the address plan of [Network.Addr] can hold.
const (
	maxHosts       = 1 << 24
	maxSubscribers = 1 << 22
)

// Validate returns an error for the first field that cannot be drawn from.
func (c Config) Validate() error {
	if c.Hosts < 1000 || c.Hosts > maxHosts {
		return fmt.Errorf("traffic: hosts: %d, want 1000 … %d", c.Hosts, maxHosts)
	}
	if v6 := c.ipv6Hosts(); v6 != 0 && (v6 < 1000 || c.Hosts-v6 < 1000) {
		return fmt.Errorf("traffic: ipv6: %v of %d hosts, want 0, or at least 1000 of each family", c.IPv6, c.Hosts)
	}
	for _, f := range []struct {
		name string
		v    float64
	}{
		{"internal", c.Internal}, {"reply", c.Reply}, {"servers", c.Servers}, {"long tail", c.LongTail},
		{"inbound", c.Inbound}, {"internal servers", c.InternalServers}, {"transit", c.Transit},
		{"scan reply", c.ScanReply}, {"p2p", c.P2P}, {"swarm internal", c.SwarmInternal},
		{"swarm incoming", c.SwarmIncoming}, {"botnet reply", c.BotnetReply}, {"ipv6", c.IPv6},
	} {
		if !(f.v >= 0 && f.v <= 1) {
			return fmt.Errorf("traffic: %s: %v, want a share of 0 … 1", f.name, f.v)
		}
	}
	for _, p := range []struct {
		name string
		v    Pareto
	}{{"activity", c.Activity}, {"scan", c.Scan}, {"swarm", c.Swarm}, {"swarm contacts", c.SwarmContacts}} {
		if !(p.v.Min >= 1 && p.v.Alpha > 0 && (p.v.Max == 0 || p.v.Max >= p.v.Min)) {
			return fmt.Errorf("traffic: %s: %+v, want min ≥ 1, alpha > 0, max 0 or ≥ min", p.name, p.v)
		}
	}
	if c.Internal*float64(c.Hosts) > maxSubscribers || c.Flows < 1 {
		return fmt.Errorf("traffic: %.0f subscribers, %d flows: want at most %d, at least 1",
			c.Internal*float64(c.Hosts), c.Flows, maxSubscribers)
	}
	if c.Internal == 0 || c.Internal > .9 || c.Servers == 0 {
		return fmt.Errorf("traffic: internal %v, servers %v: want internal in (0, 0.9], servers > 0", c.Internal, c.Servers)
	}
	if c.Links < 0 || c.Scanners < 0 || c.Swarms < 0 || c.MaxSwarms < 0 || c.Bots < 0 || c.Bots > c.Hosts {
		return fmt.Errorf("traffic: links %d, scanners %d, swarms %d, max swarms %d, bots %d: negative, or more bots than hosts",
			c.Links, c.Scanners, c.Swarms, c.MaxSwarms, c.Bots)
	}
	return nil
}

func (c Config) ipv6Hosts() int { return int(math.Round(c.IPv6 * float64(c.Hosts))) }

// family returns the part of c that one address family's hosts make up.
func (c Config) family(hosts int) Config {
	share := float64(hosts) / float64(c.Hosts)
	scale := func(n int) int { return int(math.Ceil(share * float64(n))) }
	c.Hosts, c.Links = hosts, scale(c.Links)
	c.Scanners, c.Swarms = scale(c.Scanners), scale(c.Swarms)
	return c
}
