package graph

import "github.com/flowhound/flowhound/internal/flow"

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

// View is a graph frozen at one moment: immutable, safe for concurrent use.
// Its vertices are the hosts with at least one live link, ordered by shard and
// then by pseudonym. The rows of a foreign vertex (of a shard that this node
// does not own) hold its links with owned vertices only.
type View struct {
	Out, In Rows
}

// Len returns the number of vertices, foreign ones included.
func (v *View) Len() int { panic("BUG: not written") }

// Links returns the number of directed links.
func (v *View) Links() int { panic("BUG: not written") }

// Host returns the host of vertex x.
func (v *View) Host(x Vertex) flow.Host { panic("BUG: not written") }

// Generation returns the key generation under which vertex x was last seen.
func (v *View) Generation(x Vertex) flow.Generation { panic("BUG: not written") }

// Find returns the vertex of a host.
func (v *View) Find(h flow.Host) (Vertex, bool) { panic("BUG: not written") }

// FindPseudonym returns the vertex of a pseudonym whose shard is not known.
func (v *View) FindPseudonym(p flow.Pseudonym) (Vertex, bool) { panic("BUG: not written") }

// Shard returns the vertices lo ≤ x < hi of shard s.
func (v *View) Shard(s flow.Shard) (lo, hi Vertex) { panic("BUG: not written") }

// Owned reports whether the view's node owns shard s.
func (v *View) Owned(s flow.Shard) bool { panic("BUG: not written") }

// Link returns the evidence for the link x → y as it is now, which may be
// newer than the view.
func (v *View) Link(x, y Vertex) (Link, bool) { panic("BUG: not written") }

// Undirected returns the view with every link in both directions; Out and In
// share memory. An undirected view returns itself.
func (v *View) Undirected() *View { panic("BUG: not written") }

// FromLinks returns the view of n vertices with the links src[i] → dst[i], in
// which vertex numbers are canonical order and the shards are equal ranges of
// it. Self-links and duplicates are dropped. Unlike in a frozen graph a vertex
// may have no link.
func FromLinks(n int, src, dst []uint32) *View { panic("BUG: not written") }
