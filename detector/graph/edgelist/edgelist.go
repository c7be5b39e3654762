// Package edgelist reads graphs from text: a link "src dst [weight]" a line,
// ids up to 2^64-1, separated by blanks, tabs or a comma; lines that begin with
// # or % are comments (the forms of SNAP and of the LDBC Graphalytics).
//
// It also reads and writes a binary form, without digits to parse, which Read
// knows by its first bytes:
//
//	file = "FHEDGE" version:u8 width:u8 count:u64 (src dst)×count crc:u32
//
// Numbers are little-endian, ids have width bytes, 4 or 8. A link to itself
// stands for a host without links. The CRC-32C (RFC 3720 §12.1) covers every byte
// before it.
package edgelist

import (
	"bytes"
	"errors"
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
	Lines, Bytes int64 // all lines, comments and empty ones too; of the binary form its links
	Links        int64 // directed links of the view
	SelfLinks    int64 // lines with twice the same id, dropped
	Duplicates   int64 // directed links that were there already
	Bad          int64 // lines that SkipBad skipped
}

// maxLinks bounds a file's links: rows number them in 32 bits.
const maxLinks = math.MaxUint32 / 2

// Read reads a graph in either form; name stands in errors, which have the form
// "file:line: reason", in the binary form "file: offset n: reason". ids[v] is the
// id of vertex v, ascending. A host of which only self-links are told is a vertex
// without links.
func Read(r io.Reader, name string, o Options) (v *graph.View, ids []uint64, s Stats, err error) {
	l := links{max: maxLinks}
	begin := make([]byte, len(magic))
	n, err := io.ReadFull(r, begin)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, nil, s, fmt.Errorf("%s: %w", name, err)
	}
	if by := compressedBy(begin[:n]); by != "" {
		return nil, nil, s, fmt.Errorf("%s: compressed with %s: unpack it first", name, by)
	}
	r = io.MultiReader(bytes.NewReader(begin[:n]), r)
	if string(begin) == magic {
		err = readBinary(r, name, o, &s, &l)
	} else {
		err = readText(r, name, o, &s, &l)
	}
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

// compressedBy names the program that packed a file which begins so; edge lists
// are mostly published that way.
func compressedBy(begin []byte) string {
	for _, p := range [...]struct{ magic, program string }{
		{"\x1f\x8b", "gzip"}, {"\x28\xb5\x2f\xfd", "zstd"}, {"\xfd7zXZ\x00", "xz"}, {"BZh", "bzip2"},
	} {
		if bytes.HasPrefix(begin, []byte(p.magic)) {
			return p.program
		}
	}
	return ""
}

// readText adds the links of a text to l.
func readText(r io.Reader, name string, o Options, s *Stats, l *links) error {
	return eachLine(r, name, o.Progress, s, func(line []byte) error {
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
