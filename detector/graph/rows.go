package graph

import (
	"iter"
	"sort"
)

// Peer is a neighbour in a row: its vertex, and which of the links between the
// row's vertex and it there are. Peers are ordered as their vertices are.
type Peer uint32

// Directions, the lower bits of a peer: there is a link to it, and from it.
const (
	Out Peer = 1 << forward
	In  Peer = 1 << backward
)

// peerShift is where a peer's vertex begins, so that a view has up to 2^30.
const (
	peerShift   = 2
	peerDirs    = Out | In
	maxVertices = 1 << (32 - peerShift)
)

func newPeer(x Vertex, dirs uint8) Peer { return Peer(x)<<peerShift | Peer(dirs) }

// Mutual returns x as a peer with links in both directions.
func Mutual(x Vertex) Peer { return newPeer(x, liveBits) }

// reversed returns directions as the other side sees them.
func reversed(dirs uint8) uint8 { return dirs>>1&1 | dirs<<1&2 }

// Vertex returns the vertex of the peer.
func (p Peer) Vertex() Vertex { return Vertex(p >> peerShift) }

// Has reports whether there is a link in one of the directions.
func (p Peer) Has(dirs Peer) bool { return p&dirs != 0 }

// Rows is a compressed sparse matrix: Peers[Start[x]:Start[x+1]] are the peers of
// x in ascending order, each once. len(Start) = N+1. It is symmetric: who is a
// peer has one.
type Rows struct {
	Start []uint32
	Peers []Peer
}

// Of returns the peers of x. The slice belongs to the rows.
func (r Rows) Of(x Vertex) []Peer { return r.Peers[r.Start[x]:r.Start[x+1]] }

// Degree returns the number of peers of x.
func (r Rows) Degree(x Vertex) uint32 { return r.Start[x+1] - r.Start[x] }

// Peer returns y as x sees it; ok is false if there is no link between them.
func (r Rows) Peer(x, y Vertex) (p Peer, ok bool) {
	row := r.Of(x)
	i := sort.Search(len(row), func(i int) bool { return row[i].Vertex() >= y })
	if i == len(row) || row[i].Vertex() != y {
		return 0, false
	}
	return row[i], true
}

// Out yields the vertices that links from x lead to, ascending.
func (r Rows) Out(x Vertex) iter.Seq[Vertex] { return r.along(x, Out) }

// In yields the vertices that links to x come from, ascending.
func (r Rows) In(x Vertex) iter.Seq[Vertex] { return r.along(x, In) }

// Around yields the vertices of the peers of x, ascending.
func (r Rows) Around(x Vertex) iter.Seq[Vertex] { return r.along(x, Out|In) }

func (r Rows) along(x Vertex, dir Peer) iter.Seq[Vertex] {
	return func(yield func(Vertex) bool) {
		for _, p := range r.Of(x) {
			if p.Has(dir) && !yield(p.Vertex()) {
				return
			}
		}
	}
}

// Degrees returns the numbers of links that leave x and that enter it.
func (r Rows) Degrees(x Vertex) (out, in uint32) {
	for _, p := range r.Of(x) {
		out += uint32(p >> forward & 1)
		in += uint32(p >> backward & 1)
	}
	return out, in
}
