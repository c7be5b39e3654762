package rank

import (
	"math/bits"

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

// place returns the bins of the rows of the receiving tiles. It overwrites
// old's arrays.
func place(rows graph.Rows, tiles []tile, senders, tileBits, workers int, old bins) bins {
	b := bins{
		begin: grow(old.begin, len(tiles)*(senders+1)),
		from:  grow(old.from, len(rows.Col)),
		to:    grow(old.to, len(rows.Col)),
	}
	parallel.For(len(tiles), workers, func(_, i int) {
		t := tiles[i]
		first := rows.Start[t.lo]
		begin := b.begin[i*(senders+1):][:senders+1]
		clear(begin)
		for _, x := range rows.Col[first:rows.Start[t.hi]] {
			begin[x>>tileBits]++
		}
		at := first
		next := make([]uint32, senders)
		for s := range next {
			at, begin[s], next[s] = at+begin[s], at, at
		}
		begin[senders] = at
		mask := graph.Vertex(1)<<tileBits - 1
		start := rows.Start[t.lo : t.hi+1]
		for y := range len(start) - 1 {
			for _, x := range rows.Col[start[y]:start[y+1]] {
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
