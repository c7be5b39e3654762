// Package botnet draws the overlays that peer-to-peer botnets form: Chord,
// Kademlia, Koorde and de Bruijn graphs over bots with random 64-bit ring
// ids, as BotCloud (François et al. 2011) §V and the detection notes use them.
// Everything is a pure function of the given random source.
package botnet

import (
	"fmt"
	"math/bits"
	"math/rand/v2"
	"slices"
	"sort"
)

// Link says that bot From keeps bot To in its routing table and talks to it.
// Both are indices below the overlay's size.
type Link struct{ From, To uint32 }

// Overlay is one drawn botnet. Its bots are numbered by ascending ring id.
type Overlay struct {
	IDs   []uint64 // ascending, distinct; len = number of bots
	Links []Link   // directed, without self-links and duplicates, by From
}

// Family names a kind of overlay.
type Family string

// The families that [Build] knows.
const (
	Kademlia   Family = "kademlia"    // k = 8 contacts in each XOR bucket
	Kademlia20 Family = "kademlia20"  // k = 20, as BitTorrent-sized tables have
	Chord      Family = "chord"       // fingers at id + 2^b
	Koorde     Family = "koorde"      // successor and one de Bruijn pointer
	KoordeLogN Family = "koorde-logn" // successor and log2 n de Bruijn pointers
	DeBruijn   Family = "debruijn"    // binary de Bruijn graph on the ranks
)

// Families lists every [Family].
var Families = []Family{Kademlia, Kademlia20, Chord, Koorde, KoordeLogN, DeBruijn}

// Build draws an overlay of the family over n bots, n ≥ 2. An unknown family
// or too few bots is an error.
func Build(f Family, n int, rng *rand.Rand) (Overlay, error) {
	if n < 2 {
		return Overlay{}, fmt.Errorf("overlay %q: %d bots, want at least 2", f, n)
	}
	ids := ringIDs(n, rng)
	switch f {
	case Kademlia:
		return BuildKademlia(ids, 8, rng), nil
	case Kademlia20:
		return BuildKademlia(ids, 20, rng), nil
	case Chord:
		return BuildChord(ids), nil
	case Koorde:
		return BuildKoorde(ids, 2, 1), nil
	case KoordeLogN:
		m := bits.Len(uint(n)) - 1
		return BuildKoorde(ids, uint64(max(m, 2)), m), nil
	case DeBruijn:
		return BuildDeBruijn(ids), nil
	}
	return Overlay{}, fmt.Errorf("overlay %q: unknown family, want one of %q", f, Families)
}

// ringIDs draws n distinct ids in ascending order.
func ringIDs(n int, rng *rand.Rand) []uint64 {
	ids := make([]uint64, n)
	for {
		for i := range ids {
			ids[i] = rng.Uint64()
		}
		slices.Sort(ids)
		if len(slices.Compact(slices.Clone(ids))) == n {
			return ids
		}
	}
}

// BuildChord links each bot to the successors of id + 2^b for b = 0 … 63
// (Stoica 2001 §IV-C). ids must ascend.
func BuildChord(ids []uint64) Overlay {
	o := Overlay{IDs: ids}
	var row []uint32
	for i, id := range ids {
		row = row[:0]
		for b := range 64 {
			row = append(row, successor(ids, id+1<<b))
		}
		o.addRow(uint32(i), row)
	}
	return o
}

// BuildKademlia links each bot to k random members of each of its buckets, or
// to all members of a smaller bucket; bucket b holds the ids whose XOR
// distance has its highest set bit at position 63−b (Maymounkov 2002 §2.2).
// ids must ascend.
func BuildKademlia(ids []uint64, k int, rng *rand.Rand) Overlay {
	o := Overlay{IDs: ids}
	var row []uint32
	for i, id := range ids {
		row = row[:0]
		for b := range 64 {
			lo, hi := bucket(ids, id, b)
			row = appendSample(row, lo, hi, k, rng)
			if lo, hi := prefixRange(ids, id, b+1); hi-lo == 1 {
				break // alone under this prefix: all further buckets are empty
			}
		}
		o.addRow(uint32(i), row)
	}
	return o
}

// BuildKoorde links each bot to its successor and to the predecessor of
// degree·id, followed by the pointers−1 bots after that predecessor
// (Kaashoek 2003 §3.2, §4.1). ids must ascend.
func BuildKoorde(ids []uint64, degree uint64, pointers int) Overlay {
	o := Overlay{IDs: ids}
	n := uint32(len(ids))
	var row []uint32
	for i, id := range ids {
		row = append(row[:0], (uint32(i)+1)%n)
		// The predecessor of x is the last id that is ≤ x on the ring.
		p := (successor(ids, degree*id+1) + n - 1) % n
		for j := range uint32(pointers) {
			row = append(row, (p+j)%n)
		}
		o.addRow(uint32(i), row)
	}
	return o
}

// BuildDeBruijn links the bot of rank i to the ranks 2i and 2i+1 modulo n.
func BuildDeBruijn(ids []uint64) Overlay {
	o := Overlay{IDs: ids}
	n := uint32(len(ids))
	for i := range n {
		o.addRow(i, []uint32{uint32(2 * uint64(i) % uint64(n)), uint32((2*uint64(i) + 1) % uint64(n))})
	}
	return o
}

// addRow appends bot i's links to row's members, once each and never to i.
func (o *Overlay) addRow(i uint32, row []uint32) {
	slices.Sort(row)
	for j, to := range row {
		if to != i && (j == 0 || row[j-1] != to) {
			o.Links = append(o.Links, Link{i, to})
		}
	}
}

// successor returns the index of the first id ≥ x, going round the ring.
func successor(ids []uint64, x uint64) uint32 {
	i := sort.Search(len(ids), func(i int) bool { return ids[i] >= x })
	return uint32(i % len(ids))
}

// prefixRange returns the index range of the ids that share id's first b bits.
func prefixRange(ids []uint64, id uint64, b int) (lo, hi int) {
	if b == 0 {
		return 0, len(ids)
	}
	low := ^uint64(0) >> b
	lo = sort.Search(len(ids), func(i int) bool { return ids[i] >= id&^low })
	hi = sort.Search(len(ids), func(i int) bool { return ids[i] > id|low })
	return lo, hi
}

// bucket returns the index range of the ids that share id's first b bits and
// differ in the next one.
func bucket(ids []uint64, id uint64, b int) (lo, hi int) {
	return prefixRange(ids, id^1<<(63-b), b+1)
}

// appendSample appends min(k, hi−lo) distinct members of [lo, hi), each subset
// equally likely (Floyd's algorithm, Bentley 1987).
func appendSample(row []uint32, lo, hi, k int, rng *rand.Rand) []uint32 {
	from := len(row)
	for j := max(lo, hi-k); j < hi; j++ {
		pick := uint32(lo + rng.IntN(j-lo+1))
		if slices.Contains(row[from:], pick) {
			pick = uint32(j)
		}
		row = append(row, pick)
	}
	return row
}
