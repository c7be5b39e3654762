package verdict

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/flowhound/flowhound/detector/core"
	"github.com/flowhound/flowhound/detector/graph"
	"github.com/flowhound/flowhound/detector/rank"
	"github.com/flowhound/flowhound/testbench/botnet"
)

// network is a background with an overlay in it.
type network struct {
	view *graph.View
	bots []graph.Vertex // ascending
}

// draw returns n hosts that visit servers of Zipf-like popularity (and some
// hosts at random), with scanners, and an overlay on a share of them.
func draw(t *testing.T, family botnet.Family, n int, share float64, seed uint64) network {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 42))
	var src, dst []uint32
	link := func(a, b int, reply float64) {
		src, dst = append(src, uint32(a)), append(dst, uint32(b))
		if rng.Float64() < reply {
			src, dst = append(src, uint32(b)), append(dst, uint32(a))
		}
	}
	order := rng.Perm(n)
	clients, servers := order[:n/8], order[n/8:n/4]
	for _, c := range clients {
		visits := min(2000, int(3*math.Pow(rng.Float64(), -1/1.2)))
		for range visits {
			to := order[rng.IntN(n)]
			if rng.Float64() > 0.15 {
				to = servers[int(math.Pow(float64(len(servers)), rng.Float64()))-1]
			}
			link(c, to, 0.9)
		}
	}
	for range 5 {
		scanner := order[rng.IntN(n)]
		for range n / 20 {
			link(scanner, order[rng.IntN(n)], 0.1)
		}
	}
	for _, h := range order {
		link(h, clients[rng.IntN(len(clients))], 0.9)
	}
	net := network{}
	for _, b := range rng.Perm(n)[:int(share*float64(n))] {
		net.bots = append(net.bots, graph.Vertex(b))
	}
	o, err := botnet.Build(family, len(net.bots), rng)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range o.Links {
		link(int(net.bots[l.From]), int(net.bots[l.To]), 0.9)
	}
	slices.Sort(net.bots)
	net.view = graph.FromLinks(n, src, dst)
	return net
}

