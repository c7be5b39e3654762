package decode

import (
	"encoding/binary"

	"github.com/flowhound/flowhound/collector/template"
	"github.com/flowhound/flowhound/internal/flow"
)

// chunk is how many records are decoded at a time: their columns and the
// records themselves (88 bytes each) stay in the first-level cache.
const chunk = 64

// columns hold the values of a chunk that are no part of a flow record.
type columns [template.Slots - template.ReverseBytes][chunk]uint64

func (c *columns) of(s template.Slot) *[chunk]uint64 { return &c[s-template.ReverseBytes] }

// slack is how many bytes behind a field its load may touch.
const slack = 8

// load reads the 8 bytes of b at off in network order. A shorter field is
// shifted out of them, so b reaches slack bytes behind the last record.
func load(b []byte, off int) uint64 { return binary.BigEndian.Uint64(b[off:]) }

// mapped4 stores an IPv4 address in its mapped form. The constant and the
// address are stored apart: put together, the compiler stores bytes.
func mapped4(a *flow.Addr, v uint32) {
	binary.LittleEndian.PutUint64(a[:8], 0)
	binary.BigEndian.PutUint32(a[8:12], 0xffff)
	binary.BigEndian.PutUint32(a[12:], v)
}

// column are the bytes of a set from an op's field in the first record of a
// chunk on. The others lie stride bytes apart each.
type column []byte

// fill runs the ops of t over records that lie stride bytes apart in b; the
// segments of the first begin at bases. Ops are the outer loop: what an op
// stores, and where, is chosen once per chunk and not once per field. Each
// store has a function of its own, small enough to keep all in registers, and
// not inlined, which would spill them: that costs a third of the speed.
func (c *columns) fill(recs []flow.Record, t *template.Template, b []byte, bases []int, stride int) {
	for _, op := range t.Ops {
		f := column(b[bases[op.Segment]+int(op.Offset):])
		switch op.Slot {
		case template.Src4:
			f.src4(recs, stride)
		case template.Dst4:
			f.dst4(recs, stride)
		case template.Src6:
			f.src6(recs, stride)
		case template.Dst6:
			f.dst6(recs, stride)
		case template.SrcPort:
			f.srcPort(recs, stride, op.Shift)
		case template.DstPort:
			f.dstPort(recs, stride, op.Shift)
		case template.Proto:
			f.proto(recs, stride, op.Shift)
		case template.TCPFlags:
			f.tcpFlags(recs, stride, op.Shift)
		case template.Bytes:
			f.bytes(recs, stride, op.Shift)
		case template.Packets:
			f.packets(recs, stride, op.Shift)
		case template.InIf:
			f.inIf(recs, stride, op.Shift)
		case template.OutIf:
			f.outIf(recs, stride, op.Shift)
		case template.Direction:
			f.direction(recs, stride, op.Shift)
		case template.Start:
			f.start(recs, stride, op.Shift)
		case template.End:
			f.end(recs, stride, op.Shift)
		default:
			f.values(c.of(op.Slot)[:len(recs)], stride, op.Shift)
		}
	}
}

//go:noinline
func (f column) src4(recs []flow.Record, stride int) {
	off := 0
	for i := range recs {
		mapped4(&recs[i].Src, uint32(load(f, off)>>32))
		off += stride
	}
}

//go:noinline
func (f column) dst4(recs []flow.Record, stride int) {
	off := 0
	for i := range recs {
		mapped4(&recs[i].Dst, uint32(load(f, off)>>32))
		off += stride
	}
}

//go:noinline
func (f column) src6(recs []flow.Record, stride int) {
	off := 0
	for i := range recs {
		address6(&recs[i].Src, f, off)
		off += stride
	}
}

//go:noinline
func (f column) dst6(recs []flow.Record, stride int) {
	off := 0
	for i := range recs {
		address6(&recs[i].Dst, f, off)
		off += stride
	}
}

//go:noinline
func (f column) srcPort(recs []flow.Record, stride int, shift uint8) {
	off := 0
	for i := range recs {
		recs[i].SrcPort = uint16(load(f, off) >> (shift & 63))
		off += stride
	}
}

//go:noinline
func (f column) dstPort(recs []flow.Record, stride int, shift uint8) {
	off := 0
	for i := range recs {
		recs[i].DstPort = uint16(load(f, off) >> (shift & 63))
		off += stride
	}
}

//go:noinline
func (f column) proto(recs []flow.Record, stride int, shift uint8) {
	off := 0
	for i := range recs {
		recs[i].Proto = uint8(load(f, off) >> (shift & 63))
		off += stride
	}
}

//go:noinline
func (f column) tcpFlags(recs []flow.Record, stride int, shift uint8) {
	off := 0
	for i := range recs {
		recs[i].TCPFlags = uint8(load(f, off) >> (shift & 63))
		off += stride
	}
}

//go:noinline
func (f column) inIf(recs []flow.Record, stride int, shift uint8) {
	off := 0
	for i := range recs {
		recs[i].InIf = uint32(load(f, off) >> (shift & 63))
		off += stride
	}
}

//go:noinline
func (f column) outIf(recs []flow.Record, stride int, shift uint8) {
	off := 0
	for i := range recs {
		recs[i].OutIf = uint32(load(f, off) >> (shift & 63))
		off += stride
	}
}

//go:noinline
func (f column) direction(recs []flow.Record, stride int, shift uint8) {
	off := 0
	for i := range recs {
		recs[i].Direction = uint8(load(f, off) >> (shift & 63))
		off += stride
	}
}

//go:noinline
func (f column) start(recs []flow.Record, stride int, shift uint8) {
	off := 0
	for i := range recs {
		recs[i].StartMS = int64(load(f, off) >> (shift & 63))
		off += stride
	}
}

//go:noinline
func (f column) end(recs []flow.Record, stride int, shift uint8) {
	off := 0
	for i := range recs {
		recs[i].EndMS = int64(load(f, off) >> (shift & 63))
		off += stride
	}
}

//go:noinline
func (f column) bytes(recs []flow.Record, stride int, shift uint8) {
	off := 0
	for i := range recs {
		recs[i].Bytes = load(f, off) >> (shift & 63)
		off += stride
	}
}

//go:noinline
func (f column) packets(recs []flow.Record, stride int, shift uint8) {
	off := 0
	for i := range recs {
		recs[i].Packets = load(f, off) >> (shift & 63)
		off += stride
	}
}

//go:noinline
func (f column) values(out []uint64, stride int, shift uint8) {
	off := 0
	for i := range out {
		out[i] = load(f, off) >> (shift & 63)
		off += stride
	}
}

// address6 stores an IPv6 address unless it is all zeros: templates that name
// both families leave the other family's fields empty.
func address6(a *flow.Addr, b []byte, off int) {
	high, low := load(b, off), load(b, off+8)
	if high|low != 0 {
		binary.BigEndian.PutUint64(a[:8], high)
		binary.BigEndian.PutUint64(a[8:], low)
	}
}
