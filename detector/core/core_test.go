package core

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/flowhound/flowhound/detector/graph"
	"pgregory.net/rapid"
)

// naiveCores says the definition: for k = 1, 2, … take away whoever has fewer
// than k peers left, again and again; who survives k has core k or more.
func naiveCores(v *graph.View, in func(x graph.Vertex) bool) []uint32 {
	u := v.Rows
	alive := make([]bool, v.Len())
	for x := range alive {
		alive[x] = in(graph.Vertex(x))
	}
	cores := make([]uint32, v.Len())
	for k := uint32(1); slices.Contains(alive, true); k++ {
		for changed := true; changed; {
			changed = false
			for x := range alive {
				peers := uint32(0)
				for y := range u.Around(graph.Vertex(x)) {
					if alive[y] {
						peers++
					}
				}
				if alive[x] && peers < k {
					alive[x], changed = false, true
				}
			}
		}
		for x := range alive {
			if alive[x] {
				cores[x] = k
			}
		}
	}
	return cores
}

func drawView(t *rapid.T) *graph.View {
	n := rapid.IntRange(1, 40).Draw(t, "n")
	ends := rapid.SliceOfN(rapid.Uint32Range(0, uint32(n-1)), 0, 300).Draw(t, "ends")
	half := len(ends) / 2
	return graph.FromLinks(n, ends[:half], ends[half:2*half])
}

// coresWithin returns the core numbers at each cap, by cap and vertex: 0 for those
// below 2.
func coresWithin(v *graph.View, caps ...uint16) [][]uint32 {
	numbers := make([][]uint32, len(caps))
	for i := range caps {
		numbers[i] = make([]uint32, v.Len())
	}
	u := v.Rows
	cores(rows{u}, caps, func(k uint16, hosts []graph.Vertex, least []uint16) {
		for _, x := range hosts {
			for i := int(least[x]); i < len(caps); i++ {
				numbers[i][x] = uint32(k)
			}
		}
	})
	return numbers
}

// without1 returns core numbers as coresWithin does.
func without1(numbers []uint32) []uint32 {
	for x, k := range numbers {
		if k < 2 {
			numbers[x] = 0
		}
	}
	return numbers
}

func TestCoresAgainstDefinition(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := drawView(t)
		u := v.Rows
		caps := []uint16{1, 2, 3, 5, 8, 12, math.MaxUint16}
		caps = caps[rapid.IntRange(0, len(caps)-1).Draw(t, "first"):]
		for i, got := range coresWithin(v, caps...) {
			within := func(x graph.Vertex) bool { return u.Degree(x) <= uint32(caps[i]) }
			if want := without1(naiveCores(v, within)); !slices.Equal(got, want) {
				t.Fatalf("cap %d: got %v, want %v", caps[i], got, want)
			}
		}
	})
}

// Core numbers are a fixed point of the h-index of the neighbours' (Lü et al.
// 2016), and iterating it from the degrees leads to them. The graphs are larger
// than a block, and have hubs.
func TestCoresAreHIndexFixpoint(t *testing.T) {
	for seed := range uint64(10) {
		caps := []uint16{4, 6, 8, 11, 16, 23, 32, 64, 65, 500}[seed%5:]
		rng := rand.New(rand.NewPCG(seed, 1))
		n := 1000 + rng.IntN(5000)
		var src, dst []uint32
		for range n * (2 + rng.IntN(7)) {
			src = append(src, uint32(float64(n)*math.Pow(rng.Float64(), 2)))
			dst = append(dst, uint32(rng.IntN(n)))
		}
		v := graph.FromLinks(n, src, dst)
		for i, got := range coresWithin(v, caps...) {
			if want := without1(hIndexCores(v.Rows, n, uint32(caps[i]))); !slices.Equal(got, want) {
				t.Errorf("seed %d, cap %d: core numbers are not the h-index's fixed point", seed, caps[i])
			}
		}
	}
}

// hIndexCores returns the core numbers of the hosts with at most limit peers.
func hIndexCores(r graph.Rows, n int, limit uint32) []uint32 {
	h := make([]uint32, n)
	for x := range h {
		if d := r.Degree(graph.Vertex(x)); d <= limit {
			h[x] = d
		}
	}
	for changed := true; changed; {
		changed = false
		for x := range h {
			var values []uint32
			for y := range r.Around(graph.Vertex(x)) {
				values = append(values, h[y])
			}
			slices.SortFunc(values, func(a, b uint32) int { return int(b) - int(a) })
			k := uint32(0)
			for int(k) < len(values) && values[k] > k {
				k++
			}
			if k < h[x] {
				h[x], changed = k, true
			}
		}
	}
	return h
}

