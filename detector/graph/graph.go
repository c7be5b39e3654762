// Package graph holds the host graph of the shards that one node owns: who
// talked to whom within the window, kept up to date as contacts arrive and
// expire, and frozen into canonical views that the ranking algorithms read
// (DESIGN decisions 2 to 4; BotCloud, François et al. 2011, §III).
package graph

import "github.com/flowhound/flowhound/internal/flow"

// Graph is the live store. One goroutine at a time may change it; Stats, Link
// and [View.Link] may be called meanwhile.
type Graph struct{ cfg Config }

// New returns an empty graph of the configured shards.
func New(cfg Config) *Graph { return &Graph{cfg: cfg} }

// Apply takes the contacts of one batch, whose pseudonyms are of generation
// gen. It never fails: what it refuses is counted by reason in [Stats].
// Applying a contact again, or its other half, leaves the topology as it is.
func (g *Graph) Apply(gen flow.Generation, contacts []flow.Contact) { panic("BUG: not written") }

// Expire forgets every direction of every link that was last seen before the
// slice oldest, and the hosts that have no link left. A call with an older
// slice than before does nothing.
func (g *Graph) Expire(oldest flow.Slice) { panic("BUG: not written") }

// Freeze returns the graph as it is now. The view stays as it is while the
// graph changes.
func (g *Graph) Freeze() *View { panic("BUG: not written") }

// Oldest returns the oldest slice that the graph keeps.
func (g *Graph) Oldest() flow.Slice { panic("BUG: not written") }

// Owns reports whether this node owns shard s.
func (g *Graph) Owns(s flow.Shard) bool { panic("BUG: not written") }

// Link returns what is known now about the link from one host to another.
func (g *Graph) Link(from, to flow.Host) (Link, bool) { panic("BUG: not written") }

// Stats returns the graph's size and its counters.
func (g *Graph) Stats() Stats { panic("BUG: not written") }
