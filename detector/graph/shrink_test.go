package graph

import (
	"math/rand/v2"
	"testing"

	"github.com/flowhound/flowhound/internal/flow"
)

// When a burst has expired its memory goes back, and the graph goes on like one
// that never had it.
func TestMemoryGoesBackAfterBurst(t *testing.T) {
	for seed := range uint64(4) {
		rng := rand.New(rand.NewPCG(seed, 6))
		cfg := DefaultConfig()
		cfg.MaxOutDegree = []uint32{4, 1 << 20}[seed%2]
		g := New(cfg)
		g.Expire(100)
		g.Apply(1, randomContacts(rng, 60_000, 60_000, 100))
		g.Freeze()
		g.Apply(2, randomContacts(rng, 900, 3000, 130))
		peak := g.Stats()
		g.Expire(120)
		g.Freeze()
		low := g.Stats()
		if low.Bytes*5 > peak.Bytes {
			t.Errorf("seed %d: got %d bytes for %d links, after %d for %d", seed, low.Bytes, low.Links, peak.Bytes, peak.Links)
		}
		places := 0
		for s := range g.pairs {
			places += len(g.pairs[s].entries)
		}
		if places != int(low.Pairs) {
			t.Fatalf("seed %d: got %d places for %d pairs", seed, places, low.Pairs)
		}
		h := copyOf(t, g, cfg)
		for round := range 5 {
			sameViews(t, "shrunk", h.Freeze(), g.Freeze())
			more := randomContacts(rng, 2000, 2000, 131)
			g.Apply(3, more)
			h.Apply(3, more)
			g.Expire(131 + 2*flow.Slice(round))
			h.Expire(131 + 2*flow.Slice(round))
		}
		if g.Stats().Links != h.Stats().Links || g.Stats().Hosts != h.Stats().Hosts {
			t.Errorf("seed %d: got %+v, want %+v", seed, g.Stats(), h.Stats())
		}
		g.Expire(1 << 20)
		if st := g.Stats(); st.Hosts+st.Links+st.Pairs != 0 {
			t.Errorf("seed %d: %+v is left when everything expired", seed, st)
		}
	}
}
