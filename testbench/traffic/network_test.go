package traffic

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/flowhound/flowhound/testbench/botnet"
)

func draw(t testing.TB, c Config, err error, seed uint64) *Network {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	n, err := Generate(c, seed)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// shape is what detection notes §3.0 tell about the isp background.
type shape struct{ links, isolated, leaves, over100, largest int }

func shapeOf(n *Network) shape {
	src, dst := n.Links()
	peers := make([]map[uint32]bool, n.Config.Hosts)
	for i := range src {
		for _, e := range [][2]uint32{{src[i], dst[i]}, {dst[i], src[i]}} {
			if peers[e[0]] == nil {
				peers[e[0]] = map[uint32]bool{}
			}
			peers[e[0]][e[1]] = true
		}
	}
	s := shape{links: len(src)}
	for _, p := range peers {
		switch {
		case len(p) == 0:
			s.isolated++
		case len(p) == 1:
			s.leaves++
		case len(p) > 100:
			s.over100++
		}
		s.largest = max(s.largest, len(p))
	}
	return s
}

// The notes' draw had 0.92–0.99 M links, 264 k hosts of degree 1, 1,028 above
// 100 and a largest degree of 9,077. The last is one draw of a heavy tail, so
// it may lie anywhere between 40 % of it and the cap of a subscriber's calls
// (20,000) with its share of the externals that nobody else calls.
func TestISPHasTheNotesShape(t *testing.T) {
	if testing.Short() {
		t.Skip("draws 323,000 hosts twice")
	}
	for seed := range uint64(2) {
		c, err := Background("isp", 323_000)
		s := shapeOf(draw(t, c, err, seed))
		within := func(what string, got, lo, hi int) {
			if got < lo || got > hi {
				t.Errorf("seed %d %s: got %d, want %d … %d", seed, what, got, lo, hi)
			}
		}
		within("links", s.links, 920_000, 1_010_000)
		within("hosts without a link", s.isolated, 0, 0)
		within("hosts of degree 1", s.leaves, 264_000*97/100, 264_000*103/100)
		within("hosts of degree > 100", s.over100, 1028*85/100, 1028*115/100)
		within("largest degree", s.largest, 9077*2/5, 30_000)
	}
}

// Each background differs from isp in the way its description says.
func TestBackgroundsDiffer(t *testing.T) {
	type counts struct {
		kinds    [Overlay + 1]int
		answered float64
		shape    shape
	}
	of := func(name string) counts {
		c, err := Background(name, 30_000)
		n := draw(t, c, err, 4)
		var k counts
		for _, call := range n.Calls {
			k.kinds[call.Kind]++
			if call.Answered {
				k.answered++
			}
		}
		k.answered /= float64(len(n.Calls))
		k.shape = shapeOf(n)
		if k.shape.isolated != 0 || k.kinds[Overlay] != 0 {
			t.Errorf("%s: %d hosts without a link, %d overlay calls, want none", name, k.shape.isolated, k.kinds[Overlay])
		}
		return k
	}
	isp, nop2p, uni, heavy, flat := of("isp"), of("nop2p"), of("uni"), of("p2pheavy"), of("flat")
	if isp.answered < .84 || isp.answered > .92 || uni.answered < .1 || uni.answered > .2 {
		t.Errorf("answered: isp %.2f, uni %.2f, want about .9 and .15", isp.answered, uni.answered)
	}
	if nop2p.kinds[Share] != 0 || heavy.kinds[Share] < 2*isp.kinds[Share] {
		t.Errorf("calls between sharers: nop2p %d, isp %d, p2pheavy %d", nop2p.kinds[Share], isp.kinds[Share], heavy.kinds[Share])
	}
	if flat.kinds[Transit] < 5*isp.kinds[Transit] || flat.shape.leaves > isp.shape.leaves/2 {
		t.Errorf("flat: %d transit calls, %d leaves; isp %d, %d", flat.kinds[Transit], flat.shape.leaves, isp.kinds[Transit], isp.shape.leaves)
	}
}

func TestBotnetIsInside(t *testing.T) {
	c, err := Background("isp", 20_000)
	n := draw(t, c.Infect(botnet.Kademlia, .01), err, 5)
	if len(n.Bots) != 200 || !slices.IsSorted(n.Bots) || len(slices.Compact(slices.Clone(n.Bots))) != 200 {
		t.Fatalf("bots: got %d, want 200 different ones in order", len(n.Bots))
	}
	bot, overlay, answered := n.Truth(), 0, 0
	for _, call := range n.Calls {
		if call.Kind == Overlay {
			overlay++
			if call.Answered {
				answered++
			}
			if !bot[call.Client] || !bot[call.Server] {
				t.Fatalf("overlay call %v has an end that is no bot", call)
			}
		}
	}
	o, _ := botnet.Build(botnet.Kademlia, 200, rand.New(rand.NewPCG(1, 1)))
	if want := len(o.Links); overlay < want*9/10 || overlay > want*11/10 {
		t.Errorf("overlay: %d calls, another draw of 200 bots has %d", overlay, want)
	}
	if share := float64(answered) / float64(overlay); share < .88 || share > .92 {
		t.Errorf("overlay: %.3f answered, want .9", share)
	}
}

func TestFamiliesStayApart(t *testing.T) {
	c, err := Background("isp", 20_000)
	c.IPv6 = .1
	n := draw(t, c.Infect(botnet.Chord, .02), err, 6)
	addrs, prefixes := map[netip.Addr]bool{}, map[netip.Prefix]bool{}
	six := 0
	for h := range uint32(c.Hosts) {
		a := n.Addr(h)
		addrs[a] = true
		if a.Is6() {
			six++
			p, _ := a.Prefix(64)
			prefixes[p] = true
		}
	}
	if len(addrs) != c.Hosts || six != 2000 || len(prefixes) != six {
		t.Errorf("%d hosts: %d addresses, %d IPv6 ones in %d /64s, want %d, 2000 in 2000", c.Hosts, len(addrs), six, len(prefixes), c.Hosts)
	}
	overlay6 := 0
	for _, call := range n.Calls {
		if n.Addr(call.Client).Is4() != n.Addr(call.Server).Is4() {
			t.Fatalf("call %v joins two address families", call)
		}
		if call.Kind == Overlay && n.Addr(call.Client).Is6() {
			overlay6++
		}
	}
	if overlay6 == 0 {
		t.Error("no overlay between IPv6 bots")
	}
}

func TestAddressPlan(t *testing.T) {
	in := func(a netip.Addr, prefixes ...string) bool {
		for _, p := range prefixes {
			if netip.MustParsePrefix(p).Contains(a) {
				return true
			}
		}
		return false
	}
	n := &Network{Config: Config{Hosts: maxHosts}}
	n.v4 = hostRange{0, maxSubscribers, maxHosts}
	for _, h := range []uint32{0, 1, maxSubscribers - 1} {
		if a := n.Addr(h); !in(a, "100.64.0.0/10") {
			t.Errorf("subscriber %d: %v", h, a)
		}
	}
	seen := map[netip.Addr]uint32{}
	for _, h := range []uint32{maxSubscribers, maxSubscribers + benchmarkLen - 1, maxSubscribers + benchmarkLen, maxHosts - 1} {
		a := n.Addr(h)
		if !in(a, "198.18.0.0/15", "10.0.0.0/8") {
			t.Errorf("external %d: %v", h, a)
		}
		if o, ok := seen[a]; ok {
			t.Errorf("externals %d and %d: both %v", o, h, a)
		}
		seen[a] = h
	}
}

func TestMergeKeepsTheAnsweredCall(t *testing.T) {
	got := merge([]Call{{2, 1, Web, true}, {1, 2, Tail, false}, {1, 2, Web, true}, {1, 2, Share, false}})
	if want := []Call{{1, 2, Web, true}, {2, 1, Web, true}}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestGenerateRepeats(t *testing.T) {
	c, err := Background("isp", 5000)
	c = c.Infect(botnet.Koorde, .02)
	a, b, other := draw(t, c, err, 1), draw(t, c, err, 1), draw(t, c, err, 2)
	if !slices.Equal(a.Calls, b.Calls) || !slices.Equal(a.Bots, b.Bots) {
		t.Error("one seed: two draws differ")
	}
	if slices.Equal(a.Calls, other.Calls) {
		t.Error("two seeds: the draws are equal")
	}
}

func TestValidateRefuses(t *testing.T) {
	f := func(change func(*Config)) {
		t.Helper()
		c, err := Background("isp", 20_000)
		if err != nil {
			t.Fatal(err)
		}
		change(&c)
		if _, err := Generate(c, 1); err == nil {
			t.Errorf("config %+v: no error", c)
		}
	}
	f(func(c *Config) { c.Hosts = 10 })
	f(func(c *Config) { c.Reply = 1.5 })
	f(func(c *Config) { c.Internal = 0 })
	f(func(c *Config) { c.Activity.Min = 0 })
	f(func(c *Config) { c.IPv6 = .01 })
	f(func(c *Config) { c.Flows = 0 })
	f(func(c *Config) { c.Bots = -1 })
	f(func(c *Config) { c.Botnet, c.Bots = "ring", 50 })
	if _, err := Background("lan", 20_000); err == nil {
		t.Error("unknown background: no error")
	}
}

// The mean of a Pareto draw capped at m is min·(α − (min/m)^(α−1))/(α−1).
func TestParetoMean(t *testing.T) {
	p, rng := Pareto{1000, 1.5, 50_000}, rand.New(rand.NewPCG(1, 2))
	sum := 0.0
	const draws = 200_000
	for range draws {
		sum += float64(p.draw(rng, 1<<30))
	}
	const want = 1000 * (1.5 - 0.1414213562) / 0.5 // (1/50)^0.5 = 0.1414…
	if got := sum / draws; got < want*.98 || got > want*1.02 {
		t.Errorf("mean of %+v: got %.0f, want %.0f ± 2 %%", p, got, want)
	}
}

func TestZipfShares(t *testing.T) {
	z, rng := newZipf(3, 1), rand.New(rand.NewPCG(1, 2))
	var count [3]float64
	for range 110_000 {
		count[z.draw(rng)]++
	}
	for r, want := range []float64{60_000, 30_000, 20_000} {
		if count[r] < want*.97 || count[r] > want*1.03 {
			t.Errorf("rank %d: drawn %.0f times, want %.0f ± 3 %%", r, count[r], want)
		}
	}
}

func BenchmarkGenerate(b *testing.B) {
	c, err := Background("isp", 323_000)
	for b.Loop() {
		draw(b, c.Infect(botnet.Kademlia, .01), err, 1)
	}
}
