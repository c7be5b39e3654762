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

// column is where the field of an op lies in each record of a chunk.
type column struct {
	b      []byte // from the first record's field on
	stride int
	shift  uint8
}

// fill runs the ops of t over records that lie stride bytes apart in b; the
// segments of the first begin at bases. Ops are the outer loop: what an op
// stores, and where, is chosen once per chunk and not once per field. Each
// store has a function of its own, small enough to keep all in registers, and
// not inlined, which would spill them: that costs a third of the speed.
func (c *columns) fill(recs []flow.Record, t *template.Template, b []byte, bases []int, stride int) {
	for _, op := range t.Ops {
		f := column{b[bases[op.Segment]+int(op.Offset):], stride, op.Shift}
		switch op.Slot {
		case template.Src4:
			f.src4(recs)
		case template.Dst4:
			f.dst4(recs)
		case template.Src6:
			f.src6(recs)
		case template.Dst6:
			f.dst6(recs)
		case template.SrcPort:
			f.srcPort(recs)
		case template.DstPort:
			f.dstPort(recs)
		case template.Proto:
			f.proto(recs)
		case template.TCPFlags:
			f.tcpFlags(recs)
		case template.Bytes:
			f.bytes(recs)
		case template.Packets:
			f.packets(recs)
		case template.InIf:
			f.inIf(recs)
		case template.OutIf:
			f.outIf(recs)
		case template.Direction:
			f.direction(recs)
		case template.Start:
			f.start(recs)
		case template.End:
			f.end(recs)
		default:
			f.values(c.of(op.Slot)[:len(recs)])
		}
	}
}

//go:noinline
func (f column) src4(recs []flow.Record) {
	for i := range recs {
		mapped4(&recs[i].Src, uint32(load(f.b, i*f.stride)>>32))
	}
}

//go:noinline
func (f column) dst4(recs []flow.Record) {
	for i := range recs {
		mapped4(&recs[i].Dst, uint32(load(f.b, i*f.stride)>>32))
	}
}

//go:noinline
func (f column) src6(recs []flow.Record) {
	for i := range recs {
		address6(&recs[i].Src, f.b, i*f.stride)
	}
}

//go:noinline
func (f column) dst6(recs []flow.Record) {
	for i := range recs {
		address6(&recs[i].Dst, f.b, i*f.stride)
	}
}

//go:noinline
func (f column) srcPort(recs []flow.Record) {
	for i := range recs {
		recs[i].SrcPort = uint16(load(f.b, i*f.stride) >> (f.shift & 63))
	}
}

//go:noinline
func (f column) dstPort(recs []flow.Record) {
	for i := range recs {
		recs[i].DstPort = uint16(load(f.b, i*f.stride) >> (f.shift & 63))
	}
}

//go:noinline
func (f column) proto(recs []flow.Record) {
	for i := range recs {
		recs[i].Proto = uint8(load(f.b, i*f.stride) >> (f.shift & 63))
	}
}

//go:noinline
func (f column) tcpFlags(recs []flow.Record) {
	for i := range recs {
		recs[i].TCPFlags = uint8(load(f.b, i*f.stride) >> (f.shift & 63))
	}
}

//go:noinline
func (f column) inIf(recs []flow.Record) {
	for i := range recs {
		recs[i].InIf = uint32(load(f.b, i*f.stride) >> (f.shift & 63))
	}
}

//go:noinline
func (f column) outIf(recs []flow.Record) {
	for i := range recs {
		recs[i].OutIf = uint32(load(f.b, i*f.stride) >> (f.shift & 63))
	}
}

//go:noinline
func (f column) direction(recs []flow.Record) {
	for i := range recs {
		recs[i].Direction = uint8(load(f.b, i*f.stride) >> (f.shift & 63))
	}
}

//go:noinline
func (f column) start(recs []flow.Record) {
	for i := range recs {
		recs[i].StartMS = int64(load(f.b, i*f.stride) >> (f.shift & 63))
	}
}

//go:noinline
func (f column) end(recs []flow.Record) {
	for i := range recs {
		recs[i].EndMS = int64(load(f.b, i*f.stride) >> (f.shift & 63))
	}
}

//go:noinline
func (f column) bytes(recs []flow.Record) {
	for i := range recs {
		recs[i].Bytes = load(f.b, i*f.stride) >> (f.shift & 63)
	}
}

//go:noinline
func (f column) packets(recs []flow.Record) {
	for i := range recs {
		recs[i].Packets = load(f.b, i*f.stride) >> (f.shift & 63)
	}
}

//go:noinline
func (f column) values(out []uint64) {
	for i := range out {
		out[i] = load(f.b, i*f.stride) >> (f.shift & 63)
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
