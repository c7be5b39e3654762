package graph

import (
	"encoding/binary"
	"sort"
	"unsafe"

	"github.com/flowhound/flowhound/internal/flow"
)

// Vertex is a host's number in one view: its place in canonical order.
type Vertex uint32

// View is a graph frozen at one moment: immutable, safe for concurrent use.
// Its vertices are the hosts with at least one live link, ordered by shard and
// then by pseudonym. The rows of a foreign vertex (of a shard that this node
// does not own) hold its links with owned vertices only.
type View struct {
	Rows

	links  int    // directed ones
	graph  *Graph // nil if made from links
	owned  [flow.Shards]bool
	oldest flow.Slice
	bounds [flow.Shards + 1]Vertex
	// keys and generations are by vertex; nil if made from links.
	keys        []flow.Pseudonym
	generations []flow.Generation
}

// Len returns the number of vertices, foreign ones included.
func (v *View) Len() int { return int(v.bounds[flow.Shards]) }

// Links returns the number of directed links.
func (v *View) Links() int { return v.links }

// Bytes returns the memory of the view.
func (v *View) Bytes() uint64 {
	return uint64(len(v.keys))*uint64(unsafe.Sizeof(flow.Pseudonym{})) +
		uint64(len(v.generations))*uint64(unsafe.Sizeof(flow.Generation(0))) +
		4*uint64(len(v.Start)+len(v.Peers))
}

// Oldest returns the oldest slice of the view's window; 0 in a view made from
// links.
func (v *View) Oldest() flow.Slice { return v.oldest }

// Host returns the host of vertex x. In a view made from links the pseudonym
// is the vertex number, big-endian in the last four bytes.
func (v *View) Host(x Vertex) flow.Host {
	h := flow.Host{Shard: v.ShardOf(x)}
	if v.keys != nil {
		h.Pseudonym = v.keys[x]
	} else {
		binary.BigEndian.PutUint32(h.Pseudonym[12:], uint32(x))
	}
	return h
}

// Generation returns the key generation under which vertex x appeared.
func (v *View) Generation(x Vertex) flow.Generation {
	if v.generations == nil {
		return 0
	}
	return v.generations[x]
}

// ShardOf returns the shard of vertex x.
func (v *View) ShardOf(x Vertex) flow.Shard {
	return flow.Shard(sort.Search(flow.Shards, func(s int) bool { return v.bounds[s+1] > x }))
}

// Shard returns the vertices lo ≤ x < hi of shard s.
func (v *View) Shard(s flow.Shard) (lo, hi Vertex) {
	return v.bounds[s], v.bounds[int(s)+1]
}

// Owned reports whether the view's node owns shard s.
func (v *View) Owned(s flow.Shard) bool { return v.owned[s] }

// Find returns the vertex of a host.
func (v *View) Find(h flow.Host) (Vertex, bool) {
	lo, hi := v.Shard(h.Shard)
	if v.keys == nil {
		x := Vertex(binary.BigEndian.Uint32(h.Pseudonym[12:]))
		return x, lo <= x && x < hi && v.Host(x) == h
	}
	key := newSortKey(&h.Pseudonym, 0)
	x := lo + Vertex(sort.Search(int(hi-lo), func(i int) bool { return !newSortKey(&v.keys[int(lo)+i], 0).before(key) }))
	return x, x < hi && v.keys[x] == h.Pseudonym
}

// FindPseudonym returns the vertex of a pseudonym whose shard is not known.
func (v *View) FindPseudonym(p flow.Pseudonym) (Vertex, bool) {
	for s := range flow.Shards {
		if x, ok := v.Find(flow.Host{Pseudonym: p, Shard: flow.Shard(s)}); ok {
			return x, true
		}
	}
	return 0, false
}

// Link returns the evidence for the link x → y as it is now, which may be
// newer than the view, or gone. A view made from links knows only that the
// link is there and whether its reverse is.
func (v *View) Link(x, y Vertex) (Link, bool) {
	if v.graph != nil {
		return v.graph.Link(v.Host(x), v.Host(y))
	}
	p, _ := v.Peer(x, y)
	return Link{Mutual: p.Has(In)}, p.Has(Out)
}

// Undirected returns the view with every link in both directions.
func (v *View) Undirected() *View {
	u := *v
	u.links = len(v.Peers)
	u.Peers = make([]Peer, len(v.Peers))
	for i, p := range v.Peers {
		u.Peers[i] = p | peerDirs
	}
	return &u
}
