package wire

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/flowhound/flowhound/internal/flow"
)

// A batch of n contacts is laid out in rows of one size, with what few contacts
// need behind them:
//
//	version, kind        1 byte each
//	collector            1 byte length, then the name
//	incarnation, seq     8 bytes each
//	shard, generation    1 byte each
//	n                    4 bytes
//	origin               8 bytes of LastMS, 4 of Slice
//	rows                 40n bytes, see below
//	rest                 per contact: Local's pseudonym (16 bytes) unless it is
//	                     that of the contact before, then what a wide contact
//	                     has (60 bytes)
//	checksum             4 bytes
//
// A row is three words of 64 bits, whose fields are given from the lowest bit
// on, and Remote's pseudonym:
//
//	remote shard 8, proto 8, flags 8, bits 8, port 16, out packets 16
//	LastMS − origin 21, LastMS − FirstMS 21, slice − origin 4,
//	    same Local 1, wide 1, out flows 8, in flows 8
//	out bytes 24, in bytes 24, in packets 16
//
// Differences wrap around. A wide contact is one that has a number too large
// for its field; then the row holds zeros for all of them, and the rest has
// FirstMS, LastMS, out packets and bytes, in packets and bytes (8 bytes each),
// slice, out flows and in flows (4 bytes each). So the many contacts are
// written and read without a branch and the few elephants keep every bit.
const (
	batchFixed = 2 + 1 + 8 + 8 + 1 + 1 + 4 + 8 + 4 // without the name
	rowBytes   = 3*8 + hostBytes
	wideBytes  = 6*8 + 3*4
	hostBytes  = len(flow.Pseudonym{})
	crcBytes   = 4
)

// Widths and places of a row's fields, in bits.
const (
	timeBits, sliceBits, flowBits, packetBits, byteBits = 21, 4, 8, 16, 24

	portShift, outPacketShift         = 32, 48
	tookShift, sliceShift             = timeBits, 2 * timeBits
	outFlowShift, inFlowShift         = sliceShift + sliceBits + 2, sliceShift + sliceBits + 2 + flowBits
	inByteShift, inPacketShift        = byteBits, 2 * byteBits
	sameLocal                  uint64 = 1 << (sliceShift + sliceBits)
	wide                       uint64 = sameLocal << 1
)

// Origin is what the times and slices of a batch are told relative to.
// Whatever it is, contacts survive; those within 17 minutes and 8 slices of a
// well chosen one take half the room.
type Origin struct {
	lastMS int64
	slice  flow.Slice
}

// OriginOf returns an origin for contacts of one time: that of the median of
// three, so that one exporter whose clock is wrong does not spoil it for all.
func OriginOf(cs []flow.Contact) Origin {
	if len(cs) == 0 {
		return Origin{}
	}
	three := []*flow.Contact{&cs[0], &cs[len(cs)/2], &cs[len(cs)-1]}
	slices.SortFunc(three, func(a, b *flow.Contact) int { return int(min(max(a.LastMS-b.LastMS, -1), 1)) })
	c := three[1]
	return Origin{lastMS: c.LastMS - 1<<(timeBits-1), slice: c.Slice - 1<<(sliceBits-1)}
}

// BatchBytes returns what n contacts need at most, without the wide ones and
// without what each batch has but once.
func BatchBytes(n int) int { return n * (rowBytes + hostBytes) }

// AppendBatch appends the encoding of a batch to b. Each contact's Local must
// be of the header's shard. It panics when the header's name or the number of
// contacts is out of bounds.
func AppendBatch(b []byte, h Header, cs []flow.Contact) []byte {
	var e Encoder
	e.Begin(b, h, len(cs), OriginOf(cs))
	for i := range cs {
		e.Add(&cs[i], 0)
	}
	return e.End()
}

// Encoder appends batches to a buffer, contact by contact. Contacts sorted by
// Local take less room: one with the Local of the one before saves 16 bytes.
type Encoder struct {
	b      []byte // rows have their room, the rest is appended
	start  int    // of the message
	row    int    // where the next row goes
	end    int    // of the rows
	shard  flow.Shard
	origin Origin
	last   *flow.Pseudonym // Local of the contact before, nil before the first
}

