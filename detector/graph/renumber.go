package graph

import (
	"math/bits"
	"slices"

	"github.com/flowhound/flowhound/internal/flow"
)

// renumbering tells the vertex in the next view of a vertex of the last one. It
// has 24 bytes for 64 vertices, so that the table of a large view stays in the
// cache. Of a graph whose hosts are the same it has no blocks.
type renumbering struct {
	blocks []renumberBlock
	// inserted are the vertices of the last view before which a host was
	// inserted, ascending, once for each host.
	inserted []Vertex
}

// renumberBlock covers 64 vertices of the last view.
type renumberBlock struct {
	base uint32 // new number of the first, if it were there and nothing were before it in this block
	// crowded is 0, or 1 + the place in inserted of the block's first: more
	// than one host was inserted before the same vertex.
	crowded  uint32
	gone     uint64 // vertices that went
	inserted uint64 // vertices before which a host was inserted
}

func newRenumbering(n int, gone *[flow.Shards][]Vertex, inserted *[flow.Shards][]insertion) (r renumbering) {
	changed := false
	for s := range flow.Shards {
		changed = changed || len(gone[s])+len(inserted[s]) > 0
		for i := range inserted[s] {
			r.inserted = append(r.inserted, inserted[s][i].at)
		}
	}
	if !changed {
		return r
	}
	r.blocks = make([]renumberBlock, n/64+1)
	for s := range flow.Shards {
		for _, x := range gone[s] {
			r.blocks[x/64].gone |= 1 << (x % 64)
		}
	}
	next := 0
	base := uint32(0)
	for i := range r.blocks {
		b := &r.blocks[i]
		b.base = base
		begin := next
		for ; next < len(r.inserted) && int(r.inserted[next]/64) == i; next++ {
			bit := uint64(1) << (r.inserted[next] % 64)
			if b.inserted&bit != 0 {
				b.crowded = uint32(begin) + 1
			}
			b.inserted |= bit
		}
		base += 64 - uint32(bits.OnesCount64(b.gone)) + uint32(next-begin)
	}
	return r
}

// of returns the new number of vertex x. Of a vertex that went, or of the one
// after the last, it returns that of the next one that stays.
func (r *renumbering) of(x Vertex) Vertex {
	b := &r.blocks[x/64]
	before := uint64(1)<<(x%64) - 1
	n := b.base + uint32(x%64) - uint32(bits.OnesCount64(b.gone&before))
	if b.crowded != 0 {
		return Vertex(n + r.insertedUpTo(b, x))
	}
	return Vertex(n + uint32(bits.OnesCount64(b.inserted&(before<<1|1))))
}

// insertedUpTo counts the hosts inserted in a crowded block before x or a vertex
// before it.
func (r *renumbering) insertedUpTo(b *renumberBlock, x Vertex) uint32 {
	list := r.inserted[b.crowded-1:]
	n, _ := slices.BinarySearch(list, x+1)
	return uint32(n)
}
