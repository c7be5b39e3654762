package graph

import (
	"math/rand/v2"
	"testing"

	"github.com/flowhound/flowhound/internal/flow"
)

// Match finds what Find finds, while hosts come and go.
func TestMatch(t *testing.T) {
	for seed := range uint64(30) {
		rng := rand.New(rand.NewPCG(seed, 5))
		g := New(DefaultConfig())
		host := func(x int) flow.Host {
			return flow.Host{Pseudonym: flow.Pseudonym{byte(x * 7), byte(x)}, Shard: flow.Shard(x % 5)}
		}
		contacts := func(slice flow.Slice) (cs []flow.Contact) {
			for range rng.IntN(100) {
				c := flow.Contact{Local: host(rng.IntN(120)), Remote: host(rng.IntN(120)), Slice: slice, Bits: uint8(1 + rng.IntN(3))}
				if c.Local != c.Remote {
					cs = append(cs, c, c.Flip())
				}
			}
			return cs
		}
		g.Apply(1, contacts(10))
		g.Apply(1, contacts(11))
		old := g.Freeze()
		g.Apply(1, contacts(12))
		g.Expire(11)
		v := g.Freeze()
		for x, got := range v.Match(old) {
			want, ok := v.Find(old.Host(Vertex(x)))
			if !ok {
				want = None
			}
			if got != want {
				t.Fatalf("seed %d vertex %d: got %d, want %d", seed, x, got, want)
			}
		}
	}
	for x, got := range FromLinks(3, nil, nil).Match(FromLinks(5, nil, nil)) {
		if want := []Vertex{0, 1, 2, None, None}[x]; got != want {
			t.Errorf("vertex %d of links: got %d, want %d", x, got, want)
		}
	}
}
