// Package snapshot writes and reads the state of a graph with its component's
// header, in checksummed blocks:
//
//	file  = "FHSNAP" version:u16 block…
//	block = kind:u8 length:u32 crc:u32 payload
//
// Numbers are little-endian. The CRC-32C (RFC 3720 §12.1) of a block covers
// its place in the file, its kind, its length and its payload; the payload of
// the last block, of kind end, is the number of blocks before it and the
// CRC-32C of every byte before it. So any changed byte, and any block lost,
// doubled or moved, is found, and found in a block that has a number.
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

// Version is the version of the format that Write writes and Read reads.
const Version = 2

const magic = "FHSNAP"

// Bounds of a block's payload and so of what Read allocates at once. A block
// of 1024 hosts or pairs stays below it.
const (
	maxPayload = 1 << 20
	headSize   = 9
)

// kind is what a block holds.
type kind uint8

const (
	kindHeader kind = iota + 1 // the component's header, or its next part
	kindWindow
	kindHosts
	kindPairs
	kindEnd
)

func (k kind) String() string {
	names := [...]string{kindHeader: "header", kindWindow: "window", kindHosts: "hosts", kindPairs: "pairs", kindEnd: "end"}
	if int(k) < len(names) && names[k] != "" {
		return names[k]
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// ErrNotSnapshot occurs when the input does not begin like a snapshot.
var ErrNotSnapshot = errors.New("not a snapshot")

// ErrVersion occurs when a snapshot has another version than [Version].
var ErrVersion = errors.New("unknown snapshot version")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// blockSum returns the checksum of the block with the given number and head.
func blockSum(number uint64, head [headSize]byte, payload []byte) uint32 {
	var place [8]byte
	binary.LittleEndian.PutUint64(place[:], number)
	sum := crc32.Update(0, castagnoli, place[:])
	sum = crc32.Update(sum, castagnoli, head[:5])
	return crc32.Update(sum, castagnoli, payload)
}

// Write writes the component's header, over as many blocks as it needs, and the
// graph, which can be read meanwhile but not changed. It leaves syncing to the
// caller.
func Write(w io.Writer, header []byte, g *graph.Graph) error {
	buffered := bufio.NewWriterSize(w, 1<<18)
	out := &writer{w: buffered}
	out.write(binary.LittleEndian.AppendUint16([]byte(magic), Version))
	for first := true; first || len(header) > 0; first = false {
		n := min(len(header), maxPayload)
		out.block(kindHeader, header[:n])
		header = header[n:]
	}
	out.graph(g)
	end := binary.LittleEndian.AppendUint64(nil, out.blocks)
	out.block(kindEnd, binary.LittleEndian.AppendUint32(end, out.total))
	if out.err == nil {
		out.err = buffered.Flush()
	}
	if out.err != nil {
		return fmt.Errorf("write snapshot: %w", out.err)
	}
	return nil
}

// writer writes blocks.
type writer struct {
	w      io.Writer
	err    error // the first
	blocks uint64
	total  uint32 // checksum of all bytes so far
}

func (w *writer) write(b []byte) {
	if w.err == nil {
		_, w.err = w.w.Write(b)
	}
	w.total = crc32.Update(w.total, castagnoli, b)
}

func (w *writer) block(k kind, payload []byte) {
	var head [headSize]byte
	head[0] = byte(k)
	binary.LittleEndian.PutUint32(head[1:], uint32(len(payload)))
	binary.LittleEndian.PutUint32(head[5:], blockSum(w.blocks, head, payload))
	w.write(head[:])
	w.write(payload)
	w.blocks++
}

// graph writes the blocks of a graph, which are encoded on all processors.
func (w *writer) graph(g *graph.Graph) {
	saver := graph.NewSaver(g)
	defer saver.Close()
	window := saver.Window()
	w.block(kindWindow, appendWindow(nil, window))
	w.chunks(kindHosts, saver.HostChunks(), func() encoder {
		var hosts []graph.SavedHost
		return func(b []byte, chunk int) []byte {
			var s flow.Shard
			s, hosts = saver.Hosts(hosts[:0], chunk)
			return appendHosts(b, s, hosts)
		}
	})
	w.chunks(kindPairs, saver.PairChunks(), func() encoder {
		var pairs []graph.SavedPair
		return func(b []byte, chunk int) []byte {
			var s flow.Shard
			s, pairs = saver.Pairs(pairs[:0], chunk)
			return appendPairs(b, s, window.Oldest, pairs)
		}
	})
}
