package graph

import (
	"slices"

	"github.com/flowhound/flowhound/internal/flow"
)

// renumbering tells the vertex in the next view of a vertex of the last one. It
// has 12 bytes for 128 vertices: every column of every row is looked up, which
// is half of the work of a view, so that the table must not outgrow a core's
// caches. Of a graph whose hosts are the same it has no blocks.
type renumbering struct {
	blocks  []renumberBlock
	crowded []crowdedBlock
}

// blockSize is the number of vertices of a block.
const blockSize = 1 << 7

// renumberBlock covers blockSize vertices of the last view. A change is a byte:
// the place in the block from which numbers are one more, because a host was
// inserted there. Of a host that went it is the place after it, with the top
// bit: numbers are one more below it. Eight changes in two words are 12 bytes
// where one long word would make 16.
type renumberBlock struct {
	// shift is what a vertex has to be added to it before the changes; of a
	// crowded block it is the place in crowded.
	shift        uint32
	lower, upper uint32
}

// crowdedBlock is a block with more changes than a renumberBlock has room for.
type crowdedBlock struct {
	shift          uint32
	inserted, gone []Vertex
}

const (
	eachByte = 0x0101010101010101
	topBits  = 0x80 * eachByte
	// noChanges are bytes that add nothing: one more below place 0. Bytes are
	// used from the lowest one on, so that isCrowded is not otherwise taken.
	noChanges = topBits
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
		r.blocks[i] = r.block(shift, in, out)
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

func (r *renumbering) block(shift uint32, inserted, gone []Vertex) renumberBlock {
	if len(inserted)+len(gone) > 8 {
		r.crowded = append(r.crowded, crowdedBlock{shift, inserted, gone})
		return renumberBlock{shift: uint32(len(r.crowded) - 1), lower: isCrowded}
	}
	changes, at := uint64(noChanges), 0
	for _, x := range inserted {
		changes ^= (0x80 ^ uint64(x%blockSize)) << at
		at += 8
	}
	for _, x := range gone {
		if place := uint64(x%blockSize) + 1; place < blockSize { // or it concerns later blocks only
			changes ^= place << at
			at += 8
			shift--
		}
	}
	return renumberBlock{shift, uint32(changes), uint32(changes >> 32)}
}

// columns renumbers vertices. A vertex that went, or the one after the last, gets
// the number of the next one that stays. to may be from.
func (r *renumbering) columns(to, from []Vertex) {
	if r.blocks == nil {
		copy(to, from)
		return
	}
	blocks, to := r.blocks, to[:len(from)]
	for i, x := range from {
		b := &blocks[x/blockSize]
		changes := uint64(b.upper)<<32 | uint64(b.lower)
		if changes == isCrowded {
			to[i] = r.crowded[b.shift].of(x)
			continue
		}
		// All bytes at once: place + 128 keeps its top bit unless the change's
		// place is greater. The multiplication adds the bytes up.
		places := uint64(x%blockSize)*eachByte | topBits
		more := (places - changes&^topBits ^ changes) & topBits >> 7 * eachByte >> 56
		to[i] = x + Vertex(b.shift) + Vertex(more)
	}
}

func (b *crowdedBlock) of(x Vertex) Vertex {
	inserted, _ := slices.BinarySearch(b.inserted, x+1)
	gone, _ := slices.BinarySearch(b.gone, x)
	return x + Vertex(b.shift) + Vertex(inserted) - Vertex(gone)
}