// Graphs whose cores of 2 and more can be told by looking.
func TestHandGraphs(t *testing.T) {
	f := func(name string, n int, links [][2]uint32, want ...uint32) {
		t.Helper()
		var src, dst []uint32
		for _, l := range links {
			src, dst = append(src, l[0]), append(dst, l[1])
		}
		if got := coresWithin(graph.FromLinks(n, src, dst), 100)[0]; !slices.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
	}
	f("nothing", 0, nil)
	f("a lone host", 1, nil, 0)
	f("a star", 4, [][2]uint32{{0, 1}, {2, 0}, {0, 3}}, 0, 0, 0, 0)
	f("a ring, links in both directions", 4, [][2]uint32{{0, 1}, {1, 0}, {1, 2}, {2, 3}, {3, 0}}, 2, 2, 2, 2)
	f("four of each other's, and a tail", 6, [][2]uint32{{0, 1}, {0, 2}, {0, 3}, {1, 2}, {1, 3}, {2, 3}, {3, 4}, {5, 4}}, 3, 3, 3, 3, 0, 0)
	f("two triangles sharing a host", 5, [][2]uint32{{0, 1}, {1, 2}, {2, 0}, {2, 3}, {3, 4}, {4, 2}}, 2, 2, 2, 2, 2)
}

// Contrast against its formula (docs/detection.md), with naive cores.
func TestContrastAgainstDefinition(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := drawView(t)
		caps := []uint16{2, 3, 5, 8, 100}
		tie := make([]float64, v.Len())
		for x := range tie {
			tie[x] = float64(x)
		}
		r := Contrast(v, Params{Caps: caps, Seed: 1, Tie: tie, Workers: 2})
		u := v.Rows
		nullView := fromRows(nullOf(v, 1, 2))
		want := make([]float64, v.Len())
		for i, limit := range caps {
			q := slices.Max(naiveCores(nullView, func(x graph.Vertex) bool { return nullView.Degree(x) <= uint32(limit) }))
			if q != uint32(r.Null[i]) {
				t.Fatalf("cap %d: got null %d, want %d", limit, r.Null[i], q)
			}
			for x, k := range naiveCores(v, func(x graph.Vertex) bool { return u.Degree(x) <= uint32(limit) }) {
				if s := float64(k) / float64(r.Null[i]+1); k >= 2 && s > want[x] {
					want[x] = s
					if r.Score[x]-1e-3 < s && (r.Cap[x] != limit || uint32(r.Core[x]) != k) {
						t.Fatalf("vertex %d: got core %d at cap %d, want %d at %d", x, r.Core[x], r.Cap[x], k, limit)
					}
				}
			}
		}
		for x := range want {
			if w := want[x] + 1e-3*tie[x]/(1+tie[x]); math.Abs(r.Score[x]-w) > 1e-15 {
				t.Fatalf("vertex %d: got score %v, want %v", x, r.Score[x], w)
			}
		}
	})
}

// Of two cores with the same score that at the lesser cap counts.
func TestLeastCapOfEqualScores(t *testing.T) {
	r := Result{Caps: []uint16{5, 9}, Null: []uint16{1, 2}, Score: make([]float64, 1), Cap: make([]uint16, 1), Core: make([]uint16, 1)}
	host := []graph.Vertex{0}
	r.improve(2, host, []uint16{0})
	r.improve(3, host, []uint16{1})
	if r.Score[0] != 1 || r.Cap[0] != 5 || r.Core[0] != 2 {
		t.Errorf("got score %v, core %d at cap %d, want 1, core 2 at cap 5", r.Score[0], r.Core[0], r.Cap[0])
	}
	r.improve(4, host, []uint16{1})
	if r.Score[0] != 4./3 || r.Cap[0] != 9 || r.Core[0] != 4 {
		t.Errorf("got score %v, core %d at cap %d, want 4/3, core 4 at cap 9", r.Score[0], r.Core[0], r.Cap[0])
	}
}

func nullOf(v *graph.View, seed uint64, workers int) rows {
	return newNull(rows{v.Rows}, seed, workers)
}

