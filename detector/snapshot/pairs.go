package snapshot

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
	"slices"

	"github.com/flowhound/flowhound/detector/graph"
	"github.com/flowhound/flowhound/internal/flow"
)

// A block of pairs is the shard of their lesser hosts, the number of pairs as
// u16, the width of a host's number in bytes (2 or 3), the pairs, and zeros, so
// that the last pair too can be read in whole words. A pair is
//
//	head:u8 hiShard:u8 lo:width hi:width port:u16 proto:u8 flows:u8 slice:u16… volume
//
// and takes 14 bytes or so. What is where depends on the head alone: a processor
// cannot foresee where a varint ends, and a wrong guess takes longer than all
// else about a pair.
const (
	pairsHead    = 4
	pairsPadding = 16
	pairLeast    = 12 // with narrow numbers, one slice and no volume
	pairRoom     = 26 // what is touched by a pair read in words
)

var padding [pairsPadding]byte

// Bits of a pair's head. The lower two are SavedPair.Live.
const (
	bitAnswered = 1 << 2
	bitSame     = 1 << 3 // both directions' slices are the same, and only one is there
	bitDue      = 1 << 4 // the due slice is not the least of the live ones, and follows
	volumeShift = 5      // the upper three are the size of the volume in bytes
)

// A pair's volume is its bytes and, above their 40 bits, its flows without the
// lower 8.
const bytesBits, flowsByte = 40, 8

// appendPairs appends the payload of a block, none for no pairs. Slices count from
// oldest.
func appendPairs(b []byte, s flow.Shard, oldest flow.Slice, pairs []graph.SavedPair) []byte {
	if len(pairs) == 0 {
		return b
	}
	width := 2
	for i := range pairs {
		if max(pairs[i].Lo, pairs[i].Hi) > math.MaxUint16 {
			width = 3
		}
	}
	b = slices.Grow(b, pairsHead+(len(pairs)+1)*pairRoom)
	b = append(b, byte(s), byte(len(pairs)), byte(len(pairs)>>8), byte(width))
	for i := range pairs {
		b = b[:len(b)+putPair((*[pairRoom]byte)(b[len(b):len(b)+pairRoom]), &pairs[i], oldest, width)]
	}
	return append(b, padding[:]...)
}

// putPair writes a pair and returns its size.
func putPair(b *[pairRoom]byte, p *graph.SavedPair, oldest flow.Slice, width int) int {
	least := leastSeen(p)
	volume := p.Bytes | uint64(p.Flows>>flowsByte)<<bytesBits
	size := (bits.Len64(volume) + 7) / 8
	same := p.Live == 3 && p.Seen[0] == p.Seen[1]
	b[0] = p.Live | flag(p.Answered, bitAnswered) | flag(same, bitSame) | flag(p.Due != least, bitDue) | byte(size)<<volumeShift
	b[1] = byte(p.HiShard)
	binary.LittleEndian.PutUint32(b[2:], p.Lo)
	binary.LittleEndian.PutUint32(b[2+width:], p.Hi)
	at := 2 + 2*width
	binary.LittleEndian.PutUint16(b[at:], p.Port)
	b[at+2], b[at+3] = p.Proto, byte(p.Flows)
	at += 4
	slice := func(s flow.Slice) {
		binary.LittleEndian.PutUint16(b[at:], uint16(s-oldest))
		at += 2
	}
	if same {
		slice(least)
	} else {
		for dir, seen := range p.Seen {
			if p.Live&(1<<dir) != 0 {
				slice(seen)
			}
		}
	}
	if p.Due != least {
		slice(p.Due)
	}
	binary.LittleEndian.PutUint64(b[at:], volume)
	return at + size
}

// pairsIn returns how many pairs a block says that it holds. It has room for them.
func pairsIn(b []byte) (n int, err error) {
	if len(b) < pairsHead {
		return 0, errShort
	}
	n = int(binary.LittleEndian.Uint16(b[1:]))
	if len(b) < pairsHead+n*pairLeast+pairsPadding {
		return 0, errShort
	}
	return n, nil
}

// parsePairs returns the pairs of a payload, in the array of to if it is large
// enough.
func parsePairs(to []graph.SavedPair, b []byte, oldest flow.Slice) (pairs []graph.SavedPair, err error) {
	n, err := pairsIn(b)
	if err != nil {
		return to, err
	}
	width := int(b[3])
	if width != 2 && width != 3 {
		return to, fmt.Errorf("host numbers of %d bytes", width)
	}
	b = b[pairsHead:]
	to = slices.Grow(to, n)[:n]
	for i := range to {
		if len(b) < pairRoom {
			return to, errShort
		}
		size, err := parsePair(&to[i], (*[pairRoom]byte)(b), oldest, width)
		if err != nil {
			return to, err
		}
		b = b[size:]
	}
	if !bytes.Equal(b, padding[:]) {
		return to, fmt.Errorf("%d bytes follow the pairs, want %d zeros", len(b), pairsPadding)
	}
	return to, nil
}

// parsePair reads a pair and returns its size.
func parsePair(p *graph.SavedPair, b *[pairRoom]byte, oldest flow.Slice, width int) (size int, err error) {
	head := b[0]
	live := head & 3
	if live == 0 || head&bitSame != 0 && live != 3 {
		return 0, fmt.Errorf("pair with bits %#x", head)
	}
	number := uint32(1)<<(8*width) - 1
	at := 2 + 2*width
	p.Live, p.Answered, p.HiShard = live, head&bitAnswered != 0, flow.Shard(b[1])
	p.Lo, p.Hi = binary.LittleEndian.Uint32(b[2:])&number, binary.LittleEndian.Uint32(b[2+width:])&number
	p.Port, p.Proto = binary.LittleEndian.Uint16(b[at:]), b[at+2]
	flows := uint32(b[at+3])
	at += 4
	slice := func() flow.Slice {
		at += 2
		return oldest + flow.Slice(binary.LittleEndian.Uint16(b[at-2:]))
	}
	switch {
	case head&bitSame != 0:
		p.Seen[0] = slice()
		p.Seen[1] = p.Seen[0]
	case live == 3:
		p.Seen[0] = slice()
		p.Seen[1] = slice()
	default:
		p.Seen = [2]flow.Slice{}
		p.Seen[live>>1] = slice()
	}
	if p.Due = leastSeen(p); head&bitDue != 0 {
		p.Due = slice()
	}
	volumeSize := int(head >> volumeShift)
	volume := binary.LittleEndian.Uint64(b[at:]) & (1<<(8*volumeSize) - 1)
	p.Flows, p.Bytes = flows|uint32(volume>>bytesBits)<<flowsByte, volume&(1<<bytesBits-1)
	return at + volumeSize, nil
}

// leastSeen returns the older slice of a pair's live directions.
func leastSeen(p *graph.SavedPair) flow.Slice {
	switch p.Live {
	case 1:
		return p.Seen[0]
	case 2:
		return p.Seen[1]
	}
	return min(p.Seen[0], p.Seen[1])
}
