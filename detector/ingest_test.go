package detector

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/flowhound/flowhound/federation/wire"
	"github.com/flowhound/flowhound/internal/flow"
)

// simLog is a log with the time at which each message was appended.
type simLog struct {
	now     int
	control []simMessage
	streams [Streams][]simMessage
}

type simMessage struct {
	at      int
	control wire.Control
	shard   flow.Shard
	payload []byte
}

// recorded is a sink that keeps, per Close, what was applied before it.
type recorded struct {
	applied []int64 // FirstMS·2³² + slice of each contact since the last Close
	closes  []string
}

func (r *recorded) Apply(_ flow.Generation, cs []flow.Contact) {
	for _, c := range cs {
		r.applied = append(r.applied, c.FirstMS<<32+int64(c.Slice))
	}
}

func (r *recorded) Advance(flow.Slice) {}

func (r *recorded) Close(c wire.Close) {
	slices.Sort(r.applied)
	r.closes = append(r.closes, fmt.Sprint(c.Slice, r.applied))
	r.applied = nil
}

func (r *recorded) clone() *recorded {
	return &recorded{slices.Clone(r.applied), slices.Clone(r.closes)}
}

// simCollector writes flushes into a simLog as a collector does: batches in
// any order, some twice, some lost by the log; then a commit, unless it dies.
type simCollector struct {
	commit  wire.Commit
	last    [flow.Shards]uint64
	slice   flow.Slice
	unsent  []simMessage
	sending bool
}

// simulate returns a log of n steps of several collectors and closes.
func simulate(rng *rand.Rand, n int) *simLog {
	l := &simLog{}
	var collectors []*simCollector
	for i := range 1 + rng.IntN(3) {
		collectors = append(collectors, &simCollector{commit: wire.Commit{Collector: fmt.Sprintf("pop%d", i), Incarnation: 1}, slice: 10})
	}
	id, closed := int64(0), flow.Slice(0)
	for range n {
		l.now++
		c := collectors[rng.IntN(len(collectors))]
		switch {
		case rng.IntN(25) == 0:
			closed += flow.Slice(rng.IntN(3))
			closed = max(closed, 9)
			closing := wire.Close{Slice: closed}
			if rng.IntN(3) == 0 {
				closing.Without = []string{c.commit.Collector}
			}
			l.control = append(l.control, simMessage{at: l.now, control: closing})
		case rng.IntN(40) == 0: // dies; what it sent stays
			c.commit = wire.Commit{Collector: c.commit.Collector, Incarnation: c.commit.Incarnation + 1, Ended: c.commit.Ended}
			c.last, c.unsent, c.sending = [flow.Shards]uint64{}, nil, false
		case !c.sending:
			c.flush(rng, &id)
		case len(c.unsent) > 0:
			m := c.unsent[0]
			c.unsent = c.unsent[1:]
			if rng.IntN(60) > 0 { // else lost by the log
				m.at = l.now
				l.streams[m.shard%Streams] = append(l.streams[m.shard%Streams], m)
			}
		default:
			c.commit.Flush++
			c.commit.Last = c.last
			c.commit.Ended = c.slice - 1
			c.slice += flow.Slice(rng.IntN(2))
			l.control = append(l.control, simMessage{at: l.now, control: c.commit})
			c.sending = false
		}
	}
	return l
}

func (c *simCollector) flush(rng *rand.Rand, id *int64) {
	for range rng.IntN(5) {
		shard := flow.Shard(rng.IntN(12))
		c.last[shard]++
		var cs []flow.Contact
		for range 1 + rng.IntN(3) {
			*id++
			cs = append(cs, flow.Contact{
				Local: flow.Host{Shard: shard}, Remote: flow.Host{Shard: 3, Pseudonym: flow.Pseudonym{1}},
				Slice: c.slice + flow.Slice(rng.IntN(3)), FirstMS: *id, LastMS: *id, Bits: flow.BitOut,
			})
		}
		h := wire.Header{Collector: c.commit.Collector, Incarnation: c.commit.Incarnation, Shard: shard, Seq: c.last[shard]}
		m := simMessage{shard: shard, payload: wire.AppendBatch(nil, h, cs)}
		c.unsent = append(c.unsent, m)
		if rng.IntN(6) == 0 {
			c.unsent = append(c.unsent, m)
		}
	}
	rng.Shuffle(len(c.unsent), func(i, j int) { c.unsent[i], c.unsent[j] = c.unsent[j], c.unsent[i] })
	c.sending = true
}

