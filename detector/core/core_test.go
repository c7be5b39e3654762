package core

import (
	"fmt"
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

func everybody(graph.Vertex) bool { return true }

func drawView(t *rapid.T) *graph.View {
	n := rapid.IntRange(1, 40).Draw(t, "n")
	ends := rapid.SliceOfN(rapid.Uint32Range(0, uint32(n-1)), 0, 300).Draw(t, "ends")
	half := len(ends) / 2
	return graph.FromLinks(n, ends[:half], ends[half:2*half])
}

func TestCorenessAgainstDefinition(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := drawView(t)
		if got, want := Coreness(v), naiveCores(v, everybody); !slices.Equal(got, want) {
			t.Fatalf("got %v, want %v", got, want)
		}
	})
}

// Core numbers are a fixed point of the h-index of the neighbours' (Lü et al.
// 2016), and iterating it from the degrees leads to them.
func TestCorenessIsHIndexFixpoint(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	n := 5000
	var src, dst []uint32
	for range 40_000 {
		src = append(src, uint32(float64(n)*math.Pow(rng.Float64(), 2)))
		dst = append(dst, uint32(rng.IntN(n)))
	}
	v := graph.FromLinks(n, src, dst)
	u := v.Rows
	h := make([]uint32, n)
	for x := range h {
		h[x] = u.Degree(graph.Vertex(x))
	}
	for changed := true; changed; {
		changed = false
		next := slices.Clone(h)
		for x := range next {
			var values []uint32
			for y := range u.Around(graph.Vertex(x)) {
				values = append(values, h[y])
			}
			slices.SortFunc(values, func(a, b uint32) int { return int(b) - int(a) })
			k := uint32(0)
			for int(k) < len(values) && values[k] > k {
				k++
			}
			if next[x] = k; k != h[x] {
				changed = true
			}
		}
		h = next
	}
	if !slices.Equal(Coreness(v), h) {
		t.Error("core numbers are not the h-index's fixed point")
	}
}

// Graphs whose cores can be told by looking.
func TestHandGraphs(t *testing.T) {
	f := func(name string, n int, links [][2]uint32, want ...uint32) {
		t.Helper()
		var src, dst []uint32
		for _, l := range links {
			src, dst = append(src, l[0]), append(dst, l[1])
		}
		if got := Coreness(graph.FromLinks(n, src, dst)); !slices.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
	}
	f("nothing", 0, nil)
	f("a lone host", 1, nil, 0)
	f("a star", 4, [][2]uint32{{0, 1}, {2, 0}, {0, 3}}, 1, 1, 1, 1)
	f("a ring, links in both directions", 4, [][2]uint32{{0, 1}, {1, 0}, {1, 2}, {2, 3}, {3, 0}}, 2, 2, 2, 2)
	f("four of each other's, and a tail", 6, [][2]uint32{{0, 1}, {0, 2}, {0, 3}, {1, 2}, {1, 3}, {2, 3}, {3, 4}, {5, 4}}, 3, 3, 3, 3, 1, 1)
	f("two triangles sharing a host", 5, [][2]uint32{{0, 1}, {1, 2}, {2, 0}, {2, 3}, {3, 4}, {4, 2}}, 2, 2, 2, 2, 2)
}

// Contrast against its formula (docs/detection.md), with naive cores.
func TestContrastAgainstDefinition(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := drawView(t)
		caps := []uint32{2, 3, 5, 8, 100}
		tie := make([]float64, v.Len())
		for x := range tie {
			tie[x] = float64(x)
		}
		r := Contrast(v, Params{Caps: caps, Seed: 1, Tie: tie, Workers: 2})
		u := v.Rows
		null := nullRows(u, v.Len(), 1)
		nullView := fromRows(null, v.Len())
		want := make([]float64, v.Len())
		for i, limit := range caps {
			q := slices.Max(naiveCores(nullView, func(x graph.Vertex) bool { return null.Degree(x) <= limit }))
			if q != r.Null[i] {
				t.Fatalf("cap %d: got null %d, want %d", limit, r.Null[i], q)
			}
			for x, k := range naiveCores(v, func(x graph.Vertex) bool { return u.Degree(x) <= limit }) {
				if s := float64(k) / float64(r.Null[i]+1); k >= 2 && s > want[x] {
					want[x] = s
					if r.Score[x]-1e-3 < s && (r.Cap[x] != limit || r.Core[x] != k) {
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

func fromRows(r graph.Rows, n int) *graph.View {
	var src, dst []uint32
	for x := range graph.Vertex(n) {
		for y := range r.Around(x) {
			src, dst = append(src, uint32(x)), append(dst, uint32(y))
		}
	}
	return graph.FromLinks(n, src, dst)
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
	rows := graph.FromLinks(n, src, dst).Rows
	null := nullRows(rows, n, 3)
	if lost := len(rows.Peers) - len(null.Peers); lost < 0 || lost > len(rows.Peers)/100 {
		t.Errorf("lost %d of %d link ends", lost, len(rows.Peers))
	}
	for x := range graph.Vertex(n) {
		if null.Degree(x) > rows.Degree(x) {
			t.Fatalf("vertex %d: got degree %d, want at most %d", x, null.Degree(x), rows.Degree(x))
		}
		for y := range null.Around(x) {
			if _, ok := null.Peer(y, x); !ok || x == y {
				t.Fatalf("link %d – %d of the null graph is one-way or a loop", x, y)
			}
		}
	}
	if !slices.Equal(null.Peers, nullRows(rows, n, 3).Peers) || slices.Equal(null.Peers, nullRows(rows, n, 4).Peers) {
		t.Error("the null graph does not follow its seed")
	}
}

// Core numbers that were lowered are those of a graph peeled from nothing.
func TestShrinking(t *testing.T) {
	for seed := range uint64(40) {
		rng := rand.New(rand.NewPCG(seed, 2))
		n := 2 + rng.IntN(400)
		var src, dst []uint32
		for range n * (1 + rng.IntN(12)) {
			src = append(src, uint32(rng.IntN(n)))
			dst = append(dst, uint32(float64(n)*math.Pow(rng.Float64(), 2)))
		}
		rows := graph.FromLinks(n, src, dst).Rows
		s := newShrinking(rows, n)
		for n > 0 {
			n -= min(n, 1+rng.IntN(1+n/4))
			s.to(n)
			var p peeler
			for x, want := range p.peel(rows, n) {
				if got := s.level[x].core; got != want {
					t.Fatalf("seed %d, %d vertices left: vertex %d has core %d, want %d", seed, n, x, got, want)
				}
			}
		}
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

// The graphs have the size of the paper's accuracy subset, and six times that.
func BenchmarkContrast(b *testing.B) {
	for _, n := range []int{323_000, 2_000_000} {
		rng := rand.New(rand.NewPCG(1, 1))
		var src, dst []uint32
		for range n * 36 / 10 {
			src = append(src, uint32(rng.IntN(n)))
			dst = append(dst, uint32(float64(n)*math.Pow(rng.Float64(), 3)))
		}
		v := graph.FromLinks(n, src, dst)
		b.Run(fmt.Sprint("hosts=", n), func(b *testing.B) {
			for b.Loop() {
				Contrast(v, Params{})
			}
			b.ReportMetric(float64(v.Links())*float64(b.N)/b.Elapsed().Seconds()/1e6, "Mlinks/s")
		})
	}
}
