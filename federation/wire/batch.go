package wire

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"slices"

	"github.com/flowhound/flowhound/internal/flow"
)

// A batch of n contacts with m changes of Local is laid out in columns:
//
//	version, kind        1 byte each
//	collector            1 byte length, then the name
//	incarnation, seq     8 bytes each
//	shard, generation    1 byte each
//	n, m, numbers        4 bytes each; numbers is the length of that column
//	first, slice         8 and 4 bytes: the least FirstMS and Slice
//	remote shard         n bytes
//	proto, flags, bits   n bytes each
//	tags                 5n bytes: ten nibbles per contact, see tagShift
//	numbers              per contact: the ten numbers of its tag
//	local                16m bytes: Local's pseudonym where it changes
//	remote               16n bytes: Remote's pseudonym
//	checksum             4 bytes
//
// The pseudonyms stand last, so that the eight-byte loads and stores of the
// numbers column never leave the message: that is what makes it cheap.
const (
	batchFixed = 2 + 1 + 8 + 8 + 1 + 1 + 4 + 4 + 4 + 8 + 4 // without the name
	rowBytes   = 4 + tagBytes                              // one-byte columns and tag
	hostBytes  = len(flow.Pseudonym{})
	crcBytes   = 4
)

// A tag holds the byte lengths, 0 to 8, of a contact's numbers; the lowest
// nibble is the first: slice − least slice, first − least first, last − first,
// then flows, packets and bytes of Out and of In, then the port. Differences
// wrap around, so that any value survives. The top bit of the port's nibble
// says that Local is that of the contact before.
const (
	tagBytes  = 5
	portShift = 36
	sameLocal = 8 << portShift
)

// AppendBatch appends the encoding of a batch to b. Each contact's Local must
// be of the header's shard. Contacts sorted by Local take less room: a
// contact with the Local of the one before it saves 16 bytes. It panics when
// the header's name or the number of contacts is out of bounds.
func AppendBatch(b []byte, h Header, cs []flow.Contact) []byte {
	if !validName(h.Collector) || len(cs) > MaxContacts {
		panic(fmt.Sprintf("BUG: batch of %q with %d contacts", clip(h.Collector), len(cs)))
	}
	start, n := len(b), len(cs)
	first, slice := least(cs)
	b = slices.Grow(b, batchFixed+len(h.Collector)+n*(rowBytes+2*hostBytes+16)+crcBytes)
	b = append(b, version, kindBatch, byte(len(h.Collector)))
	b = append(b, h.Collector...)
	b = binary.LittleEndian.AppendUint64(b, h.Incarnation)
	b = binary.LittleEndian.AppendUint64(b, h.Seq)
	b = append(b, byte(h.Shard), byte(h.Generation))
	b = binary.LittleEndian.AppendUint32(b, uint32(n))
	counts := len(b)
	b = append(b, 0, 0, 0, 0, 0, 0, 0, 0)
	b = binary.LittleEndian.AppendUint64(b, uint64(first))
	b = binary.LittleEndian.AppendUint32(b, uint32(slice))
	rows := len(b)
	b = b[:rows+n*rowBytes]
	locals, numbers := putRows(b[rows:], h.Shard, cs, first, slice)
	binary.LittleEndian.PutUint32(b[counts:], uint32(locals))
	binary.LittleEndian.PutUint32(b[counts+4:], uint32(numbers))

	at := len(b)
	b = slices.Grow(b, numbers+(locals+n)*hostBytes+crcBytes)
	b = b[:at+numbers+(locals+n)*hostBytes]
	putNumbers(b[at:], b[at-n*tagBytes:at], cs, first, slice)
	putHosts(b[at+numbers:], b[at-n*tagBytes:at], cs, locals)
	return appendChecksum(b, start)
}

