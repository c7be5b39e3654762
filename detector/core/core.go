// Package core finds hosts that keep many peers within a group of hosts that
// do the same: k-cores, capped by degree and contrasted with a random graph of
// the same degrees (MCNC, docs/decisions/0006-contrast.md).
package core

import "github.com/flowhound/flowhound/detector/graph"

// rows are a graph whose links have no direction here.
type rows struct{ graph.Rows }

// hosts is the number of hosts.
func (r rows) hosts() int { return len(r.Start) - 1 }

// touch reads the values at some places, so that they are in the cache when they
// are needed: in so short a loop many cache misses are under way at once. The
// sum keeps the compiler from leaving the reads out.
//
//go:noinline
func touch[T uint16 | uint32 | graph.Vertex | graph.Peer, P uint32 | graph.Vertex](values []T, places []P) (sum T) {
	for _, i := range places {
		sum += values[i]
	}
	return sum
}

// peeler takes hosts away until those that remain have enough peers left. It asks
// the memory for one random word a link, which is what a large graph costs: the
// order by degree of Batagelj and Zaveršnik (2003) keeps four up to date.
type peeler struct {
	rows
	left []uint16       // peers that each host has left; 0 once it went
	went []graph.Vertex // whose peers do not know yet
	// when is the time now when each host went, unless nil.
	when []uint16
	now  uint16

	peers []graph.Vertex // room for strip
}

// block is how many hosts tell their peers together that they went.
const block = 64

// remove takes a host away if it is there. If many have gone it strips at once,
// so that these never are a large list.
func (p *peeler) remove(x graph.Vertex, k uint16) {
	if p.left[x] > 0 {
		p.left[x] = 0
		p.went = append(p.went, x)
		if len(p.went) == block {
			p.strip(k)
		}
	}
}

// strip takes away the hosts that have fewer than k peers left when others have
// gone, until there are none.
func (p *peeler) strip(k uint16) {
	for len(p.went) > 0 {
		rest := max(0, len(p.went)-block)
		p.gather(p.went[rest:])
		p.went = p.went[:rest]
		p.tell(k)
	}
}

// gather lists the peers of hosts that went.
func (p *peeler) gather(batch []graph.Vertex) {
	var first [block]uint32
	for i, x := range batch {
		first[i] = p.Start[x]
	}
	touch(p.Peers, first[:len(batch)])
	if p.when != nil {
		for _, x := range batch {
			p.when[x] = p.now
		}
	}
	peers := p.peers[:0]
	for _, x := range batch {
		for _, y := range p.Of(x) {
			peers = append(peers, y.Vertex())
		}
	}
	p.peers = peers
}

// tell takes one peer away from each of the gathered hosts.
func (p *peeler) tell(k uint16) {
	touch(p.left, p.peers)
	for _, y := range p.peers {
		switch left := p.left[y]; {
		case left == 0:
		case left <= k:
			p.left[y] = 0
			p.went = append(p.went, y)
		default:
			p.left[y] = left - 1
		}
	}
}
