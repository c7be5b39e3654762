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

// mapped4 stores an IPv4 address in its mapped form.
func mapped4(a *flow.Addr, v uint64) {
	binary.LittleEndian.PutUint64(a[:8], 0)
	binary.BigEndian.PutUint64(a[8:], 0xffff<<32|v)
}

// fill runs the ops of t over records that lie stride bytes apart in b; the
// segments of the first begin at bases. Ops are the outer loop: the choice of
// what an op stores, and how, is made once per chunk and not once per field.
func (c *columns) fill(recs []flow.Record, t *template.Template, b []byte, bases []int, stride int) {
	for _, op := range t.Ops {
		off := bases[op.Segment] + int(op.Offset)
		shift := op.Shift & 63
		switch op.Slot {
		case template.Src4:
			for i := range recs {
				mapped4(&recs[i].Src, load(b, off)>>32)
				off += stride
			}
		case template.Dst4:
			for i := range recs {
				mapped4(&recs[i].Dst, load(b, off)>>32)
				off += stride
			}
		case template.Src6:
			for i := range recs {
				address6(&recs[i].Src, b, off)
				off += stride
			}
		case template.Dst6:
			for i := range recs {
				address6(&recs[i].Dst, b, off)
				off += stride
			}
		case template.SrcPort:
			for i := range recs {
				recs[i].SrcPort = uint16(load(b, off) >> shift)
				off += stride
			}
		case template.DstPort:
			for i := range recs {
				recs[i].DstPort = uint16(load(b, off) >> shift)
				off += stride
			}
		case template.Proto:
			for i := range recs {
				recs[i].Proto = uint8(load(b, off) >> shift)
				off += stride
			}
		case template.TCPFlags:
			for i := range recs {
				recs[i].TCPFlags = uint8(load(b, off) >> shift)
				off += stride
			}
		case template.Bytes:
			for i := range recs {
				recs[i].Bytes = load(b, off) >> shift
				off += stride
			}
		case template.Packets:
			for i := range recs {
				recs[i].Packets = load(b, off) >> shift
				off += stride
			}
		case template.InIf:
			for i := range recs {
				recs[i].InIf = uint32(load(b, off) >> shift)
				off += stride
			}
		case template.OutIf:
			for i := range recs {
				recs[i].OutIf = uint32(load(b, off) >> shift)
				off += stride
			}
		case template.Direction:
			for i := range recs {
				recs[i].Direction = uint8(load(b, off) >> shift)
				off += stride
			}
		case template.Start:
			for i := range recs {
				recs[i].StartMS = int64(load(b, off) >> shift)
				off += stride
			}
		case template.End:
			for i := range recs {
				recs[i].EndMS = int64(load(b, off) >> shift)
				off += stride
			}
		default:
			col := c.of(op.Slot)[:len(recs)]
			for i := range col {
				col[i] = load(b, off) >> shift
				off += stride
			}
		}
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
