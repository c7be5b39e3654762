package snapshot

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/flowhound/flowhound/detector/graph"
	"github.com/flowhound/flowhound/internal/flow"
)

// errShort occurs when a payload ends within a value.
var errShort = errors.New("it ends within a value")

func appendWindow(b []byte, w graph.Window) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(w.Oldest))
	b = binary.LittleEndian.AppendUint32(b, uint32(w.Newest))
	return append(b, flag(w.Started, 1))
}

func parseWindow(b []byte) (w graph.Window, err error) {
	if len(b) != 9 || b[8] > 1 {
		return w, fmt.Errorf("%d bytes, not a window", len(b))
	}
	return graph.Window{
		Oldest:  flow.Slice(binary.LittleEndian.Uint32(b)),
		Newest:  flow.Slice(binary.LittleEndian.Uint32(b[4:])),
		Started: b[8] == 1,
	}, nil
}

// appendHosts appends the shard and then, for each host, 16 bytes of pseudonym
// and one of generation.
func appendHosts(b []byte, s flow.Shard, hosts []graph.SavedHost) []byte {
	b = append(b, byte(s))
	for i := range hosts {
		b = append(b, hosts[i].Pseudonym[:]...)
		b = append(b, byte(hosts[i].Generation))
	}
	return b
}

func parseHosts(to []graph.SavedHost, b []byte) (s flow.Shard, hosts []graph.SavedHost, err error) {
	const size = 17
	if len(b)%size != 1 {
		return 0, to, errShort
	}
	s = flow.Shard(b[0])
	for b = b[1:]; len(b) > 0; b = b[size:] {
		to = append(to, graph.SavedHost{Pseudonym: flow.Pseudonym(b), Generation: flow.Generation(b[16])})
	}
	return s, to, nil
}

// Bits of a pair's first byte. The lower two are SavedPair.Live.
const (
	bitAnswered = 1 << 2
	bitDue      = 1 << 3 // the due slice is not the least of the live ones, and follows
	bitSame     = 1 << 4 // both slices are the same, and only one follows
	bitsKnown   = 1<<5 - 1
)

// appendPairs appends the shard and then, for each pair, its bits, the shard of
// its greater host, protocol and port; and as varints both hosts' numbers, the
// slices counted from oldest, flows and bytes. About 18 bytes.
func appendPairs(b []byte, s flow.Shard, oldest flow.Slice, pairs []graph.SavedPair) []byte {
	b = append(b, byte(s))
	for i := range pairs {
		p := &pairs[i]
		head := p.Live | flag(p.Answered, bitAnswered) | flag(p.Due != leastSeen(p), bitDue) |
			flag(p.Live == 3 && p.Seen[0] == p.Seen[1], bitSame)
		b = append(b, head, byte(p.HiShard), p.Proto, byte(p.Port), byte(p.Port>>8))
		b = binary.AppendUvarint(b, uint64(p.Lo))
		b = binary.AppendUvarint(b, uint64(p.Hi))
		for dir, seen := range p.Seen {
			if p.Live&(1<<dir) != 0 && (dir == 0 || head&bitSame == 0) {
				b = binary.AppendUvarint(b, uint64(seen-oldest))
			}
		}
		if head&bitDue != 0 {
			b = binary.AppendUvarint(b, uint64(p.Due-oldest))
		}
		b = binary.AppendUvarint(b, uint64(p.Flows))
		b = binary.AppendUvarint(b, p.Bytes)
	}
	return b
}

func parsePairs(to []graph.SavedPair, b []byte, oldest flow.Slice) (s flow.Shard, pairs []graph.SavedPair, err error) {
	if len(b) == 0 {
		return 0, to, errShort
	}
	s = flow.Shard(b[0])
	for b = b[1:]; len(b) > 0; {
		to = append(to, graph.SavedPair{})
		if b, err = parsePair(&to[len(to)-1], b, oldest); err != nil {
			return 0, to, err
		}
	}
	return s, to, nil
}

// parsePair reads one pair and returns what follows.
func parsePair(p *graph.SavedPair, b []byte, oldest flow.Slice) ([]byte, error) {
	if len(b) < 5 {
		return nil, errShort
	}
	head := b[0]
	p.Live, p.Answered = head&3, head&bitAnswered != 0
	if head&^bitsKnown != 0 || p.Live == 0 || head&bitSame != 0 && p.Live != 3 {
		return nil, fmt.Errorf("pair with bits %#x", head)
	}
	p.HiShard, p.Proto, p.Port = flow.Shard(b[1]), b[2], binary.LittleEndian.Uint16(b[3:])
	v := varints{b: b[5:]}
	p.Lo, p.Hi = uint32(v.next(1<<32)), uint32(v.next(1<<32))
	for dir := range p.Seen {
		if p.Live&(1<<dir) != 0 && (dir == 0 || head&bitSame == 0) {
			p.Seen[dir] = oldest + flow.Slice(v.next(1<<16))
		}
	}
	if head&bitSame != 0 {
		p.Seen[1] = p.Seen[0]
	}
	if p.Due = leastSeen(p); head&bitDue != 0 {
		p.Due = oldest + flow.Slice(v.next(1<<16))
	}
	p.Flows, p.Bytes = uint32(v.next(1<<32)), v.next(1<<63)
	if v.bad {
		return nil, errShort
	}
	return v.b, nil
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

func flag(set bool, bit byte) byte {
	if set {
		return bit
	}
	return 0
}

// varints reads varints off b until one is bad.
type varints struct {
	b   []byte
	bad bool
}

// next returns the next varint, which must be below limit.
func (v *varints) next(limit uint64) uint64 {
	if len(v.b) > 0 && v.b[0] < 0x80 { // most are
		x := uint64(v.b[0])
		v.b = v.b[1:]
		return x
	}
	x, n := binary.Uvarint(v.b)
	if n <= 0 || x >= limit {
		v.bad = true
		return 0
	}
	v.b = v.b[n:]
	return x
}
