package graph

import "github.com/flowhound/flowhound/internal/flow"

// Reason says why a contact, or one direction of it, did not enter the graph
// or left it early.
type Reason uint8

// Reasons of [Stats.Drops].
const (
	NotOwned  Reason = iota // the local end's shard is not this node's
	SelfLink                // both ends are the same host
	Empty                   // no direction bit is set
	TooOld                  // the slice is older than the window
	TooNew                  // the slice is too far ahead of the window
	DegreeCap               // the source has MaxOutDegree links that take precedence
	LinkLimit               // the graph has more than MaxLinks links
	Full                    // the part of the store has no number left for a link or host
	Reasons                 // the number of reasons
)

// String returns the reason as a metric label.
func (r Reason) String() string {
	return [Reasons]string{
		"not_owned", "self_link", "empty", "too_old", "too_new", "degree_cap", "link_limit", "full",
	}[r]
}

// Stats are a graph's size now and its counters since New.
type Stats struct {
	Hosts    uint64 // vertices with at least one live link, foreign ones too
	Links    uint64 // live directed links
	Pairs    uint64 // pairs of hosts with a live link in either direction
	Bytes    uint64 // memory of the store, without views
	Contacts uint64 // contacts applied
	Expired  uint64 // directed links forgotten because the window moved on
	Drops    [Reasons]uint64
}

// Link is the evidence for one directed link. Flows and Bytes count both
// directions since the pair of hosts became known; they saturate at 2^24-1 and
// 2^40-1.
type Link struct {
	LastSeen flow.Slice // newest slice with traffic in this direction
	Answered bool       // the called side answered at least once
	Mutual   bool       // the other direction is live too
	Flows    uint32
	Bytes    uint64
	Port     uint16 // lowest service port of the newest slice with a contact
	Proto    uint8
}
