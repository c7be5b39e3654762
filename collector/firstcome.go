package collector

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/flowhound/flowhound/internal/flow"
)

// ways is how many neighbouring slots a flow may be in.
const ways = 8

// firstCome remembers which exporter reported a flow first, so that its
// counters count once although several routers see it (notes/collector.md
// §5.5). It is a table of fixed size, 16 bytes a flow, that all workers share
// without locks: each exporter belongs to one of them. Two that report a new
// flow at the same moment may both count.
type firstCome struct {
	slots     []firstSlot
	shift     uint
	timeoutS  uint32
	seed      [2]uint64
	evictions atomic.Uint64
}

// firstSlot is one flow, or free while key is 0.
type firstSlot struct {
	key   atomic.Uint64 // fingerprint of the five-tuple
	owner atomic.Uint64 // fingerprint of the exporter << 32 | Unix seconds of its last report
}

func newFirstCome(flows int, timeout time.Duration, seed0, seed1 uint64) *firstCome {
	log := bits.Len(uint(flows - 1))
	return &firstCome{
		slots: make([]firstSlot, 1<<log), shift: uint(64 - log),
		timeoutS: uint32(timeout / time.Second), seed: [2]uint64{seed0, seed1 | 1},
	}
}

// mark sets the direction of each record: to egress, which has no weight, if
// another exporter reports the flow, to unknown if this one does.
func (f *firstCome) mark(records []flow.Record, from netip.Addr, nowMS int64) {
	a := from.As16()
	owner := uint32(f.mix(binary.LittleEndian.Uint64(a[:]), binary.LittleEndian.Uint64(a[8:])))
	var keys [64]uint64
	for len(records) > 0 {
		n := min(len(keys), len(records))
		for i := range records[:n] {
			keys[i] = f.fingerprint(&records[i])
		}
		// The cache misses of a loop as short as this overlap.
		for _, k := range keys[:n] {
			_ = f.slots[k>>f.shift].key.Load()
		}
		for i := range records[:n] {
			records[i].Direction = flow.DirectionUnknown
			if !f.owns(keys[i], owner, uint32(nowMS/1000)) {
				records[i].Direction = flow.Egress
			}
		}
		records = records[n:]
	}
}

// owns reports whether an exporter is the one whose counters of a flow count,
// and makes it so if there is none.
func (f *firstCome) owns(key uint64, owner, now uint32) bool {
	mine := uint64(owner)<<32 | uint64(now)
	at, mask := key>>f.shift, uint64(len(f.slots)-1)
	var place *firstSlot
	oldest := uint32(0)
	for i := range uint64(ways) {
		s := &f.slots[(at+i)&mask]
		k, o := s.key.Load(), s.owner.Load()
		silent := now - uint32(o)
		if int32(silent) < 0 { // a worker whose clock was read later
			silent = 0
		}
		if k == key {
			if uint32(o>>32) != owner && silent <= f.timeoutS {
				return false
			}
			s.owner.Store(mine)
			return true
		}
		if k == 0 {
			silent = 1<<32 - 1
		}
		if place == nil || silent > oldest {
			place, oldest = s, silent
		}
	}
	if oldest <= f.timeoutS {
		f.evictions.Add(1)
	}
	place.owner.Store(mine)
	place.key.Store(key)
	return true
}

// fingerprint returns 64 bits of a record's five-tuple, keyed so that nobody
// can choose flows that meet, and never 0.
func (f *firstCome) fingerprint(r *flow.Record) uint64 {
	le := binary.LittleEndian
	h := f.mix(le.Uint64(r.Src[:]), le.Uint64(r.Src[8:]))
	h = f.mix(h^le.Uint64(r.Dst[:]), le.Uint64(r.Dst[8:]))
	return f.mix(h, uint64(r.SrcPort)<<32|uint64(r.DstPort)<<16|uint64(r.Proto)) | 1
}

func (f *firstCome) mix(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a^f.seed[0], b^f.seed[1])
	return bits.RotateLeft64(hi, 32) ^ lo ^ a
}

// forgotten returns how many flows were forgotten too early.
func (f *firstCome) forgotten() uint64 {
	if f == nil {
		return 0
	}
	return f.evictions.Load()
}