func fromRows(r rows) *graph.View {
	var src, dst []uint32
	for x := range graph.Vertex(r.hosts()) {
		for y := range r.Around(x) {
			src, dst = append(src, uint32(x)), append(dst, uint32(y))
		}
	}
	return graph.FromLinks(r.hosts(), src, dst)
}

// The null graph is the configuration model's, made step by step: each host as
// often as it has peers, shuffled; the first half is linked with the second.
func TestNullIsShuffledPairs(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for _, links := range []int{0, 1, 2, 100, ahead / 2, ahead/2 + 1, 9000} {
		n := 2 + links/3
		var src, dst []uint32
		for range links {
			src, dst = append(src, uint32(rng.IntN(n))), append(dst, uint32(rng.IntN(n)))
		}
		v := graph.FromLinks(n, src, dst)
		var ends []uint32
		for x := range graph.Vertex(n) {
			for range v.Of(x) {
				ends = append(ends, uint32(x))
			}
		}
		shuffle := rand.New(rand.NewPCG(uint64(links), 0x6e756c6c))
		shuffle.Shuffle(len(ends), func(i, j int) { ends[i], ends[j] = ends[j], ends[i] })
		want := graph.FromLinks(n, ends[:len(ends)/2], ends[len(ends)/2:]).Undirected().Rows
		for _, workers := range []int{1, 2, 5} {
			got := nullOf(v, uint64(links), workers)
			if !slices.Equal(got.Start, want.Start) || !slices.Equal(got.Peers, want.Peers) {
				t.Errorf("%d links, %d workers: the null graph is not that of rand.Shuffle", links, workers)
			}
		}
	}
}

// The null graph keeps degrees but for loops and doubles, is symmetric, and
// the same for the same seed only.
func TestNullKeepsDegrees(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	n := 3000
	var src, dst []uint32
	for range 9000 {
		src, dst = append(src, uint32(rng.IntN(n))), append(dst, uint32(rng.IntN(n)))
	}
	v := graph.FromLinks(n, src, dst)
	null := nullOf(v, 3, 2)
	if lost := len(v.Peers) - len(null.Peers); lost < 0 || lost > len(v.Peers)/100 {
		t.Errorf("lost %d of %d link ends", lost, len(v.Peers))
	}
	for x := range graph.Vertex(n) {
		if null.Degree(x) > v.Degree(x) {
			t.Fatalf("vertex %d: got degree %d, want at most %d", x, null.Degree(x), v.Degree(x))
		}
		for y := range null.Around(x) {
			if _, ok := null.Peer(y, x); !ok || x == y {
				t.Fatalf("link %d – %d of the null graph is one-way or a loop", x, y)
			}
		}
	}
	if !slices.Equal(null.Peers, nullOf(v, 3, 1).Peers) || slices.Equal(null.Peers, nullOf(v, 4, 2).Peers) {
		t.Error("the null graph does not follow its seed")
	}
}

// An overlay of low-degree hosts stands out of a background of hubs, which is
// what the contrast is for.
func TestOverlayStandsOut(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	const n, bots, peers = 20_000, 200, 12
	var src, dst []uint32
	for range 60_000 {
		src = append(src, uint32(rng.IntN(n)))
		dst = append(dst, uint32(n*math.Pow(rng.Float64(), 6)))
	}
	isBot := map[int]bool{}
	members := rng.Perm(n)[:bots]
	for i, x := range members {
		isBot[x] = true
		for hop := 1; hop <= peers/2; hop++ {
			src, dst = append(src, uint32(x)), append(dst, uint32(members[(i+hop*hop)%bots]))
		}
	}
	r := Contrast(graph.FromLinks(n, src, dst), Params{})
	order := make([]int, n)
	for x := range order {
		order[x] = x
	}
	slices.SortStableFunc(order, func(a, b int) int {
		if r.Score[a] > r.Score[b] {
			return -1
		}
		return 1
	})
	found := 0
	for _, x := range order[:bots] {
		if isBot[x] {
			found++
		}
	}
	if found < bots*95/100 {
		t.Errorf("found %d of %d overlay hosts among the first %d", found, bots, bots)
	}
	if x := order[0]; r.NullAt(r.Cap[x])+1 > r.Core[x] {
		t.Errorf("best host: core %d at cap %d, null %d", r.Core[x], r.Cap[x], r.NullAt(r.Cap[x]))
	}
}
