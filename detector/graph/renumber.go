package graph

import "github.com/flowhound/flowhound/internal/flow"

// renumbering tells the vertex in the next view of a vertex of the last one. It
// has a word for 64 vertices: every column of every row is looked up, which is
// half of the work of a view, so that the table must stay in the caches. Of a
// graph whose hosts are the same it has no blocks.
type renumbering struct {
	blocks  []renumberBlock
	crowded []crowdedBlock
}

// blockSize is the number of vertices of a block.
const blockSize = 1 << 6

// renumberBlock covers blockSize vertices of the last view. Its upper half is
// the shift, what a vertex has to be added to it before the changes; of a
// crowded block it is the place in crowded. Its lower half has a byte for each
// of up to four changes: what takes the places from which, or below which,
// numbers are one more to 64 … 127, so that adding it shows them by bit 6.
// Where a host was inserted, those are the places from its own on; of a host
// that went, those up to its own.
type renumberBlock uint64

// crowdedBlock has the new numbers of a block with more changes than a
// renumberBlock has room for.
type crowdedBlock [blockSize]Vertex

const (
	eachByte   = 0x01010101
	maxChanges = 4
	// isCrowded is a bit that a byte with a change does not have.
	isCrowded = 0x80
)

// newRenumbering makes the table of a view of n vertices. The lists ascend.
func newRenumbering(n int, gone *[flow.Shards][]Vertex, inserted *[flow.Shards][]insertion) (r renumbering) {
	var allGone, allInserted []Vertex
	for s := range flow.Shards {
		allGone = append(allGone, gone[s]...)
		for i := range inserted[s] {
			allInserted = append(allInserted, inserted[s][i].at)
		}
	}
	if len(allGone)+len(allInserted) == 0 {
		return r
	}
	r.blocks = make([]renumberBlock, n/blockSize+1)
	shift := uint32(0)
	for i := range r.blocks {
		first := Vertex(i * blockSize)
		in, out := takeBlock(&allInserted, first), takeBlock(&allGone, first)
		r.blocks[i] = r.block(shift, first, in, out)
		shift += uint32(len(in)) - uint32(len(out))
	}
	return r
}

// takeBlock takes what belongs to the block from vertex first on off the front
// of an ascending list.
func takeBlock(list *[]Vertex, first Vertex) []Vertex {
	n := 0
	for n < len(*list) && (*list)[n]-first < blockSize {
		n++
	}
	block := (*list)[:n]
	*list = (*list)[n:]
	return block
}

// block returns the block from vertex first on.
func (r *renumbering) block(shift uint32, first Vertex, inserted, gone []Vertex) renumberBlock {
	if len(inserted)+len(gone) > maxChanges {
		r.crowded = append(r.crowded, newCrowdedBlock(first+Vertex(shift), first, inserted, gone))
		return renumberBlock(len(r.crowded)-1)<<32 | isCrowded
	}
	var changes renumberBlock
	for _, x := range inserted {
		changes = changes<<8 | renumberBlock(blockSize-x%blockSize)
	}
	for _, x := range gone {
		changes = changes<<8 | renumberBlock(2*blockSize-1-x%blockSize)
		shift--
	}
	return renumberBlock(shift)<<32 | changes
}

// lookups has room for the blocks of columns that are looked up together. They
// are fetched before the first column is renumbered: in so short a loop many
// cache misses are under way at once. Whoever renumbers keeps the room, for
// most calls are about few columns.
type lookups [64]renumberBlock

// columns renumbers vertices. A vertex that went, or the one after the last, gets
// the number of the next one that stays. to may be from.
func (r *renumbering) columns(to, from []Vertex, fetched *lookups) {
	blocks := r.blocks
	if blocks == nil {
		copy(to, from)
		return
	}
	for len(from) > 0 {
		part := from[:min(len(from), len(fetched))]
		for i, x := range part {
			fetched[i] = blocks[x/blockSize]
		}
		renumbered := to[:len(part)]
		for i, x := range part {
			if b := fetched[i]; b&isCrowded == 0 {
				renumbered[i] = b.number(x)
			} else {
				renumbered[i] = r.crowded[b>>32][x%blockSize]
			}
		}
		to, from = to[len(part):], from[len(part):]
	}
}

// number returns the new number of a vertex of the block. All changes are
// compared at once, and the multiplication adds up the bits that show.
func (b renumberBlock) number(x Vertex) Vertex {
	more := (uint32(x%blockSize)*eachByte + uint32(b)) & (blockSize * eachByte) / blockSize * eachByte >> 24
	return x + Vertex(b>>32) + Vertex(more)
}

// newCrowdedBlock numbers the vertices from first on, of which the first would
// be next but for the changes.
func newCrowdedBlock(next, first Vertex, inserted, gone []Vertex) (b crowdedBlock) {
	for place := range b {
		x := first + Vertex(place)
		for len(inserted) > 0 && inserted[0] == x {
			inserted = inserted[1:]
			next++
		}
		b[place] = next
		if len(gone) > 0 && gone[0] == x {
			gone = gone[1:]
		} else {
			next++
		}
	}
	return b
}
