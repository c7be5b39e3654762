package edgelist

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"

	"github.com/flowhound/flowhound/detector/graph"
)

// magic begins the binary form. No line of text that is a link or a comment
// begins so.
const magic = "FHEDGE"

// BinaryVersion is the version of the binary form that Write writes and Read
// reads.
const BinaryVersion = 1

// binaryHead is the size of what stands before the links.
const binaryHead = 16

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Write writes the links of a view in the binary form; ids[v] is the id of
// vertex v. A vertex without links is written as a link to itself, of which
// Read keeps the vertex.
func Write(w io.Writer, v *graph.View, ids []uint64) error {
	if len(ids) != v.Len() {
		panic(fmt.Sprintf("BUG: %d ids for %d vertices", len(ids), v.Len()))
	}
	width, lonely := 4, 0
	for x, id := range ids {
		if id > math.MaxUint32 {
			width = 8
		}
		if isLonely(v, graph.Vertex(x)) {
			lonely++
		}
	}
	out := bufio.NewWriterSize(w, 1<<18)
	b := append([]byte(magic), BinaryVersion, byte(width))
	b = binary.LittleEndian.AppendUint64(b, uint64(v.Links()+lonely))
	sum := uint32(0)
	flush := func() (err error) {
		sum = crc32.Update(sum, castagnoli, b)
		_, err = out.Write(b)
		b = b[:0]
		return err
	}
	for x, id := range ids {
		if isLonely(v, graph.Vertex(x)) {
			b = appendPair(b, width, id, id)
		}
		for y := range v.Out(graph.Vertex(x)) {
			b = appendPair(b, width, id, ids[y])
		}
		if len(b) < 1<<16 {
			continue
		}
		if err := flush(); err != nil {
			return fmt.Errorf("write edge list: %w", err)
		}
	}
	err := flush()
	if err == nil {
		_, err = out.Write(binary.LittleEndian.AppendUint32(nil, sum))
	}
	if err == nil {
		err = out.Flush()
	}
	if err != nil {
		return fmt.Errorf("write edge list: %w", err)
	}
	return nil
}

func isLonely(v *graph.View, x graph.Vertex) bool { return v.Degree(x) == 0 }

func appendPair(b []byte, width int, src, dst uint64) []byte {
	if width == 4 {
		return binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(b, uint32(src)), uint32(dst))
	}
	return binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(b, src), dst)
}

// binaryReader reads the binary form.
type binaryReader struct {
	r        io.Reader
	s        *Stats // whose Bytes is where the reader is
	sum      uint32
	progress func(int64)
}

// full fills b.
func (r *binaryReader) full(b []byte) error {
	n, err := io.ReadFull(r.r, b)
	r.s.Bytes += int64(n)
	r.sum = crc32.Update(r.sum, castagnoli, b[:n])
	if r.progress != nil {
		r.progress(r.s.Bytes)
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// readBinary adds the links of the binary form to l, and puts name and the
// offset in the file before its error.
func readBinary(r io.Reader, name string, o Options, s *Stats, l *links) error {
	b := &binaryReader{r: r, s: s, progress: o.Progress}
	if err := b.read(l); err != nil {
		return fmt.Errorf("%s: offset %d: %w", name, s.Bytes, err)
	}
	return nil
}

func (r *binaryReader) read(l *links) error {
	var head [binaryHead]byte
	if err := r.full(head[:]); err != nil {
		return err
	}
	version, width, count := head[6], int(head[7]), binary.LittleEndian.Uint64(head[8:])
	switch {
	case version != BinaryVersion:
		return fmt.Errorf("version %d of the binary form: want %d", version, BinaryVersion)
	case width != 4 && width != 8:
		return fmt.Errorf("ids of %d bytes: want 4 or 8", width)
	case count > uint64(l.max):
		return fmt.Errorf("%d links: want at most %d", count, l.max)
	}
	buf := make([]byte, 1<<18)
	for left := count; left > 0; {
		part := buf[:min(left, uint64(len(buf)/(2*width)))*uint64(2*width)]
		if err := r.full(part); err != nil {
			return fmt.Errorf("%w, %d of %d links were read", err, count-left, count)
		}
		if err := r.links(part, width, l); err != nil {
			return err
		}
		left -= uint64(len(part) / (2 * width))
	}
	want := r.sum
	var sum [4]byte
	if err := r.full(sum[:]); err != nil {
		return fmt.Errorf("checksum: %w", err)
	}
	if got := binary.LittleEndian.Uint32(sum[:]); got != want {
		return fmt.Errorf("checksum is %08x, want %08x", got, want)
	}
	if n, err := io.ReadFull(r.r, sum[:1]); n > 0 || !errors.Is(err, io.EOF) {
		return fmt.Errorf("more follows the checksum (%v)", err)
	}
	return nil
}

// links adds the pairs of ids in b.
func (r *binaryReader) links(b []byte, width int, l *links) error {
	for ; len(b) > 0; b = b[2*width:] {
		var src, dst uint64
		if width == 4 {
			src, dst = uint64(binary.LittleEndian.Uint32(b)), uint64(binary.LittleEndian.Uint32(b[4:]))
		} else {
			src, dst = binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:])
		}
		r.s.Lines++
		if src == dst {
			r.s.SelfLinks++
			l.names.number(src)
		} else if err := l.add(src, dst); err != nil {
			return err
		}
	}
	return nil
}
