package graph

import (
	"encoding/binary"
	"sort"
	"unsafe"

	"github.com/flowhound/flowhound/internal/flow"
)

// Vertex is a host's number in one view: its place in canonical order.
type Vertex uint32

// Rows is a compressed sparse matrix: Col[Start[v]:Start[v+1]] are the
// neighbours of v in ascending order, without duplicates. len(Start) = N+1.
type Rows struct {
	Start []uint32
	Col   []Vertex
}

// Of returns the neighbours of v. The slice belongs to the rows.
func (r Rows) Of(v Vertex) []Vertex { return r.Col[r.Start[v]:r.Start[v+1]] }

// Degree returns the number of neighbours of v.
func (r Rows) Degree(v Vertex) uint32 { return r.Start[v+1] - r.Start[v] }

// Has reports whether w is a neighbour of v.
func (r Rows) Has(v, w Vertex) bool {
	row := r.Of(v)
	i := sort.Search(len(row), func(i int) bool { return row[i] >= w })
	return i < len(row) && row[i] == w
}

// View is a graph frozen at one moment: immutable, safe for concurrent use.
// Its vertices are the hosts with at least one live link, ordered by shard and
// then by pseudonym. The rows of a foreign vertex (of a shard that this node
// does not own) hold its links with owned vertices only.
type View struct {
	Out, In Rows

	graph  *Graph // nil if made from links
	owned  [flow.Shards]bool
	oldest flow.Slice
	bounds [flow.Shards + 1]Vertex
	// keys and generations are by vertex; nil if made from links.
	keys        []flow.Pseudonym
	generations []flow.Generation

	undirected bool // Out and In are the same rows
}

// Len returns the number of vertices, foreign ones included.
func (v *View) Len() int { return int(v.bounds[flow.Shards]) }

// Links returns the number of directed links.
func (v *View) Links() int { return len(v.Out.Col) }

// Bytes returns the memory of the view.
func (v *View) Bytes() uint64 {
	bytes := uint64(len(v.keys))*uint64(unsafe.Sizeof(flow.Pseudonym{})) + uint64(len(v.generations))*uint64(unsafe.Sizeof(flow.Generation(0)))
	rows := []Rows{v.Out, v.In}
	if v.undirected {
		rows = rows[:1]
	}
	for _, r := range rows {
		bytes += 4 * uint64(len(r.Start)+len(r.Col))
	}
	return bytes
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
	return Link{Mutual: v.Out.Has(y, x)}, v.Out.Has(x, y)
}

// Undirected returns the view with every link in both directions; its Out and
// In are the same rows. An undirected view returns itself.
func (v *View) Undirected() *View {
	if v.undirected {
		return v
	}
	rows := union(v.Out, v.In, v.Len())
	return &View{
		Out: rows, In: rows, undirected: true, graph: v.graph, owned: v.owned, oldest: v.oldest, bounds: v.bounds,
		keys: v.keys, generations: v.generations,
	}
}