// least returns the smallest FirstMS and Slice, zeros for no contacts.
func least(cs []flow.Contact) (first int64, slice flow.Slice) {
	if len(cs) == 0 {
		return 0, 0
	}
	first, slice = cs[0].FirstMS, cs[0].Slice
	for i := range cs {
		first, slice = min(first, cs[i].FirstMS), min(slice, cs[i].Slice)
	}
	return first, slice
}

// size returns the number of bytes that v needs: 0 for 0.
func size(v uint64) uint64 { return uint64(bits.Len64(v)+7) / 8 }

// putRows fills the one-byte columns and the tags. It returns how often Local
// changes and how long the numbers column will be.
func putRows(b []byte, shard flow.Shard, cs []flow.Contact, first int64, slice flow.Slice) (locals, numbers int) {
	n := len(cs)
	remote, proto, flags, bit := b[:n], b[n:2*n], b[2*n:3*n], b[3*n:4*n]
	tags := b[4*n:]
	var last flow.Pseudonym
	for i := range cs {
		c := &cs[i]
		if c.Local.Shard != shard {
			panic(fmt.Sprintf("BUG: contact of shard %d in a batch of shard %d", c.Local.Shard, shard))
		}
		remote[i], proto[i], flags[i], bit[i] = byte(c.Remote.Shard), c.Proto, c.Flags, c.Bits
		t := size(uint64(c.Slice-slice)) |
			size(uint64(c.FirstMS-first))<<4 |
			size(uint64(c.LastMS-c.FirstMS))<<8 |
			size(uint64(c.Out.Flows))<<12 | size(c.Out.Packets)<<16 | size(c.Out.Bytes)<<20 |
			size(uint64(c.In.Flows))<<24 | size(c.In.Packets)<<28 | size(c.In.Bytes)<<32 |
			size(uint64(c.Port))<<portShift
		numbers += sumNibbles(t)
		if i > 0 && c.Local.Pseudonym == last {
			t |= sameLocal
		} else {
			locals++
			last = c.Local.Pseudonym
		}
		binary.LittleEndian.PutUint32(tags[i*tagBytes:], uint32(t))
		tags[i*tagBytes+4] = byte(t >> 32)
	}
	return locals, numbers
}

// putNumbers fills the numbers column by the lengths in tags. Each store
// writes eight bytes; what is too much is overwritten by the next, or by the
// pseudonyms.
func putNumbers(b, tags []byte, cs []flow.Contact, first int64, slice flow.Slice) {
	at := 0
	for i := range cs {
		c := &cs[i]
		t := tagAt(tags, i)
		put := func(v uint64) {
			binary.LittleEndian.PutUint64(b[at:], v)
			at += int(t & 15)
			t >>= 4
		}
		put(uint64(c.Slice - slice))
		put(uint64(c.FirstMS - first))
		put(uint64(c.LastMS - c.FirstMS))
		put(uint64(c.Out.Flows))
		put(c.Out.Packets)
		put(c.Out.Bytes)
		put(uint64(c.In.Flows))
		put(c.In.Packets)
		put(c.In.Bytes)
		binary.LittleEndian.PutUint64(b[at:], uint64(c.Port))
		at += int(t & 3)
	}
}

func putHosts(b, tags []byte, cs []flow.Contact, locals int) {
	remote, at := b[locals*hostBytes:], 0
	for i := range cs {
		if tagAt(tags, i)&sameLocal == 0 {
			at += copy(b[at:], cs[i].Local.Pseudonym[:])
		}
		copy(remote[i*hostBytes:], cs[i].Remote.Pseudonym[:])
	}
}

// tagAt returns the i-th tag.
func tagAt(tags []byte, i int) uint64 {
	return uint64(binary.LittleEndian.Uint32(tags[i*tagBytes:])) | uint64(tags[i*tagBytes+4])<<32
}

// sumNibbles adds the ten nibbles of a tag, each at most 8.
func sumNibbles(t uint64) int {
	const low = 0x0f0f0f0f0f
	return int(((t&low + t>>4&low) * 0x0101010101 >> 32) & 0xff)
}