// judge computes ranks and contrast as an epoch does.
func judge(t *testing.T, v *graph.View, seeds []graph.Vertex, cfg Config) (Input, Verdict) {
	t.Helper()
	run := func(v *graph.View, undirected bool, weights ...rank.Weight) []rank.Result {
		p := rank.DefaultParams()
		p.Undirected, p.Weights = undirected, weights
		r, err := rank.Run(v, p)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	results := run(v, false, rank.Weight{}, rank.Weight{Seeds: seeds, Lambda: 1})
	in := Input{View: v, Client: results[0].Client, Server: results[0].Server, Seeds: seeds}
	if len(seeds) > 0 {
		in.SeededClient, in.SeededServer = results[1].Client, results[1].Server
	}
	tie := run(v, true)[0].Client
	for x := range tie {
		tie[x] *= float64(len(tie))
	}
	in.Contrast = core.Contrast(v, core.Params{Seed: 1, Tie: tie})
	return in, Judge(in, cfg)
}

// rates returns the shares of bots and of other hosts that are suspects; seeds
// are left out of both.
func (n network) rates(v Verdict, seeds []graph.Vertex) (tpr, fpr float64) {
	isSeed := map[graph.Vertex]bool{}
	for _, x := range seeds {
		isSeed[x] = true
	}
	hits, alarms := 0, 0
	for _, s := range v.Suspects {
		if isSeed[s.Vertex] {
			continue
		}
		if _, bot := slices.BinarySearch(n.bots, s.Vertex); bot {
			hits++
		} else {
			alarms++
		}
	}
	return float64(hits) / float64(len(n.bots)-len(seeds)), float64(alarms) / float64(n.view.Len()-len(n.bots))
}

// Overlays of logarithmic degree stand out without any seed (detection notes
// §3.3), and the botnet is within one cluster. The background's own core, heavy
// clients on popular servers, is what false alarms come from; it reaches half
// of a Kademlia bot's score, and comes close to that of Chord.
func TestFindsOverlaysWithoutSeeds(t *testing.T) {
	f := func(family botnet.Family, seed uint64, least, most float64) {
		t.Helper()
		net := draw(t, family, 20_000, 0.01, seed)
		_, v := judge(t, net.view, nil, DefaultConfig())
		tpr, fpr := net.rates(v, nil)
		t.Logf("%s seed %d: TPR %.4f FPR %.5f, %d clusters", family, seed, tpr, fpr, len(v.Clusters))
		if tpr < least || fpr > most {
			t.Errorf("%s seed %d: TPR %.4f FPR %.5f, want ≥ %v and ≤ %v", family, seed, tpr, fpr, least, most)
		}
		if c := v.Clusters[0]; float64(c.Hosts) < least*float64(len(net.bots)) {
			t.Errorf("%s seed %d: largest cluster has %d hosts, want the botnet's %d", family, seed, c.Hosts, len(net.bots))
		}
	}
	for seed := range uint64(5) {
		f(botnet.Kademlia, seed, 0.99, 0.002)
	}
	f(botnet.Kademlia20, 0, 0.99, 0.002)
	f(botnet.KoordeLogN, 0, 0.99, 0.01)
	// A Chord bot in so small a network keeps 1.2 to 2 times the null's core.
	f(botnet.Chord, 0, 0.95, 0.01)
}

// Seeds find what the contrast alone does not, at a bounded price, and take
// nothing away.
func TestSeeds(t *testing.T) {
	for _, family := range []botnet.Family{botnet.Kademlia, botnet.Chord, botnet.Koorde} {
		net := draw(t, family, 20_000, 0.01, 3)
		rng := rand.New(rand.NewPCG(9, 9))
		var seeds []graph.Vertex
		for _, i := range rng.Perm(len(net.bots))[:20] {
			seeds = append(seeds, net.bots[i])
		}
		slices.Sort(seeds)
		_, without := judge(t, net.view, nil, DefaultConfig())
		in, with := judge(t, net.view, seeds, DefaultConfig())
		tpr0, fpr0 := net.rates(without, seeds)
		tpr, fpr := net.rates(with, seeds)
		cfg := DefaultConfig()
		cfg.Threshold = 100 // the contrast says nothing
		tprSeeds, fprSeeds := net.rates(Judge(in, cfg), seeds)
		t.Logf("%s: TPR %.4f → %.4f, FPR %.5f → %.5f; seeds alone TPR %.4f FPR %.5f", family, tpr0, tpr, fpr0, fpr, tprSeeds, fprSeeds)
		if tpr < tpr0 || fpr > fpr0+0.001 {
			t.Errorf("%s: with seeds TPR %.4f FPR %.5f, without %.4f and %.5f", family, tpr, fpr, tpr0, fpr0)
		}
		want := map[botnet.Family]float64{botnet.Kademlia: 0.99, botnet.Chord: 0.95, botnet.Koorde: 0.45}
		if tprSeeds < want[family] || fprSeeds > 0.001 {
			t.Errorf("%s: seeds alone TPR %.4f FPR %.5f, want ≥ %v and ≤ 0.001", family, tprSeeds, fprSeeds, want[family])
		}
		found := 0
		for _, s := range with.Suspects {
			if s.Seed {
				found++
				if s.Evidence[0] != "is a known bot (seed)" || s.Score < DefaultConfig().Threshold {
					t.Errorf("seed %d: score %v, evidence %q", s.Vertex, s.Score, s.Evidence)
				}
			}
		}
		if found != len(seeds) {
			t.Errorf("%s: %d of %d seeds are suspects", family, found, len(seeds))
		}
	}
}

// hand is a small graph: a clique of hosts 0 to 5 with a seed (2), a pair 6–7
// of its own, and a leaf 8 on host 0.
func hand() Input {
	var src, dst []uint32
	both := func(a, b uint32) { src, dst = append(src, a, b), append(dst, b, a) }
	for a := range uint32(6) {
		for b := range a {
			both(a, b)
		}
	}
	both(6, 7)
	src, dst = append(src, 8), append(dst, 0)
	in := Input{View: graph.FromLinks(10, src, dst), Seeds: []graph.Vertex{2}}
	in.Client = []float64{.12, .11, .11, .11, .11, .11, .2, .05, .04, .04}
	in.Server = []float64{.1, .1, .1, .1, .1, .1, .1, .1, .1, .1}
	in.Contrast = core.Result{
		Score: []float64{2.5, 2.5, 2.5, 2.5, 2.5, 2.6, 1.6, 1.6, .5, 0},
		Cap:   []uint16{8, 8, 8, 8, 8, 8, 6, 6, 6, 0},
		Core:  []uint16{5, 5, 5, 5, 5, 5, 3, 3, 1, 0},
		Caps:  []uint16{6, 8}, Null: []uint16{1, 1},
	}
	return in
}

// Order, clusters and words of a case that can be checked by hand.
func TestJudgeByHand(t *testing.T) {
	v := Judge(hand(), DefaultConfig())
	var got strings.Builder
	for _, s := range v.Suspects {
		fmt.Fprintf(&got, "%d %v %.1f %.1f core %d cluster %d seed %v: %s\n", s.Vertex, s.Score, s.ClientRank, s.ServerRank, s.Core, s.Cluster, s.Seed, strings.Join(s.Evidence, "; "))
		if s.Vertex == 2 {
			fmt.Fprintln(&got, "…")
			break
		}
	}
	want := `5 2.6 1.1 1.0 core 5 cluster 1 seed false: keeps 5 peers inside a group of 6 hosts whose members keep at least 5 each, where a random graph with the same degrees has at most 1; linked to 1 seed; client rank 1.1 × the average (top 70 %); server rank 1.0 × the average (top 100 %)
0 2.5 1.2 1.0 core 5 cluster 1 seed false: keeps 5 peers inside a group of 6 hosts whose members keep at least 5 each, where a random graph with the same degrees has at most 1; linked to 1 seed; client rank 1.2 × the average (top 20 %); server rank 1.0 × the average (top 100 %)
1 2.5 1.1 1.0 core 5 cluster 1 seed false: keeps 5 peers inside a group of 6 hosts whose members keep at least 5 each, where a random graph with the same degrees has at most 1; linked to 1 seed; client rank 1.1 × the average (top 70 %); server rank 1.0 × the average (top 100 %)
2 2.5 1.1 1.0 core 5 cluster 1 seed true: is a known bot (seed); keeps 5 peers inside a group of 6 hosts whose members keep at least 5 each, where a random graph with the same degrees has at most 1; client rank 1.1 × the average (top 70 %); server rank 1.0 × the average (top 100 %)
…
`
	if got.String() != want {
		t.Errorf("got\n%swant\n%s", got.String(), want)
	}
	if want := []Cluster{{1, 6, 1}, {2, 2, 0}}; !slices.Equal(v.Clusters, want) {
		t.Errorf("clusters: got %v, want %v", v.Clusters, want)
	}
	if len(v.Suspects) != 8 || v.LeftOut != 0 {
		t.Errorf("got %d suspects, %d left out; want 8 and 0", len(v.Suspects), v.LeftOut)
	}
	cfg := DefaultConfig()
	cfg.MaxSuspects = 3
	if v := Judge(hand(), cfg); len(v.Suspects) != 3 || v.LeftOut != 5 || v.Clusters[0].Hosts != 3 {
		t.Errorf("budget of 3: got %d suspects, %d left out, clusters %v", len(v.Suspects), v.LeftOut, v.Clusters)
	}
	cfg = DefaultConfig()
	cfg.MinCore = 4
	if v := Judge(hand(), cfg); len(v.Suspects) != 6 || v.Scores[6] != 1.6 {
		t.Errorf("min core 4: got %d suspects, score %v", len(v.Suspects), v.Scores[6])
	}
}

// An empty graph has an empty verdict.
func TestJudgeNothing(t *testing.T) {
	v := Judge(Input{View: graph.FromLinks(0, nil, nil)}, DefaultConfig())
	if len(v.Suspects)+len(v.Clusters)+len(v.Scores) != 0 {
		t.Errorf("got %+v", v)
	}
}

// What prune leaves is the largest set in which everyone has k peers or is a
// seed: compared with taking hosts out one at a time until nothing changes.
func TestPruneIsTheDefinition(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 5))
		n := 3 + rng.IntN(30)
		var src, dst []uint32
		for range n * 2 {
			src, dst = append(src, rng.Uint32N(uint32(n))), append(dst, rng.Uint32N(uint32(n)))
		}
		in := Input{View: graph.FromLinks(n, src, dst)}
		got, want := map[graph.Vertex]float64{}, map[graph.Vertex]bool{}
		for x := range graph.Vertex(n) {
			if rng.IntN(12) == 0 {
				in.Seeds = append(in.Seeds, x)
			}
			if rng.IntN(4) > 0 {
				got[x], want[x] = 5, true
			}
		}
		k := 1 + rng.IntN(4)
		prune(in, got, k)
		for changed := true; changed; {
			changed = false
			for x := range want {
				peers := 0
				for y := range graph.Vertex(n) {
					if _, linked := in.View.Peer(x, y); linked && (want[y] || slices.Contains(in.Seeds, y)) {
						peers++
					}
				}
				if peers < k && !slices.Contains(in.Seeds, x) {
					delete(want, x)
					changed = true
				}
			}
		}
		if len(got) != len(want) {
			t.Fatalf("seed %d: got %v, want %v", seed, got, want)
		}
		for x := range got {
			if !want[x] {
				t.Fatalf("seed %d: got %v, want %v", seed, got, want)
			}
		}
	}
}

// Shares counts the hosts with at least as high a value.
func TestShares(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	values := make([]float64, 500)
	for i := range values {
		values[i] = float64(rng.IntN(60))
	}
	var of []graph.Vertex
	for range 50 {
		of = append(of, graph.Vertex(rng.IntN(len(values))))
	}
	for i, got := range Shares(values, of) {
		n := 0
		for _, v := range values {
			if v >= values[of[i]] {
				n++
			}
		}
		if want := float64(n) / 500; got != want {
			t.Errorf("vertex %d value %v: got %v, want %v", of[i], values[of[i]], got, want)
		}
	}
}

// Printed shares never claim more than is true.
func TestPercent(t *testing.T) {
	f := func(share float64, want string) {
		t.Helper()
		if got := percent(share); got != want {
			t.Errorf("%v: got %s, want %s", share, got, want)
		}
	}
	f(0.000_05, "0.01 %")
	f(0.000_9, "0.1 %")
	f(0.01, "1 %")
	f(0.011, "2 %")
	f(0.5, "50 %")
	f(1, "100 %")
}
