// Package edgelist reads graphs from text: one link "src dst [weight]" a line.
package edgelist

import (
	"io"

	"github.com/flowhound/flowhound/detector/graph"
)

// Options say how to read.
type Options struct {
	Undirected bool // each line stands for both directions
	SkipBad    bool // count bad lines instead of failing at the first
	// Progress, if set, is told the bytes read so far, about every megabyte.
	Progress func(bytes int64)
}

// Stats count what was read.
type Stats struct {
	Lines, Bytes, Links, SelfLinks, Duplicates, Bad int64
}

// Read reads a graph; name is for errors. ids[v] is the id of vertex v,
// ascending.
func Read(r io.Reader, name string, o Options) (v *graph.View, ids []uint64, s Stats, err error) {
	panic("BUG: not written")
}

// ReadSeeds reads one id a line.
func ReadSeeds(r io.Reader, name string) ([]uint64, error) { panic("BUG: not written") }
