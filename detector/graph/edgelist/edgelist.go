// Package edgelist reads graphs from text: a link "src dst [weight]" a line,
// ids up to 2^64-1, separated by blanks, tabs or a comma; lines that begin with
// # or % are comments (the forms of SNAP and of the LDBC Graphalytics).
package edgelist

import (
	"fmt"
	"io"
	"math"
	"slices"

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
	Lines, Bytes int64 // all lines, comments and empty ones too
	Links        int64 // directed links of the view
	SelfLinks    int64 // lines with twice the same id, dropped
	Duplicates   int64 // directed links that were there already
	Bad          int64 // lines that SkipBad skipped
}

// maxLinks bounds a file's links: rows number them in 32 bits.
const maxLinks = math.MaxUint32 / 2

// Read reads a graph; name stands in errors, which have the form "file:line:
// reason". ids[v] is the id of vertex v, ascending. A host of which only
// self-links are told is a vertex without links.
func Read(r io.Reader, name string, o Options) (v *graph.View, ids []uint64, s Stats, err error) {
	l := links{max: maxLinks}
	err = eachLine(r, name, o.Progress, &s, func(line []byte) error {
		a, b, err := parseLink(line)
		switch {
		case err == nil && a == b:
			s.SelfLinks++
			l.names.number(a)
			return nil
		case err == nil:
			return l.add(a, b)
		case o.SkipBad:
			s.Bad++
			return nil
		}
		return err
	})
	if err != nil {
		return nil, nil, s, err
	}
	v = l.view()
	read := int64(len(l.src))
	if o.Undirected {
		read, v = 2*read, v.Undirected()
	}
	s.Links, s.Duplicates = int64(v.Links()), read-int64(v.Links())
	return v, l.names.ids, s, nil
}

// links collects links and numbers their ends, a batch at a time.
type links struct {
	names    interner
	src, dst []uint32
	// a and b are the ids of the links not yet in src and dst.
	a, b []uint64
	max  int
}

func (l *links) add(a, b uint64) error {
	if len(l.src)+len(l.a) == l.max {
		return fmt.Errorf("more than %d links", l.max)
	}
	l.a, l.b = append(l.a, a), append(l.b, b)
	if len(l.a) == 512 {
		l.flush()
	}
	return nil
}

func (l *links) flush() {
	l.src, l.dst = l.names.numbers(l.src, l.a), l.names.numbers(l.dst, l.b)
	l.a, l.b = l.a[:0], l.b[:0]
}

// view returns the view of all links, vertices in the order of ids.
func (l *links) view() *graph.View {
	l.flush()
	vertex := l.names.order()
	for i := range l.src {
		l.src[i], l.dst[i] = vertex[l.src[i]], vertex[l.dst[i]]
	}
	return graph.FromLinks(len(l.names.ids), l.src, l.dst)
}

// ReadSeeds reads ids, one a line, with comments as in an edge list. It
// returns them ascending and once each.
func ReadSeeds(r io.Reader, name string) (ids []uint64, err error) {
	var s Stats
	err = eachLine(r, name, nil, &s, func(line []byte) error {
		id, rest, err := parseID(line, "id")
		if err != nil {
			return err
		}
		if rest = trimBlanks(rest); len(rest) > 0 {
			return fmt.Errorf("id: %q follows, want one id a line", clip(rest))
		}
		ids = append(ids, id)
		return nil
	})
	slices.Sort(ids)
	return slices.Compact(ids), err
}

// Vertices returns the vertices of those of the seeds that are in ids, and how
// many are not. Both lists are ascending.
func Vertices(ids, seeds []uint64) (vertices []graph.Vertex, missing int) {
	for _, id := range seeds {
		if i, ok := slices.BinarySearch(ids, id); ok {
			vertices = append(vertices, graph.Vertex(i))
		} else {
			missing++
		}
	}
	return vertices, missing
}
