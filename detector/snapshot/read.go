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
// an error that names the block. It works on as many shards at once as there
// are processors, and holds their blocks.
func Read(r io.Reader, cfg graph.Config) (header []byte, g *graph.Graph, err error) {
	in := &reader{r: bufio.NewReaderSize(r, 1<<18), cfg: cfg}
	if err := in.begin(); err != nil {
		return nil, nil, fmt.Errorf("read snapshot: %w", err)
	}
	in.parts = newParts()
	at, err := in.all()
	if failed := in.parts.close(); failed != nil {
		at, err = failed.number, failed.err // of an earlier block than the reader's
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read snapshot: block %d: %w", at, err)
	}
	if g, err = in.restorer.Graph(); err != nil {
		return nil, nil, fmt.Errorf("read snapshot: %w", err)
	}
	return in.header, g, nil
}

// reader checks the blocks and passes those of a shard on, once they are all
// there.
type reader struct {
	r        *bufio.Reader
	cfg      graph.Config
	blocks   uint64 // whole blocks read
	total    uint32 // checksum of all bytes so far
	last     kind   // of the block before
	window   graph.Window
	header   []byte // its parts so far
	restorer *graph.Restorer
	ended    bool
	parts    *parts
	part     part // being collected; of kind 0 if none is
}

// all reads all blocks. at is the block that an error is in.
func (r *reader) all() (at uint64, err error) {
	for !r.ended {
		if r.parts.failed.Load() != nil {
			return r.blocks, nil
		}
		if err := r.block(); err != nil {
			return r.blocks, err
		}
	}
	if _, err := r.r.ReadByte(); !errors.Is(err, io.EOF) {
		return r.blocks, fmt.Errorf("it follows the end (%v)", err)
	}
	return r.blocks, nil
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
	payload := r.parts.buffer(int(size))
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

// take uses the payload of a block whose checksum is right. before is the
// checksum of the bytes before the block.
func (r *reader) take(k kind, payload []byte, before uint32) (err error) {
	switch k {
	case kindHeader:
		r.header = append(r.header, payload...)
	case kindWindow:
		if r.window, err = parseWindow(payload); err != nil {
			return err
		}
		r.restorer, err = graph.NewRestorer(r.cfg, r.window)
	case kindHosts, kindPairs:
		return r.collect(k, payload)
	case kindEnd:
		want := binary.LittleEndian.AppendUint64(nil, r.blocks)
		if want = binary.LittleEndian.AppendUint32(want, before); string(want) != string(payload) {
			return fmt.Errorf("count and checksum of the file are %x, want %x", want, payload)
		}
		r.submit()
		r.ended = true
	}
	return err
}

// collect adds a block to the part that it belongs to.
func (r *reader) collect(k kind, payload []byte) error {
	if len(payload) == 0 {
		return errShort
	}
	shard := flow.Shard(payload[0])
	count := len(payload) / hostSize
	if k == kindPairs {
		var err error
		if count, err = pairsIn(payload); err != nil {
			return err
		}
	}
	if r.part.kind == k && r.part.shard > shard {
		return fmt.Errorf("shard %d follows shard %d", shard, r.part.shard)
	}
	if r.part.kind != k || r.part.shard != shard {
		r.submit()
		if r.part.kind != k {
			r.parts.wait() // pairs need all hosts
		}
		r.part = part{kind: k, shard: shard, first: r.blocks}
	}
	r.part.count += count
	r.part.payloads = append(r.part.payloads, payload)
	return nil
}

// submit hands the collected part over.
func (r *reader) submit() {
	if r.part.kind != 0 {
		r.parts.start(r.part, r.restorer, r.window.Oldest)
	}
}