// Begin begins a batch of n contacts behind b. It panics when the header's name
// or n is out of bounds.
func (e *Encoder) Begin(b []byte, h Header, n int, o Origin) {
	if !validName(h.Collector) || n > MaxContacts {
		panic(fmt.Sprintf("BUG: batch of %q with %d contacts", clip(h.Collector), n))
	}
	*e = Encoder{start: len(b), shard: h.Shard, origin: o}
	b = slices.Grow(b, batchFixed+len(h.Collector)+BatchBytes(n)+crcBytes)
	b = append(b, batchVersion, kindBatch, byte(len(h.Collector)))
	b = append(b, h.Collector...)
	b = binary.LittleEndian.AppendUint64(b, h.Incarnation)
	b = binary.LittleEndian.AppendUint64(b, h.Seq)
	b = append(b, byte(h.Shard), byte(h.Generation))
	b = binary.LittleEndian.AppendUint32(b, uint32(n))
	b = binary.LittleEndian.AppendUint64(b, uint64(o.lastMS))
	b = binary.LittleEndian.AppendUint32(b, uint32(o.slice))
	e.row, e.end = len(b), len(b)+n*rowBytes
	e.b = b[:e.end]
}

// Add adds a contact as it is (end 0) or as its other end sees it (end 1). The
// contact must not change before End.
func (e *Encoder) Add(c *flow.Contact, end int) {
	hosts, counters := [2]*flow.Host{&c.Local, &c.Remote}, [2]*flow.Counters{&c.Out, &c.In}
	local, remote := hosts[end&1], hosts[^end&1]
	out, in := counters[end&1], counters[^end&1]
	if local.Shard != e.shard {
		panic(fmt.Sprintf("BUG: contact of shard %d in a batch of shard %d", local.Shard, e.shard))
	}
	w0 := uint64(remote.Shard) | uint64(c.Proto)<<8 | uint64(c.Flags)<<16 | uint64(seenFrom(c.Bits, end))<<24 | uint64(c.Port)<<portShift
	w1, w2 := wide, uint64(0)
	last, took, slice := uint64(c.LastMS-e.origin.lastMS), uint64(c.LastMS-c.FirstMS), uint64(c.Slice-e.origin.slice)
	large := (last|took)>>timeBits | slice>>sliceBits | uint64(out.Flows|in.Flows)>>flowBits |
		(out.Packets|in.Packets)>>packetBits | (out.Bytes|in.Bytes)>>byteBits
	if large == 0 {
		w0 |= out.Packets << outPacketShift
		w1 = last | took<<tookShift | slice<<sliceShift | uint64(out.Flows)<<outFlowShift | uint64(in.Flows)<<inFlowShift
		w2 = out.Bytes | in.Bytes<<inByteShift | in.Packets<<inPacketShift
	}
	if e.last != nil && local.Pseudonym == *e.last {
		w1 |= sameLocal
	} else {
		e.b = append(e.b, local.Pseudonym[:]...)
		e.last = &local.Pseudonym
	}
	if large != 0 {
		e.b = appendWide(e.b, c, out, in)
	}
	row := e.b[e.row:e.end][:rowBytes]
	binary.LittleEndian.PutUint64(row, w0)
	binary.LittleEndian.PutUint64(row[8:], w1)
	binary.LittleEndian.PutUint64(row[16:], w2)
	*(*flow.Pseudonym)(row[24:]) = remote.Pseudonym
	e.row += rowBytes
}

// End ends the batch and returns the buffer. It panics unless the contacts are
// as many as Begin was told.
func (e *Encoder) End() []byte {
	if e.row != e.end {
		panic(fmt.Sprintf("BUG: a batch ends %d bytes before its last row", e.end-e.row))
	}
	return appendChecksum(e.b, e.start)
}

// seenFrom returns a contact's bits as one of its ends sees them.
func seenFrom(bits uint8, end int) uint8 {
	return [2]uint8{bits, flow.FlipBits(bits)}[end&1]
}

// appendWide appends the numbers of a contact in full.
func appendWide(b []byte, c *flow.Contact, out, in *flow.Counters) []byte {
	for _, v := range [...]uint64{uint64(c.FirstMS), uint64(c.LastMS), out.Packets, out.Bytes, in.Packets, in.Bytes} {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	for _, v := range [...]uint32{uint32(c.Slice), out.Flows, in.Flows} {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	return b
}
