package rank

import (
	"math/bits"
	"slices"

	"github.com/flowhound/flowhound/detector/graph"
	"github.com/flowhound/flowhound/internal/huge"
	"github.com/flowhound/flowhound/internal/parallel"
)

// Bounds of the number of vertices of a tile, as powers of two. The largest is
// what 16 bits address; its shares, or its sums, fit the second-level cache.
// Smaller graphs get smaller tiles, so that there are some for each processor.
const (
	minTileBits = 10
	maxTileBits = 16
	wantTiles   = 128
)

func tileBitsFor(vertices int) int {
	return min(maxTileBits, max(minTileBits, bits.Len(uint(vertices/wantTiles))))
}

// bins are the links of one rank in the order in which a superstep carries
// shares over them: propagation blocking (Beamer, Asanović and Patterson 2017)
// in a fixed order (Lakhotia, Kannan and Prasanna 2018).
//
//	shares ──one sending tile at a time──► values ──one receiving tile at a time──► sums
//
// A link's value is written and read in sequence, and all random reads and
// writes fall into one tile. A receiving tile's values lie together: sending
// tile by sending tile, within it by receiver, within that by sender. So a row
// is added up in the order of the view, whatever the tiles.
type bins struct {
	begin []uint32 // by receiving tile · (sending tiles + 1) + sending tile
	from  []uint16 // by link: the sender's place in its tile
	to    []uint16 // by link: the receiver's place in its tile
}

// place returns the bins of the links by which a rank comes to the vertices of
// the receiving tiles: those to the peers in the entering directions. It
// overwrites old's arrays.
func place(rows graph.Rows, entering graph.Peer, tiles []tile, senders, tileBits, workers int, old bins) bins {
	b := bins{begin: grow(old.begin, len(tiles)*(senders+1))}
	parallel.For(len(tiles), workers, func(_, i int) {
		t := tiles[i]
		sizes := b.begin[i*(senders+1):][:senders+1]
		clear(sizes)
		for _, x := range rows.Peers[rows.Start[t.lo]:rows.Start[t.hi]] {
			if x.Has(entering) {
				sizes[x.Vertex()>>tileBits]++
			}
		}
	})
	at := uint32(0)
	for i, size := range b.begin { // of the last one of each tile, 0
		b.begin[i] = at
		at += size
	}
	b.from, b.to = grow(old.from, int(at)), grow(old.to, int(at))
	parallel.For(len(tiles), workers, func(_, i int) {
		next := slices.Clone(b.begin[i*(senders+1):][:senders])
		mask := graph.Vertex(1)<<tileBits - 1
		start := rows.Start[tiles[i].lo : tiles[i].hi+1]
		for y := range len(start) - 1 {
			for _, p := range rows.Peers[start[y]:start[y+1]] {
				if !p.Has(entering) {
					continue
				}
				x := p.Vertex()
				k := next[x>>tileBits]
				next[x>>tileBits] = k + 1
				b.from[k], b.to[k] = uint16(x&mask), uint16(y)
			}
		}
	})
	return b
}

// grow returns a slice of n elements of any value, in s's memory if it fits.
func grow[T any](s []T, n int) []T {
	if cap(s) >= n {
		return s[:n]
	}
	return huge.Make[T](n)
}

// scatter writes the shares of one sending tile to all its links' values.
func scatter[T float32 | float64](b *bins, s, senders, tiles int, shares *[1 << maxTileBits]T, values []T) {
	for i := range tiles {
		begin, end := b.begin[i*(senders+1)+s], b.begin[i*(senders+1)+s+1]
		out := values[begin:end]
		from := b.from[begin:end:end][:len(out)]
		for k, x := range from {
			out[k] = shares[x]
		}
	}
}

// gather adds the values of one receiving tile's links to its sums.
func gather[T float32 | float64](b *bins, i, senders int, values []T, sums *[1 << maxTileBits]float64) {
	begin, end := b.begin[i*(senders+1)], b.begin[i*(senders+1)+senders]
	in := values[begin:end]
	to := b.to[begin:end:end][:len(in)]
	for k, y := range to {
		sums[y] += float64(in[k])
	}
}
