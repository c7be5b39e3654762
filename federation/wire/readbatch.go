package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/flowhound/flowhound/internal/flow"
)

// columns are the parts of a batch after its header, all within one payload.
type columns struct {
	n, locals                 int
	remote, proto, flags, bit []byte
	tags                      []byte
	numbers                   []byte // longer than its length by the pseudonyms
	length                    int    // of numbers
	local, far                []byte
	first                     int64
	slice                     flow.Slice
}

// ReadBatch decodes a batch that AppendBatch made and appends its contacts to
// cs. On an error cs comes back at its old length. The header's name is the
// only thing that it allocates when cs has room.
func ReadBatch(b []byte, cs []flow.Contact) (Header, []flow.Contact, error) {
	h, rest, err := readHeader(b)
	if err != nil {
		return Header{}, cs, fmt.Errorf("batch: %w", err)
	}
	c, err := split(rest)
	if err != nil {
		return Header{}, cs, fmt.Errorf("batch: %w", err)
	}
	old := len(cs)
	cs = slices.Grow(cs, c.n)[:old+c.n]
	if err := c.read(cs[old:], h.Shard); err != nil {
		return Header{}, cs[:old], fmt.Errorf("batch: %w", err)
	}
	return h, cs, nil
}

// ReadHeader decodes only the header of a batch and checks the whole batch's
// checksum.
func ReadHeader(b []byte) (Header, error) {
	h, _, err := readHeader(b)
	if err != nil {
		return Header{}, fmt.Errorf("batch: %w", err)
	}
	return h, nil
}

func readHeader(b []byte) (h Header, rest []byte, err error) {
	kind, b, err := open(b)
	if err != nil {
		return h, nil, err
	}
	if kind != kindBatch {
		return h, nil, fmt.Errorf("kind %q, want %q", kind, kindBatch)
	}
	r := reader{b: b}
	h.Collector = r.name()
	h.Incarnation = r.uint64()
	h.Seq = r.uint64()
	h.Shard = flow.Shard(r.byte())
	h.Generation = flow.Generation(r.byte())
	return h, r.b, r.err
}

// split cuts what follows the header into columns. The lengths are those of
// the payload to the byte, so no count can promise more than is there.
func split(b []byte) (c columns, err error) {
	const counts = 4 + 4 + 4 + 8 + 4
	if len(b) < counts {
		return c, errShort
	}
	n, locals := binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:])
	numbers := binary.LittleEndian.Uint32(b[8:])
	c.first = int64(binary.LittleEndian.Uint64(b[12:]))
	c.slice = flow.Slice(binary.LittleEndian.Uint32(b[20:]))
	b = b[counts:]
	if n > MaxContacts || locals > n {
		return c, fmt.Errorf("%d contacts of %d hosts, want at most %d", n, locals, MaxContacts)
	}
	want := uint64(n)*(rowBytes+uint64(hostBytes)) + uint64(locals)*uint64(hostBytes) + uint64(numbers)
	if want != uint64(len(b)) {
		return c, fmt.Errorf("%d bytes of columns, want %d", len(b), want)
	}
	c.n, c.locals, c.length = int(n), int(locals), int(numbers)
	take := func(n int) []byte {
		part := b[:n:n]
		b = b[n:]
		return part
	}
	c.remote, c.proto, c.flags, c.bit = take(c.n), take(c.n), take(c.n), take(c.n)
	c.tags = take(c.n * tagBytes)
	c.numbers = b
	take(c.length)
	c.local, c.far = take(c.locals*hostBytes), b
	return c, nil
}

var (
	errTag    = errors.New("a number is longer than its field or than its column")
	errLocals = errors.New("the hosts do not match the contacts")
	errNumber = errors.New("a number does not fit its field")
)

// masks[l] keeps the low l bytes of an eight-byte load.
var masks = [16]uint64{
	0, 1<<8 - 1, 1<<16 - 1, 1<<24 - 1, 1<<32 - 1, 1<<40 - 1, 1<<48 - 1, 1<<56 - 1, 1<<64 - 1,
}

// read fills out, which has c.n contacts. It goes by contacts rather than by
// columns, so that each contact's memory is written once.
func (c *columns) read(out []flow.Contact, shard flow.Shard) error {
	at, local := 0, -hostBytes
	var wide uint64 // bits that have no place in their fields
	for i := range out {
		t := tagAt(c.tags, i)
		if t&sameLocal == 0 {
			local += hostBytes
		}
		t &^= sameLocal
		if t>>portShift > 2 || tooLong(t) || at+sumNibbles(t) > c.length {
			return errTag
		}
		if uint(local) >= uint(len(c.local)) { // −16 when the first repeats one
			return errLocals
		}
		o := &out[i]
		o.Local.Pseudonym = flow.Pseudonym(c.local[local:])
		o.Remote.Pseudonym = flow.Pseudonym(c.far[i*hostBytes:])
		o.Local.Shard, o.Remote.Shard = shard, flow.Shard(c.remote[i])
		o.Proto, o.Flags, o.Bits = c.proto[i], c.flags[i], c.bit[i]

		get := func() uint64 {
			l := t & 15
			v := binary.LittleEndian.Uint64(c.numbers[at:]) & masks[l]
			at += int(l)
			t >>= 4
			return v
		}
		slice := get()
		o.Slice = c.slice + flow.Slice(slice)
		o.FirstMS = c.first + int64(get())
		o.LastMS = o.FirstMS + int64(get())
		flows := get()
		o.Out = flow.Counters{Flows: uint32(flows), Packets: get(), Bytes: get()}
		back := get()
		o.In = flow.Counters{Flows: uint32(back), Packets: get(), Bytes: get()}
		o.Port = uint16(get())
		wide |= slice | flows | back
	}
	if local+hostBytes != len(c.local) || at != c.length {
		return errLocals
	}
	if wide>>32 != 0 {
		return errNumber
	}
	return nil
}

// tooLong reports whether a nibble of t is above 8.
func tooLong(t uint64) bool {
	const top = 0x8888888888
	return t&top&(t<<1|t<<2|t<<3) != 0
}
