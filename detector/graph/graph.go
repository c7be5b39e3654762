// Package graph holds the host graph of the shards that one node owns: who
// talked to whom within the window, kept up to date as contacts arrive and
// expire, and frozen into canonical views that the ranking algorithms read
// (DESIGN decisions 2 to 4; BotCloud, François et al. 2011, §III).
//
// The store has one dictionary per shard of the hosts' own shards, shared by
// owned and foreign hosts, and one record per pair of hosts for both
// directions of traffic. What it holds after a set of contacts and an expiry
// does not depend on the contacts' order.
package graph

import (
	"sync"

	"github.com/flowhound/flowhound/internal/flow"
)

// Graph is the live store. It is safe for concurrent use: Apply, Expire and
// Freeze exclude each other and the readers Stats, Link, [View.Link] and [Saver].
type Graph struct {
	cfg   Config
	owned [flow.Shards]bool // constant

	freezing sync.Mutex // guards base; taken before mu
	base     *View      // the last view, which changes count from

	mu     sync.RWMutex // guards everything below
	hosts  [flow.Shards]hosts
	pairs  [flow.Shards]pairs
	due    map[flow.Slice][]ref // the pairs to look at when a slice expires
	capped map[ref]*cappedSource
	// oldest is the oldest slice kept, newest the newest seen. Until the
	// first contact or Expire, started is false and both are 0.
	oldest, newest flow.Slice
	started        bool
	// unlinks counts dropped pairs: a reference found before is stale.
	unlinks uint64
	changes changes
	stats   Stats
}

// New returns an empty graph of the configured shards. It panics if the
// configuration is not valid.
func New(cfg Config) *Graph {
	if err := cfg.Validate(); err != nil {
		panic("BUG: " + err.Error())
	}
	g := &Graph{
		cfg: cfg, owned: cfg.owned(),
		due: map[flow.Slice][]ref{}, capped: map[ref]*cappedSource{},
	}
	for s := range g.hosts {
		g.hosts[s].reset(0)
		g.pairs[s].reset(0)
	}
	return g
}

// Oldest returns the oldest slice that the graph keeps.
func (g *Graph) Oldest() flow.Slice {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.oldest
}

// Owns reports whether this node owns shard s.
func (g *Graph) Owns(s flow.Shard) bool { return g.owned[s] }

// Stats returns the graph's size and its counters.
func (g *Graph) Stats() Stats {
	g.mu.RLock()
	defer g.mu.RUnlock()
	s := g.stats
	for i := range g.hosts {
		s.Bytes += g.hosts[i].bytes() + g.pairs[i].bytes()
	}
	for _, refs := range g.due {
		s.Bytes += 4 * uint64(cap(refs))
	}
	for _, c := range g.capped {
		s.Bytes += c.bytes()
	}
	s.Bytes += g.changes.bytes()
	return s
}

// Link returns what is known now about the link from one host to another.
func (g *Graph) Link(from, to flow.Host) (Link, bool) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	dir, lo, hi := forward, &from, &to
	if lo.Compare(*hi) > 0 {
		dir, lo, hi = backward, hi, lo
	}
	a, okA := g.hosts[lo.Shard].find(g.hashHost(&lo.Pseudonym), &lo.Pseudonym)
	b, okB := g.hosts[hi.Shard].find(g.hashHost(&hi.Pseudonym), &hi.Pseudonym)
	if !okA || !okB {
		return Link{}, false
	}
	loRef, hiRef := makeRef(lo.Shard, a), makeRef(hi.Shard, b)
	local, ok := g.pairs[lo.Shard].find(hashPair(loRef, hiRef), loRef, hiRef)
	if !ok {
		return Link{}, false
	}
	p := &g.pairs[lo.Shard].entries[local]
	if !p.live(dir) {
		return Link{}, false
	}
	flows, bytes := p.unpack()
	return Link{
		LastSeen: wide(g.oldest, p.seen[dir]),
		Answered: p.bits&answeredBit != 0, Mutual: p.live(1 - dir),
		Flows: flows, Bytes: bytes, Port: p.port, Proto: p.proto,
	}, true
}
