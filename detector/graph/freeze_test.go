package graph

import (
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/flowhound/flowhound/internal/flow"
)

// sameRows compares two views' hosts and rows bit for bit.
func sameRows(a, b *View) bool {
	return a.bounds == b.bounds && a.oldest == b.oldest && a.links == b.links && slices.Equal(a.keys, b.keys) &&
		slices.Equal(a.generations, b.generations) && slices.Equal(a.Start, b.Start) && slices.Equal(a.Peers, b.Peers)
}

// A view made of the last one and the changes since is the view made from
// nothing, whatever happened: few and many changes, hosts that come back, none
// left, capped sources, one or several shards.
func TestFreezeChangesIsFreezeFromNothing(t *testing.T) {
	fromNothing := 0
	defer func() {
		if fromNothing > 150*12/10 {
			t.Errorf("%d of %d views were made from nothing", fromNothing, 150*12)
		}
	}()
	for seed := range uint64(150) {
		rng := rand.New(rand.NewPCG(seed, 4))
		cfg := DefaultConfig()
		cfg.MaxOutDegree = []uint32{4, 1 << 20}[seed%2]
		if seed%5 == 0 {
			cfg.Owned = []flow.Shard{0, 7, 14, 21, 200}
		}
		g := New(cfg)
		hosts, oldest := []int{5, 60, 3000}[seed%3], flow.Slice(100)
		g.Expire(oldest)
		g.Freeze()
		for round := range 12 {
			g.Apply(flow.Generation(round), randomContacts(rng, hosts, rng.IntN(1+[]int{3, 50, 500}[rng.IntN(3)]), oldest))
			oldest += flow.Slice(rng.IntN(3))
			if rng.IntN(6) == 0 {
				oldest += 20 // nothing is left
			}
			g.Expire(oldest)
			if rng.IntN(3) == 0 {
				g.Apply(9, randomContacts(rng, hosts, 20, oldest))
			}
			old := g.base
			keys, peers := slices.Clone(old.keys), slices.Clone(old.Peers)
			got := g.freezeChanges()
			if got == nil {
				g.Freeze() // more than 1024 changes in a small graph
				fromNothing++
				continue
			}
			g.base = got
			if want := copyOf(t, g, cfg).Freeze(); !sameRows(got, want) {
				t.Fatalf("seed %d round %d: got %d hosts, %d links, want %d and %d as from nothing", seed, round,
					got.Len(), got.Links(), want.Len(), want.Links())
			}
			if !slices.Equal(keys, old.keys) || !slices.Equal(peers, old.Peers) {
				t.Fatalf("seed %d round %d: the last view changed", seed, round)
			}
		}
		before := g.Freeze()
		g.Forget()
		if again := g.Freeze(); again == before || !sameRows(before, again) {
			t.Fatalf("seed %d: the view after Forget differs", seed)
		}
	}
}

// After changes to much of the graph the next view is made from nothing.
func TestFreezeAfterMuchChange(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 4))
	g := New(DefaultConfig())
	g.Freeze()
	g.Apply(1, randomContacts(rng, 3000, 5000, 100))
	if g.changes.noted || g.freezeChanges() != nil {
		t.Error("5000 new links of none before are still noted one by one")
	}
	if got, want := g.Freeze(), copyOf(t, g, g.cfg).Freeze(); !sameRows(got, want) {
		t.Error("the view differs")
	}
	g.Apply(1, randomContacts(rng, 3000, 10, 100))
	if g.freezeChanges() == nil {
		t.Error("ten new links: the view is made from nothing")
	}
}

// Contacts that arrive while a view is made belong to the next one, and nothing
// of them is lost; the race detector watches.
func TestApplyWhileFreezing(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 4))
	g := New(DefaultConfig())
	g.Expire(100)
	g.Apply(1, randomContacts(rng, 2000, 4000, 100))
	g.Freeze()
	more := randomContacts(rng, 2000, 3000, 103)
	var wait sync.WaitGroup
	wait.Go(func() {
		for batch := range slices.Chunk(more, 50) {
			g.Apply(2, batch)
		}
		g.Expire(104)
	})
	for range 20 {
		v := g.Freeze()
		if v.Start[v.Len()] != uint32(len(v.Peers)) || v.Links() < len(v.Peers)/2 || v.Links() > len(v.Peers) {
			t.Fatal("a view's rows do not end at its peers")
		}
	}
	wait.Wait()
	if got, want := g.Freeze(), copyOf(t, g, g.cfg).Freeze(); !sameRows(got, want) {
		t.Errorf("got %d hosts, %d links, want %d and %d", got.Len(), got.Links(), want.Len(), want.Links())
	}
}

// The table of new numbers agrees with counting.
func TestRenumbering(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 5))
		n, rare := rng.IntN(600), 1<<rng.IntN(7) // blocks crowded and not
		var gone [flow.Shards][]Vertex
		var inserted [flow.Shards][]insertion
		number := make([]Vertex, n+1)
		next := Vertex(0)
		for x := range n + 1 {
			for rng.IntN(4*rare) == 0 {
				inserted[3] = append(inserted[3], insertion{at: Vertex(x)})
				next++
			}
			number[x] = next
			if x < n && rng.IntN(5*rare) == 0 {
				gone[3] = append(gone[3], Vertex(x))
			} else {
				next++
			}
		}
		r, all := newRenumbering(n, &gone, &inserted), make([]Vertex, n+1)
		for x := range all {
			all[x] = Vertex(x)
		}
		peers := make([]Peer, n+1)
		for x := range peers {
			peers[x] = newPeer(Vertex(x), uint8(x%4))
		}
		r.peers(peers, peers)
		r.vertices(all)
		if !slices.Equal(all, number) {
			t.Fatalf("seed %d: %d vertices, before %v inserted, gone %v: got %d, want %d", seed, n, inserted[3], gone[3], all, number)
		}
		for x, p := range peers {
			if p != newPeer(number[x], uint8(x%4)) {
				t.Fatalf("seed %d: peer %d became %d with directions %b, want %d with %b", seed, x, p.Vertex(), p&peerDirs, number[x], x%4)
			}
		}
	}
}
