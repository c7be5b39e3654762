package graph

import (
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/flowhound/flowhound/internal/flow"
)

// Of n links of one source the cap keeps MaxOutDegree, and counts each of the
// others, in whatever order they come: those refused, and those that had to go
// for a later one.
func TestDegreeCapCounts(t *testing.T) {
	for seed := range uint64(30) {
		rng := rand.New(rand.NewPCG(seed, 7))
		n, most := 1+rng.IntN(60), 1+rng.IntN(20)
		g := New(Config{MaxOutDegree: uint32(most)})
		source := flow.Host{Pseudonym: flow.Pseudonym{1}, Shard: 200}
		for _, i := range rng.Perm(n) {
			to := flow.Host{Pseudonym: flow.Pseudonym{2, byte(i)}, Shard: flow.Shard(100 + 10*i)}
			g.Apply(1, []flow.Contact{{Local: source, Remote: to, Slice: 100, Bits: flow.BitOut}})
		}
		s, kept := g.Stats(), min(n, most)
		if s.Links != uint64(kept) || s.Drops[DegreeCap] != uint64(n-kept) {
			t.Errorf("seed %d, %d links of at most %d: got %d links, %d dropped", seed, n, most, s.Links, s.Drops[DegreeCap])
		}
		if s.Hosts != uint64(kept)+1 || s.Pairs != uint64(kept) {
			t.Errorf("seed %d, %d links of at most %d: got %d hosts, %d pairs", seed, n, most, s.Hosts, s.Pairs)
		}
	}
}

// The memory that a graph says it has is what the heap has grown by, which
// rounds the sizes of arrays up.
func TestBytesAreThoseOfTheHeap(t *testing.T) {
	heap := func() float64 {
		runtime.GC()
		runtime.GC() // what the first one freed is swept
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return float64(m.HeapAlloc)
	}
	rng := rand.New(rand.NewPCG(1, 8))
	few, many := randomContacts(rng, 1000, 200_000, 100), randomContacts(rng, 60_000, 200_000, 100)
	f := func(what string, most uint32, contacts []flow.Contact) *Graph {
		t.Helper()
		before := heap()
		g := New(Config{MaxOutDegree: most})
		g.Apply(1, contacts)
		got, want := float64(g.Stats().Bytes), heap()-before
		if got < 0.88*want || got > want {
			t.Errorf("%s: the graph says %.0f bytes, the heap %.0f", what, got, want)
		}
		return g
	}
	a, b := f("many hosts", 1<<20, many), f("capped sources", 90, few)
	if len(b.capped) < 900 {
		t.Errorf("got %d capped sources, want most of 1000", len(b.capped))
	}
	runtime.KeepAlive(a)
	runtime.KeepAlive(few)
	runtime.KeepAlive(many)
}

// The reasons are labels that alert rules name.
func TestReasons(t *testing.T) {
	want := map[Reason]string{
		NotOwned: "not_owned", SelfLink: "self_link", Empty: "empty", TooOld: "too_old", TooNew: "too_new",
		DegreeCap: "degree_cap", LinkLimit: "link_limit", Full: "full",
	}
	for r := range Reasons {
		if r.String() != want[r] {
			t.Errorf("reason %d: got %q, want %q", r, r, want[r])
		}
	}
}