// naive computes from the whole log at once, in the words of the protocol's
// definition, what each Close must have seen.
func naive(l *simLog) []string {
	batches := map[string][]byte{}
	for _, stream := range l.streams {
		for _, m := range stream {
			h, err := wire.ReadHeader(m.payload)
			if err != nil {
				panic(err)
			}
			batches[h.ID()] = m.payload
		}
	}
	newest := map[string]wire.Commit{}
	closed := flow.Slice(0)
	var counted []flow.Contact
	r := &recorded{}
	for _, m := range l.control {
		switch c := m.control.(type) {
		case wire.Commit:
			old := newest[c.Collector]
			if old.Incarnation != c.Incarnation {
				old.Last = [flow.Shards]uint64{}
			}
			newest[c.Collector] = c
			for shard := range c.Last {
				for seq := old.Last[shard] + 1; seq <= c.Last[shard]; seq++ {
					id := wire.Header{Collector: c.Collector, Incarnation: c.Incarnation, Shard: flow.Shard(shard), Seq: seq}.ID()
					if payload, ok := batches[id]; ok {
						_, cs, _ := wire.ReadBatch(payload, nil)
						for i := range cs {
							if cs[i].Slice <= closed {
								cs[i].Slice = closed + 1
							}
						}
						counted = append(counted, cs...)
					}
				}
			}
		case wire.Close:
			if c.Slice <= closed {
				continue
			}
			closed = c.Slice
			var later []flow.Contact
			for _, k := range counted {
				if k.Slice <= closed {
					r.Apply(0, []flow.Contact{k})
				} else {
					later = append(later, k)
				}
			}
			counted = later
			r.Close(c)
		}
	}
	return r.closes
}

// Whatever is read ahead, whenever the log is asked for its end, and wherever
// the machine dies and is set back to a saved state, each Close sees what the
// definition says.
func TestIngestIsTheDefinition(t *testing.T) {
	closes, gaps, late, superseded, duplicates, restarts := 0, uint64(0), uint64(0), uint64(0), uint64(0), 0
	for seed := range uint64(400) {
		rng := rand.New(rand.NewPCG(seed, 1))
		l := simulate(rng, 300)
		want := naive(l)
		got, stats, n := drive(t, rng, l)
		restarts += n
		if !slices.Equal(got, want) {
			for i := range min(len(got), len(want)) {
				if got[i] != want[i] {
					t.Fatalf("seed %d close %d:\ngot  %s\nwant %s", seed, i, got[i], want[i])
				}
			}
			t.Fatalf("seed %d: got %d closes, want %d", seed, len(got), len(want))
		}
		closes += len(want)
		gaps, late, superseded, duplicates = gaps+stats.Gaps, late+stats.Late, superseded+stats.Superseded, duplicates+stats.Duplicates
	}
	for what, n := range map[string]uint64{"closes": uint64(closes), "gaps": gaps, "late": late, "superseded": superseded, "duplicates": duplicates, "restarts": uint64(restarts)} {
		if n < 100 {
			t.Errorf("only %d %s in all runs: the simulation does not reach them", n, what)
		}
	}
}

// drive runs a machine over the log with random read-ahead and crashes.
func drive(t *testing.T, rng *rand.Rand, l *simLog) (closes []string, stats ingestStats, restarts int) {
	out := &recorded{}
	m := newIngest(1000, out)
	now := 0
	type saved struct {
		state []byte
		out   *recorded
	}
	saves := []saved{{m.save(nil), out.clone()}}
	visible := func(stream int) int {
		n, _ := slices.BinarySearchFunc(l.streams[stream], now+1, func(m simMessage, at int) int { return m.at - at })
		return n
	}
	feed := func(stream int) bool {
		i := int(m.streams[stream])
		if i >= visible(stream) {
			return false
		}
		b := l.streams[stream][i]
		m.batch(stream, uint64(i)+1, b.shard, b.payload)
		return true
	}
	for {
		switch next := m.next(); {
		case rng.IntN(15) == 0:
			feed(rng.IntN(Streams))
		case rng.IntN(15) == 0:
			saves = append(saves, saved{m.save(nil), out.clone()})
		case rng.IntN(40) == 0:
			s := saves[rng.IntN(len(saves))]
			out, restarts = s.out.clone(), restarts+1
			add(&stats, m.stats)
			m = newIngest(1000, out)
			if err := m.restore(s.state); err != nil {
				t.Fatal(err)
			}
			if again := m.save(nil); !slices.Equal(again, s.state) {
				t.Fatal("saving a restored state gives other bytes")
			}
		case next == fromControl && int(m.control) == len(l.control):
			add(&stats, m.stats)
			return out.closes, stats, restarts
		case next == fromControl:
			c := l.control[m.control]
			now = max(now, c.at+rng.IntN(20))
			m.message(m.control+1, c.control)
		case !feed(next):
			m.end(next, uint64(visible(next)))
		}
	}
}

