package botnet

import (
	"math/bits"
	"math/rand/v2"
	"slices"
	"testing"
)

func source(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 1)) }

func build(t *testing.T, f Family, n int, seed uint64) Overlay {
	t.Helper()
	o, err := Build(f, n, source(seed))
	if err != nil {
		t.Fatal(err)
	}
	if len(o.IDs) != n || !slices.IsSorted(o.IDs) || len(slices.Compact(slices.Clone(o.IDs))) != n {
		t.Fatalf("%s n %d: ids are not %d distinct ascending ones", f, n, n)
	}
	seen := map[Link]bool{}
	for _, l := range o.Links {
		if l.From == l.To || int(l.From) >= n || int(l.To) >= n || seen[l] {
			t.Fatalf("%s n %d: link %v is a self-link, a duplicate or out of range", f, n, l)
		}
		seen[l] = true
	}
	return o
}

func rows(o Overlay) []map[uint32]bool {
	r := make([]map[uint32]bool, len(o.IDs))
	for i := range r {
		r[i] = map[uint32]bool{}
	}
	for _, l := range o.Links {
		r[l.From][l.To] = true
	}
	return r
}

// slowSuccessor finds the id with the smallest clockwise distance from x.
func slowSuccessor(ids []uint64, x uint64) uint32 {
	best := 0
	for i := range ids {
		if ids[i]-x < ids[best]-x {
			best = i
		}
	}
	return uint32(best)
}

// slowPredecessor finds the id with the smallest counter-clockwise distance.
func slowPredecessor(ids []uint64, x uint64) uint32 {
	best := 0
	for i := range ids {
		if x-ids[i] < x-ids[best] {
			best = i
		}
	}
	return uint32(best)
}

func TestChordFingersAreSuccessors(t *testing.T) {
	for _, n := range []int{2, 3, 17, 200} {
		o := build(t, Chord, n, uint64(n))
		got := rows(o)
		for i, id := range o.IDs {
			want := map[uint32]bool{}
			for b := range 64 {
				if s := slowSuccessor(o.IDs, id+1<<b); s != uint32(i) {
					want[s] = true
				}
			}
			if !equal(got[i], want) {
				t.Fatalf("n %d bot %d: got fingers %v, want %v", n, i, got[i], want)
			}
		}
	}
}

func TestKademliaFillsEveryBucket(t *testing.T) {
	for _, n := range []int{2, 5, 64, 300} {
		for f, k := range map[Family]int{Kademlia: 8, Kademlia20: 20} {
			o := build(t, f, n, uint64(n))
			for i, row := range rows(o) {
				var size, have [64]int
				for j := range o.IDs {
					if j != i {
						size[bits.LeadingZeros64(o.IDs[i]^o.IDs[j])]++
					}
				}
				for j := range row {
					have[bits.LeadingZeros64(o.IDs[i]^o.IDs[j])]++
				}
				for b := range size {
					if have[b] != min(k, size[b]) {
						t.Fatalf("%s n %d bot %d bucket %d: %d contacts of %d members, want %d",
							f, n, i, b, have[b], size[b], min(k, size[b]))
					}
				}
			}
		}
	}
}

// Contacts of a bucket are uniform: over many draws each of the 10 members of
// a bucket is taken 8 times in 10.
func TestKademliaSampleIsUniform(t *testing.T) {
	var count [10]int
	rng := source(3)
	const draws = 20000
	for range draws {
		for _, p := range appendSample(nil, 0, 10, 8, rng) {
			count[p]++
		}
	}
	for i, c := range count {
		if c < draws*78/100 || c > draws*82/100 {
			t.Errorf("member %d: taken %d times of %d, want 80 %% ± 2", i, c, draws)
		}
	}
}

