package snapshot

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/flowhound/flowhound/detector/graph"
	"github.com/flowhound/flowhound/internal/flow"
)

// Read returns what Write wrote, as a graph with configuration cfg, which must
// be valid. It reads r to its end; anything that Write cannot have written is
// an error that names the block.
func Read(r io.Reader, cfg graph.Config) (header []byte, g *graph.Graph, err error) {
	in := &reader{r: bufio.NewReaderSize(r, 1<<18), cfg: cfg}
	if err := in.begin(); err != nil {
		return nil, nil, fmt.Errorf("read snapshot: %w", err)
	}
	for !in.ended {
		if err := in.block(); err != nil {
			return nil, nil, fmt.Errorf("read snapshot: block %d: %w", in.blocks, err)
		}
	}
	if _, err := in.r.ReadByte(); !errors.Is(err, io.EOF) {
		return nil, nil, fmt.Errorf("read snapshot: block %d: it follows the end (%v)", in.blocks, err)
	}
	if g, err = in.restorer.Graph(); err != nil {
		return nil, nil, fmt.Errorf("read snapshot: %w", err)
	}
	return in.header, g, nil
}

// reader passes what it reads on to a graph.Restorer.
type reader struct {
	r        *bufio.Reader
	cfg      graph.Config
	blocks   uint64 // whole blocks read
	total    uint32 // checksum of all bytes so far
	last     kind   // of the block before
	buf      []byte
	hosts    []graph.SavedHost
	pairs    []graph.SavedPair
	oldest   flow.Slice
	header   []byte // its parts so far
	restorer *graph.Restorer
	ended    bool
}

// full fills b and adds it to the total.
func (r *reader) full(b []byte) error {
	if _, err := io.ReadFull(r.r, b); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return err
	}
	r.total = crc32.Update(r.total, castagnoli, b)
	return nil
}

func (r *reader) begin() error {
	var b [len(magic) + 2]byte
	if err := r.full(b[:]); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return fmt.Errorf("%w: it ends within its first %d bytes", ErrNotSnapshot, len(b))
		}
		return err
	}
	if string(b[:len(magic)]) != magic {
		return fmt.Errorf("%w: it begins with %q", ErrNotSnapshot, b[:len(magic)])
	}
	if v := binary.LittleEndian.Uint16(b[len(magic):]); v != Version {
		return fmt.Errorf("%w: %d, want %d", ErrVersion, v, Version)
	}
	return nil
}

func (r *reader) block() error {
	before := r.total
	var head [headSize]byte
	if err := r.full(head[:]); err != nil {
		return err
	}
	k, size := kind(head[0]), binary.LittleEndian.Uint32(head[1:])
	if size > maxPayload {
		return fmt.Errorf("%v of %d bytes: want at most %d", k, size, maxPayload)
	}
	if cap(r.buf) < int(size) {
		r.buf = make([]byte, size)
	}
	payload := r.buf[:size]
	if err := r.full(payload); err != nil {
		return fmt.Errorf("%v of %d bytes: %w", k, size, err)
	}
	if got, want := blockSum(r.blocks, head, payload), binary.LittleEndian.Uint32(head[5:]); got != want {
		return fmt.Errorf("%v of %d bytes: checksum is %08x, want %08x", k, size, got, want)
	}
	if !follows(r.last, k) {
		return fmt.Errorf("%v: after %v", k, r.last)
	}
	if err := r.take(k, payload, before); err != nil {
		return fmt.Errorf("%v: %w", k, err)
	}
	r.last = k
	r.blocks++
	return nil
}

// follows reports whether a block of kind k may come after one of kind last.
func follows(last, k kind) bool {
	switch k {
	case kindHeader:
		return last == 0 || last == kindHeader
	case kindWindow:
		return last == kindHeader
	case kindHosts, kindPairs, kindEnd:
		return kindWindow <= last && last <= k && last != kindEnd
	}
	return false
}

// take passes on the payload of a block whose checksum is right. before is the
// checksum of the bytes before the block.
func (r *reader) take(k kind, payload []byte, before uint32) (err error) {
	switch k {
	case kindHeader:
		r.header = append(r.header, payload...)
	case kindWindow:
		var window graph.Window
		if window, err = parseWindow(payload); err != nil {
			return err
		}
		r.oldest = window.Oldest
		r.restorer, err = graph.NewRestorer(r.cfg, window)
	case kindHosts:
		var s flow.Shard
		if s, r.hosts, err = parseHosts(r.hosts[:0], payload); err == nil {
			err = r.restorer.Hosts(s, r.hosts)
		}
	case kindPairs:
		var s flow.Shard
		if s, r.pairs, err = parsePairs(r.pairs[:0], payload, r.oldest); err == nil {
			err = r.restorer.Pairs(s, r.pairs)
		}
	case kindEnd:
		want := binary.LittleEndian.AppendUint64(nil, r.blocks)
		if want = binary.LittleEndian.AppendUint32(want, before); string(want) != string(payload) {
			return fmt.Errorf("count and checksum of the file are %x, want %x", want, payload)
		}
		r.ended = true
	}
	return err
}
