package detector

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/flowhound/flowhound/detector/graph"
	"github.com/flowhound/flowhound/detector/verdict"
	"github.com/flowhound/flowhound/federation/wire"
	"github.com/flowhound/flowhound/internal/flow"
)

// The closer ends a slice when all live collectors did, when patience is over,
// and never a slice of the future; of several it ends the newest.
func TestCloser(t *testing.T) {
	at := func(s flow.Slice, offset time.Duration) time.Time {
		return time.UnixMilli(int64(s) * 1000).Add(offset)
	}
	m := newIngest(100, &recorded{})
	c := newCloser(5*time.Second, time.Second)
	seq := uint64(0)
	commit := func(name string, ended flow.Slice) {
		seq++
		flush := uint64(1)
		if src := m.sources[name]; src != nil {
			flush = src.commit.Flush + 1
		}
		m.message(seq, wire.Commit{Collector: name, Incarnation: 1, Flush: flush, Ended: ended})
	}
	f := func(now time.Time, want flow.Slice, without ...string) {
		t.Helper()
		got, ok := c.decide(m, now)
		if ok != (want > 0) || got.Slice != want || !slices.Equal(got.Without, without) {
			t.Errorf("at %v: got %+v %v, want slice %d without %q", now.UnixMilli(), got, ok, want, without)
		}
	}
	apply := func(s flow.Slice, without ...string) {
		seq++
		m.message(seq, wire.Close{Slice: s, Without: without})
	}
	f(at(100, 0), 0) // nobody is there
	commit("a", 0)
	f(at(100, 0), 0) // a has ended nothing yet
	commit("a", 99)
	f(at(100, 0), 99)
	apply(99)
	f(at(100, 0), 0)
	commit("b", 99)
	commit("a", 103)
	f(at(104, 0), 0) // b is waited for
	f(at(104, 4999*time.Millisecond), 0)
	f(at(104, 5*time.Second), 103, "b")
	commit("b", 102)
	f(at(104, 1*time.Second), 102) // both ended it
	apply(103, "b")
	commit("a", 104)
	f(at(105, 0), 104) // b has not caught up
	commit("b", 103)
	f(at(105, 0), 0) // b is back
	commit("b", 105)
	f(at(106, 0), 104)
	apply(104)
	commit("a", 5000) // a's clock is broken
	f(at(106, 0), 105)
	apply(105)
	commit("b", 6000)
	f(at(106, 0), 106)
}

// A suspect that is shown stays while it is within 1.5·k, and never are more
// than k shown.
func TestTopKHysteresis(t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 4))
	const k, hosts = 10, 40
	links := make([]uint32, hosts)
	for i := range links {
		links[i] = uint32((i + 1) % hosts)
	}
	self := make([]uint32, hosts)
	for i := range self {
		self[i] = uint32(i)
	}
	view := graph.FromLinks(hosts, self, links)
	top := topK{k: k}
	shown, changes, plain := map[graph.Vertex]bool{}, 0, 0
	before := map[graph.Vertex]bool{}
	strength := make([]float64, hosts)
	for i := range strength {
		strength[i] = float64(hosts - i)
	}
	for seq := range uint64(200) {
		order := make([]graph.Vertex, hosts)
		noisy := make([]float64, hosts)
		for i := range order {
			order[i], noisy[i] = graph.Vertex(i), strength[i]+4*rng.Float64()
		}
		slices.SortFunc(order, func(a, b graph.Vertex) int {
			if noisy[a] > noisy[b] {
				return -1
			}
			return 1
		})
		e := &epoch{seq: seq + 1, view: view}
		for _, x := range order {
			e.verdict.Suspects = append(e.verdict.Suspects, verdict.Suspect{Vertex: x})
		}
		places := top.choose(e)
		if again := top.choose(e); fmt.Sprint(again) != fmt.Sprint(places) {
			t.Fatalf("epoch %d: two scrapes differ: %v and %v", seq, places, again)
		}
		if len(places) != k {
			t.Fatalf("epoch %d: %d shown, want %d", seq, len(places), k)
		}
		now, best := map[graph.Vertex]bool{}, map[graph.Vertex]bool{}
		for _, i := range places {
			now[order[i]] = true
			if i >= k+k/2 {
				t.Fatalf("epoch %d: place %d is shown", seq, i)
			}
		}
		for i, x := range order {
			if shown[x] && i < k+k/2 && !now[x] {
				t.Fatalf("epoch %d: %d was shown, is in place %d, and is gone", seq, x, i)
			}
			if i < k {
				best[x] = true
			}
		}
		changes, plain = changes+missing(shown, now), plain+missing(before, best)
		shown, before = now, best
	}
	if changes*4 > plain {
		t.Errorf("%d changes, %d without hysteresis: want fewer than a quarter", changes, plain)
	}
}

// missing counts the members of a that are not in b.
func missing(a, b map[graph.Vertex]bool) (n int) {
	for x := range a {
		if !b[x] {
			n++
		}
	}
	return n
}

// BenchmarkIngest applies commits of 16 batches with 1000 contacts each, links
// that are known and links that are new in equal parts.
func BenchmarkIngest(b *testing.B) {
	rng := rand.New(rand.NewPCG(1, 1))
	d := &Detector{cfg: DefaultConfig()}
	d.graph = graph.New(d.graphConfig())
	m := newIngest(100, effects{d})
	const batches, contacts = 16, 1000
	c := wire.Commit{Collector: "a", Incarnation: 1, Ended: 99}
	m.message(1, c)
	m.closed, m.open = 99, 100
	next := uint32(0)
	seq := uint64(1)
	var streams [Streams]uint64
	size := 0
	for b.Loop() {
		b.StopTimer()
		var payloads [][]byte
		for i := range batches {
			shard := flow.Shard(i)
			c.Last[shard]++
			cs := make([]flow.Contact, contacts)
			for j := range cs {
				to := rng.Uint32N(next + 1)
				if j%2 == 0 {
					next++
					to = next
				}
				from := host(rng.Uint32N(1 << 16))
				from.Shard = shard
				cs[j] = flow.Contact{Local: from, Remote: host(to), Slice: 100, FirstMS: 100_000, LastMS: 100_500, Bits: flow.BitOut, Out: flow.Counters{Flows: 1, Packets: 2, Bytes: 99}}
			}
			payloads = append(payloads, wire.AppendBatch(nil, wire.Header{Collector: "a", Incarnation: 1, Shard: shard, Seq: c.Last[shard]}, cs))
			size += len(payloads[i])
		}
		b.StartTimer()
		for i, p := range payloads {
			streams[i%Streams]++
			m.batch(i%Streams, streams[i%Streams], flow.Shard(i), p)
		}
		seq++
		c.Flush++
		m.message(seq, c)
	}
	if int(m.stats.Contacts) != b.N*batches*contacts {
		b.Fatalf("%d contacts applied, want %d", m.stats.Contacts, b.N*batches*contacts)
	}
	b.ReportMetric(float64(b.N*batches*contacts)/b.Elapsed().Seconds(), "contacts/s")
	b.ReportMetric(float64(size)/float64(b.N*batches*contacts), "bytes/contact")
}