func add(to *ingestStats, s ingestStats) {
	to.Gaps += s.Gaps
	to.Late += s.Late
	to.Superseded += s.Superseded
	to.Duplicates += s.Duplicates
}

// A batch with a broken checksum, in the wrong subject or the wrong stream is
// counted, and its commit counts it as a gap.
func TestIngestBadBatches(t *testing.T) {
	out := &recorded{}
	m := newIngest(100, out)
	batch := func(seq uint64) []byte {
		return wire.AppendBatch(nil, wire.Header{Collector: "a", Incarnation: 1, Shard: 1, Seq: seq}, []flow.Contact{{Local: flow.Host{Shard: 1}, Slice: 5}})
	}
	flipped := batch(1)
	flipped[7] ^= 1
	m.batch(1, 1, 1, flipped)
	m.batch(1, 2, 9, batch(2))
	m.batch(2, 1, 1, batch(3))
	m.batch(1, 3, 1, batch(4))
	commit := wire.Commit{Collector: "a", Incarnation: 1, Flush: 1, Ended: 4}
	commit.Last[1] = 4
	m.message(1, commit)
	if got := m.next(); got != 1 {
		t.Fatalf("next: got %d, want stream 1", got)
	}
	m.end(1, 3)
	m.message(2, nil)
	m.message(3, wire.Close{Slice: 5})
	if s := m.stats; s.BadBatches != 3 || s.Gaps != 3 || s.Batches != 1 || s.BadControl != 1 || len(out.closes) != 1 {
		t.Errorf("got %+v, closes %q", s, out.closes)
	}
}

// A contact far in the future is dropped and never waited for.
func TestIngestFutureContacts(t *testing.T) {
	out := &recorded{}
	m := newIngest(3, out)
	var cs []flow.Contact
	for s := range flow.Slice(12) {
		cs = append(cs, flow.Contact{Local: flow.Host{Shard: 1}, Slice: 5 + s, FirstMS: int64(s)})
	}
	m.batch(1, 1, 1, wire.AppendBatch(nil, wire.Header{Collector: "a", Incarnation: 1, Shard: 1, Seq: 1}, cs))
	commit := wire.Commit{Collector: "a", Incarnation: 1, Flush: 1, Ended: 4}
	commit.Last[1] = 1
	m.message(1, commit)
	m.message(2, wire.Close{Slice: 6})
	m.message(3, wire.Close{Slice: 30})
	if m.stats.Future != 9 || m.stats.Contacts != 3 || m.stats.HeldBatches != 0 {
		t.Errorf("got %+v, want 9 future contacts, 3 applied, none held", m.stats)
	}
}

// Every cut and every flipped byte of a saved state is an error or reads as
// some state; it never panics.
func FuzzIngestRestore(f *testing.F) {
	l := simulate(rand.New(rand.NewPCG(3, 3)), 50)
	m := newIngest(1000, &recorded{})
	for stream := range l.streams {
		for i, b := range l.streams[stream] {
			m.batch(stream, uint64(i)+1, b.shard, b.payload)
		}
	}
	for i, c := range l.control[:len(l.control)/2] {
		if m.next() != fromControl {
			m.end(m.next(), 1<<40)
		}
		m.message(uint64(i)+1, c.control)
		for m.next() != fromControl {
			m.end(m.next(), m.streams[m.next()])
		}
	}
	state := m.save(nil)
	f.Add(state)
	for i := 0; i < len(state); i += len(state)/8 + 1 {
		f.Add(state[:i])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		_ = newIngest(1000, &recorded{}).restore(b)
	})
}
