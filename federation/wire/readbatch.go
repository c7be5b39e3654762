package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/flowhound/flowhound/internal/flow"
)

// ReadBatch decodes a batch that AppendBatch made and appends its contacts to
// cs. On an error cs comes back at its old length. The header's name is the
// only thing that it allocates when cs has room.
func ReadBatch(b []byte, cs []flow.Contact) (Header, []flow.Contact, error) {
	h, rest, err := readHeader(b)
	if err != nil {
		return Header{}, cs, fmt.Errorf("batch: %w", err)
	}
	rows, err := split(rest)
	if err != nil {
		return Header{}, cs, fmt.Errorf("batch: %w", err)
	}
	old := len(cs)
	cs = slices.Grow(cs, rows.n)[:old+rows.n]
	if err := rows.read(cs[old:], h.Shard); err != nil {
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

// rows are the parts of a batch after its header, all within one payload.
type rows struct {
	n      int
	origin Origin
	b      []byte // rowBytes per contact
	rest   []byte
}

// split cuts what follows the header. A batch has a row for each contact, so no
// count can promise more than is there.
func split(b []byte) (r rows, err error) {
	const fixed = 4 + 8 + 4
	if len(b) < fixed {
		return r, errShort
	}
	n := binary.LittleEndian.Uint32(b)
	r.origin = Origin{int64(binary.LittleEndian.Uint64(b[4:])), flow.Slice(binary.LittleEndian.Uint32(b[12:]))}
	b = b[fixed:]
	if n > MaxContacts || uint64(n)*uint64(rowBytes) > uint64(len(b)) {
		return r, fmt.Errorf("%d contacts in %d bytes, want at most %d", n, len(b), MaxContacts)
	}
	r.n = int(n)
	r.b, r.rest = b[:r.n*rowBytes], b[r.n*rowBytes:]
	return r, nil
}

var (
	errHosts  = errors.New("the hosts do not match the contacts")
	errWide   = errors.New("a wide contact has numbers in its row")
	errNumber = errors.New("a number does not fit its field")
)

// low keeps the lowest bits of v.
func low(v uint64, bits int) uint64 { return v & (1<<bits - 1) }

// read fills out, which has r.n contacts.
func (r *rows) read(out []flow.Contact, shard flow.Shard) error {
	rest := r.rest
	var local []byte // nil before the first
	for i := range out {
		o, row := &out[i], r.b[i*rowBytes:][:rowBytes]
		w0, w1, w2 := binary.LittleEndian.Uint64(row), binary.LittleEndian.Uint64(row[8:]), binary.LittleEndian.Uint64(row[16:])
		if w1&sameLocal == 0 {
			if len(rest) < hostBytes {
				return errHosts
			}
			local, rest = rest[:hostBytes], rest[hostBytes:]
		} else if local == nil {
			return errHosts
		}
		o.Local.Pseudonym, o.Remote.Pseudonym = flow.Pseudonym(local), flow.Pseudonym(row[24:])
		o.Local.Shard, o.Remote.Shard = shard, flow.Shard(w0)
		o.Proto, o.Flags, o.Bits, o.Port = uint8(w0>>8), uint8(w0>>16), uint8(w0>>24), uint16(w0>>portShift)
		o.LastMS = r.origin.lastMS + int64(low(w1, timeBits))
		o.FirstMS = o.LastMS - int64(low(w1>>tookShift, timeBits))
		o.Slice = r.origin.slice + flow.Slice(low(w1>>sliceShift, sliceBits))
		o.Out = flow.Counters{Flows: uint32(low(w1>>outFlowShift, flowBits)), Packets: w0 >> outPacketShift, Bytes: low(w2, byteBits)}
		o.In = flow.Counters{Flows: uint32(w1 >> inFlowShift), Packets: w2 >> inPacketShift, Bytes: low(w2>>inByteShift, byteBits)}
		if w1&wide == 0 {
			continue
		}
		if w0>>outPacketShift|w1&^(wide|sameLocal)|w2 != 0 {
			return errWide
		}
		if len(rest) < wideBytes {
			return errShort
		}
		readWide(o, rest)
		rest = rest[wideBytes:]
	}
	if len(rest) > 0 {
		return errHosts
	}
	return nil
}

// readWide fills in what appendWide wrote.
func readWide(o *flow.Contact, b []byte) {
	wide := func(i int) uint64 { return binary.LittleEndian.Uint64(b[8*i:]) }
	narrow := func(i int) uint32 { return binary.LittleEndian.Uint32(b[6*8+4*i:]) }
	o.FirstMS, o.LastMS, o.Slice = int64(wide(0)), int64(wide(1)), flow.Slice(narrow(0))
	o.Out = flow.Counters{Flows: narrow(1), Packets: wide(2), Bytes: wide(3)}
	o.In = flow.Counters{Flows: narrow(2), Packets: wide(4), Bytes: wide(5)}
}
