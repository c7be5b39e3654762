package graph

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/flowhound/flowhound/internal/flow"
)

// The benchmarks' graph has the shape of the paper's at a sixteenth of its
// size: 1 M hosts, skewed in-degrees, nine of ten links answered.
const (
	benchHosts = 1 << 20
	benchPairs = 2_000_000
)

func benchHost(x uint32) (h flow.Host) {
	a := uint64(x+1) * 0x9e3779b97f4a7c15
	a = (a ^ a>>29) * 0xbf58476d1ce4e5b9
	binary.LittleEndian.PutUint64(h.Pseudonym[:], a^a>>32)
	binary.LittleEndian.PutUint64(h.Pseudonym[8:], a*0x94d049bb133111eb)
	h.Shard = flow.Shard(a >> 17)
	return h
}

// benchContacts returns both halves of contacts in batches per shard, as the
// log delivers them.
func benchContacts(pairs int, slice flow.Slice, seed uint64) [][]flow.Contact {
	rng := rand.New(rand.NewPCG(seed, 2))
	var byShard [flow.Shards][]flow.Contact
	for range pairs {
		server := uint32(math.Pow(rng.Float64(), 3) * benchHosts)
		c := flow.Contact{
			Local: benchHost(rng.Uint32N(benchHosts)), Remote: benchHost(server), Slice: slice,
			Bits: flow.BitOut, Out: flow.Counters{Flows: 1, Bytes: 1000}, Port: 443, Proto: 6,
		}
		if rng.IntN(10) > 0 {
			c.Bits |= flow.BitIn | flow.BitAnswered
		}
		byShard[c.Local.Shard] = append(byShard[c.Local.Shard], c)
		byShard[c.Remote.Shard] = append(byShard[c.Remote.Shard], c.Flip())
	}
	return slices.Collect(slices.Values(byShard[:]))
}

// cpuSeconds returns the processor time of the process so far. Rates per
// processor second hold on a busy machine too.
func cpuSeconds(b *testing.B) float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return float64(u.Utime.Sec+u.Stime.Sec) + float64(u.Utime.Usec+u.Stime.Usec)/1e6
}

func applyAll(g *Graph, batches [][]flow.Contact) (contacts int) {
	for _, b := range batches {
		g.Apply(1, b)
		contacts += len(b)
	}
	return contacts
}

// BenchmarkApplyNew enters links that are not known yet.
func BenchmarkApplyNew(b *testing.B) {
	batches := benchContacts(benchPairs, 100, 1)
	contacts, started := 0, cpuSeconds(b)
	for b.Loop() {
		contacts += applyAll(New(DefaultConfig()), batches)
	}
	b.ReportMetric(float64(contacts)/(cpuSeconds(b)-started)/1e6, "Mcontacts/cpu-s")
}

// BenchmarkApplyKnown refreshes links, the steady state.
func BenchmarkApplyKnown(b *testing.B) {
	batches := benchContacts(benchPairs, 100, 1)
	g := New(DefaultConfig())
	applyAll(g, batches)
	contacts, started := 0, cpuSeconds(b)
	for b.Loop() {
		contacts += applyAll(g, batches)
	}
	b.ReportMetric(float64(contacts)/(cpuSeconds(b)-started)/1e6, "Mcontacts/cpu-s")
	st := g.Stats()
	b.ReportMetric(float64(st.Bytes)/float64(st.Links), "B/link")
	b.ReportMetric(float64(st.Bytes)/float64(st.Hosts), "B/host")
}

// BenchmarkFreeze freezes after 1 % new links and the expiry of 1 %.
func BenchmarkFreeze(b *testing.B) {
	g := New(DefaultConfig())
	started := time.Now()
	for s := range 10 {
		applyAll(g, benchContacts(benchPairs/10, flow.Slice(100+s), uint64(s)))
	}
	g.Freeze()
	b.Logf("build from nothing %v (the contacts' making included)", time.Since(started))
	links := 0
	for i := 0; b.Loop(); i++ {
		b.StopTimer()
		applyAll(g, benchContacts(benchPairs/100, 109, uint64(100+i)))
		b.StartTimer()
		links += g.Freeze().Links()
	}
	b.ReportMetric(float64(links)/b.Elapsed().Seconds()/1e6, "Mlinks/s")
}
