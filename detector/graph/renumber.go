package graph

import (
	"math/bits"

	"github.com/flowhound/flowhound/internal/flow"
)

// renumbering tells the vertex in the next view of a vertex of the last one. It
// has a word for a block of vertices: every peer in every row is looked up, which
// is half of the work of a view, so that the table must fit a core's cache. The
// fewer hosts came and went, the larger the blocks are. Of a graph whose hosts are
// the same it has none.
type renumbering struct {
	blockBits uint // a block has 1<<blockBits vertices
	blocks    []renumberBlock
	crowded   []Vertex // the new numbers of whole blocks, see renumberBlock
}

// minBlockBits and maxBlockBits bound the size of a block. The largest has a
// table of 256 KiB for 16 million vertices.
const (
	minBlockBits = 4
	maxBlockBits = 9
)

// renumberBlock covers a block of vertices of the last view. Its upper 30 bits are
// the shift, what a vertex has to be added to it before the changes, as vertices
// have no more bits. Its lower 33 bits are three lanes, each for a change: what
// takes the places from which, or below which, numbers are one more to 512 … 1023,
// so that adding it shows them by bit 9 of the lane. Where a host was inserted,
// those are the places from its own on; of a host that went, those up to its own.
// A block with more changes is crowded: its new numbers stand in a table, in which
// the shift counts blocks.
type renumberBlock uint64

const (
	laneBits   = 11
	maxChanges = 3
	everyLane  = 1 | 1<<laneBits | 1<<(2*laneBits)
	half       = 1 << maxBlockBits // of what a lane can show
	isCrowded  = 1 << (maxChanges * laneBits)
	shiftStart = maxChanges*laneBits + 1
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
	changes := len(allGone) + len(allInserted)
	if changes == 0 {
		return r
	}
	// Half a change in the mean leaves two blocks of a thousand crowded.
	r.blockBits = uint(min(maxBlockBits, max(minBlockBits, bits.Len(uint(n/2/changes))-1)))
	r.blocks = make([]renumberBlock, n>>r.blockBits+1)
	shift := Vertex(0)
	for i := range r.blocks {
		first := Vertex(i << r.blockBits)
		in, out := r.takeBlock(&allInserted, first), r.takeBlock(&allGone, first)
		r.blocks[i] = r.block(shift, first, in, out)
		shift += Vertex(len(in)) - Vertex(len(out))
	}
	return r
}

// place returns the place of a vertex in its block.
func (r *renumbering) place(x Vertex) Vertex { return x & (1<<r.blockBits - 1) }

// takeBlock takes what belongs to the block from vertex first on off the front
// of an ascending list.
func (r *renumbering) takeBlock(list *[]Vertex, first Vertex) []Vertex {
	n := 0
	for n < len(*list) && ((*list)[n]-first)>>r.blockBits == 0 {
		n++
	}
	block := (*list)[:n]
	*list = (*list)[n:]
	return block
}

// block returns the block from vertex first on.
func (r *renumbering) block(shift, first Vertex, inserted, gone []Vertex) (b renumberBlock) {
	if len(inserted)+len(gone) > maxChanges {
		b = renumberBlock(len(r.crowded)>>r.blockBits)<<shiftStart | isCrowded
		r.appendCrowded(first+shift, first, inserted, gone)
		return b
	}
	for _, x := range inserted {
		b = b<<laneBits | renumberBlock(half-r.place(x))
	}
	for _, x := range gone {
		b = b<<laneBits | renumberBlock(2*half-1-r.place(x))
		shift--
	}
	return renumberBlock(shift)<<shiftStart | b
}

// peers renumbers peers. One that went, or the one after the last, gets the
// number of the next one that stays.
func (r *renumbering) peers(to, from []Peer) {
	if r.blocks == nil {
		copy(to, from)
		return
	}
	blocks, shift, mask := r.blocks, (peerShift+r.blockBits)%32, Vertex(1)<<r.blockBits-1
	to = to[:len(from)]
	for i, p := range from {
		b := blocks[p>>shift]
		if b&isCrowded != 0 {
			to[i] = newPeer(r.number(b, p.Vertex()), uint8(p&peerDirs))
			continue
		}
		to[i] = p + Peer(b.shift(p.Vertex()&mask))<<peerShift
	}
}

// vertices renumbers vertices in place.
func (r *renumbering) vertices(list []Vertex) {
	if r.blocks == nil {
		return
	}
	for i, x := range list {
		list[i] = r.number(r.blocks[x>>r.blockBits], x)
	}
}

// number returns the new number of a vertex of block b.
func (r *renumbering) number(b renumberBlock, x Vertex) Vertex {
	if b&isCrowded != 0 {
		return r.crowded[Vertex(b>>shiftStart)<<r.blockBits+r.place(x)]
	}
	return (x + b.shift(r.place(x))) & (maxVertices - 1)
}

// shift returns what has to be added to the vertex at a place of the block, in 30
// bits. All changes are compared at once, and the second multiplication adds up
// the bits that show.
func (b renumberBlock) shift(place Vertex) Vertex {
	shown := (renumberBlock(place)*everyLane + b) >> maxBlockBits & everyLane
	return Vertex(b>>shiftStart) + Vertex(shown*everyLane>>(2*laneBits)&maxChanges)
}

// appendCrowded numbers the vertices from first on, of which the first would be
// next but for the changes.
func (r *renumbering) appendCrowded(next, first Vertex, inserted, gone []Vertex) {
	for x := first; x-first < 1<<r.blockBits; x++ {
		for len(inserted) > 0 && inserted[0] == x {
			inserted = inserted[1:]
			next++
		}
		r.crowded = append(r.crowded, next)
		if len(gone) > 0 && gone[0] == x {
			gone = gone[1:]
		} else {
			next++
		}
	}
}
