package rank

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/flowhound/flowhound/detector/graph"
)

// Whatever the tiles, a row's sum is that of its links in the view's order, to
// the last bit.
func TestBinsAddRowsInOrder(t *testing.T) {
	for seed := range uint64(40) {
		rng := rand.New(rand.NewPCG(seed, 3))
		n := 1 + rng.IntN(2000)
		src, dst := randomLinks(rng, n, 6*n)
		v := graph.FromLinks(n, src, dst)
		shares := make([]float32, n+1<<maxTileBits)
		for x := range n {
			shares[x] = rng.Float32() * float32(rng.IntN(100))
		}
		tileBits := 1 + rng.IntN(12)
		var blocks []block
		for lo := 0; lo < n; {
			hi := min(n, lo+1+rng.IntN(n/3+1))
			blocks = append(blocks, block{0, graph.Vertex(lo), graph.Vertex(hi)})
			lo = hi + rng.IntN(2) // a gap is a foreign vertex
		}
		tiles := tilesOf(blocks, graph.Vertex(1+rng.IntN(n)))
		senders := (n + 1<<tileBits - 1) >> tileBits
		b := place(v.Rows, graph.In, tiles, senders, tileBits, 1+rng.IntN(3), bins{from: make([]uint16, 9, 10*n)})
		values := make([]float32, v.Links())
		for s := range senders {
			scatter(&b, s, senders, len(tiles), (*[1 << maxTileBits]float32)(shares[s<<tileBits:]), values)
		}
		for i, tile := range tiles {
			got := make([]float64, 1<<maxTileBits)
			gather(&b, i, senders, values, (*[1 << maxTileBits]float64)(got))
			for y := tile.lo; y < tile.hi; y++ {
				want := 0.0
				for x := range v.In(y) {
					want += float64(shares[x])
				}
				if got[y-tile.lo] != want {
					t.Fatalf("seed %d vertex %d of %d, tiles of 2^%d: got %v, want %v", seed, y, n, tileBits, got[y-tile.lo], want)
				}
			}
		}
	}
}

// What a memory held before leaves no trace.
func TestMemoryLeavesNoTrace(t *testing.T) {
	memory := new(Memory)
	for seed := range uint64(4) {
		rng := rand.New(rand.NewPCG(seed, 4))
		n := 1 + rng.IntN(5000)
		src, dst := randomLinks(rng, n, 3*n)
		v := graph.FromLinks(n, src, dst)
		for _, p := range variants([]graph.Vertex{0, graph.Vertex(n / 2)}) {
			want := mustRun(t, v, p)
			p.Memory = memory
			got := mustRun(t, v, p)
			if !slices.Equal(got.Client, want.Client) || !slices.Equal(got.Server, want.Server) {
				t.Fatalf("seed %d: ranks differ with a memory used before", seed)
			}
		}
	}
}

// The baseline ranks as the definition does, where no vertex dangles.
func TestBaseline(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 1))
	src, dst := randomLinks(rng, 3000, 9000)
	for x := range uint32(3000) {
		src, dst = append(src, x), append(dst, (x+1)%3000)
	}
	v := graph.FromLinks(3000, src, dst)
	calls := 0
	got := Baseline(v, 0.5, 12, func() { calls++ })
	want := Reference(v, Params{Damping: 0.5, Iterations: 12})[0].Server
	for x := range got {
		if d := float64(got[x])/want[x] - 1; d > 1e-5 || d < -1e-5 {
			t.Fatalf("vertex %d: got %v, want %v", x, got[x], want[x])
		}
	}
	if calls != 12 {
		t.Errorf("got %d calls, want 12", calls)
	}
}