func TestKoordePointsAtPredecessorOfMultiple(t *testing.T) {
	for _, n := range []int{2, 3, 50, 300} {
		m := bits.Len(uint(n)) - 1
		for _, c := range []struct {
			f        Family
			degree   uint64
			pointers int
		}{{Koorde, 2, 1}, {KoordeLogN, uint64(max(m, 2)), m}} {
			o := build(t, c.f, n, uint64(n))
			got := rows(o)
			for i, id := range o.IDs {
				want := map[uint32]bool{}
				add := func(v uint32) uint32 {
					if v != uint32(i) {
						want[v] = true
					}
					return v
				}
				add(slowSuccessor(o.IDs, id+1))
				p := add(slowPredecessor(o.IDs, c.degree*id))
				for range c.pointers - 1 {
					p = add(slowSuccessor(o.IDs, o.IDs[p]+1))
				}
				if !equal(got[i], want) {
					t.Fatalf("%s n %d bot %d: got %v, want %v", c.f, n, i, got[i], want)
				}
			}
		}
	}
}

func TestDeBruijnDoublesRanks(t *testing.T) {
	for _, n := range []int{2, 7, 128} {
		o := build(t, DeBruijn, n, 1)
		for _, l := range o.Links {
			if a, b := 2*int(l.From)%n, (2*int(l.From)+1)%n; int(l.To) != a && int(l.To) != b {
				t.Fatalf("n %d: link %v, want to %d or %d", n, l, a, b)
			}
		}
		loops := 0
		for i := range n {
			if 2*i%n == i || (2*i+1)%n == i {
				loops++
			}
		}
		if len(o.Links) != 2*n-loops {
			t.Errorf("n %d: %d links, want %d", n, len(o.Links), 2*n-loops)
		}
	}
}

// The detection notes §3.0 give the links per bot of 3,230 bots: Chord 12.0,
// Koorde 2.0, logarithmic Koorde 12.0, de Bruijn 2.0. For Kademlia they report
// 71.8 and 152.9 from draws with repetition; full buckets hold 5 to 8 % more.
func TestLinksPerBotMatchNotes(t *testing.T) {
	f := func(fam Family, lo, hi float64) {
		o := build(t, fam, 3230, 7)
		if got := float64(len(o.Links)) / 3230; got < lo || got > hi {
			t.Errorf("%s: %.2f links a bot, want %.1f … %.1f", fam, got, lo, hi)
		}
	}
	f(Chord, 11.8, 12.8)
	f(Kademlia, 71, 78)
	f(Kademlia20, 152, 168)
	f(Koorde, 1.9, 2)
	f(KoordeLogN, 11.8, 12)
	f(DeBruijn, 1.99, 2)
}

func TestBuildRepeatsAndRefuses(t *testing.T) {
	for _, f := range Families {
		a, b := build(t, f, 100, 5), build(t, f, 100, 5)
		if !slices.Equal(a.IDs, b.IDs) || !slices.Equal(a.Links, b.Links) {
			t.Errorf("%s: two draws from one seed differ", f)
		}
	}
	if _, err := Build("token-ring", 10, source(1)); err == nil {
		t.Error("unknown family: no error")
	}
	if _, err := Build(Chord, 1, source(1)); err == nil {
		t.Error("one bot: no error")
	}
}

// Ids that lie exactly where a finger or pointer aims: the successor of x is x
// itself if x is taken (Stoica 2001 §IV-B), and so is the predecessor.
func TestExactHits(t *testing.T) {
	ids := []uint64{0, 1, 2, 4, 8, 16, 1 << 63}
	if got := rows(BuildChord(ids))[0]; !equal(got, map[uint32]bool{1: true, 2: true, 3: true, 4: true, 5: true, 6: true}) {
		t.Errorf("chord: fingers of id 0 are %v, want every other bot", got)
	}
	ids = []uint64{2, 3, 4, 6, 8, 9}
	got := rows(BuildKoorde(ids, 2, 1))
	for i, double := range []uint32{2, 3, 4} {
		if want := map[uint32]bool{uint32(i) + 1: true, double: true}; !equal(got[i], want) {
			t.Errorf("koorde: id %d has links to %v, want its successor and id %d", ids[i], got[i], ids[double])
		}
	}
	// 2·9 = 18 is free: its predecessor is 9 itself, which is no link.
	if !equal(got[5], map[uint32]bool{0: true}) {
		t.Errorf("koorde: id 9 has links to %v, want its successor only", got[5])
	}
}

func equal(a, b map[uint32]bool) bool {
	if len(a) != len(b) {
		return false
	}
	for k := range a {
		if !b[k] {
			return false
		}
	}
	return true
}
