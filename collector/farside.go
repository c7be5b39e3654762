package collector

import (
	"encoding/binary"

	"github.com/VictoriaMetrics/fastcache"

	"github.com/flowhound/flowhound/internal/flow"
)

// minFarFilter is the least that fastcache takes, in bytes.
const minFarFilter = 32 << 20

// farFilter remembers which far halves of contacts were told in their slice
// (DESIGN decision 7). Of a contact's two halves the far one is that of the
// greater host. To the graph it says which directions were seen in which
// slice, whether they were answered, and on which service: telling the same
// again changes nothing there. Flows and bytes count from the near half, which
// is always told.
//
// It is bounded: entries that it loses are told again. It belongs to the
// publisher.
type farFilter struct {
	cache    *fastcache.Cache // nil: everything is told
	withheld []bool           // of the window at hand
	key      [farKeySize]byte
}

const farKeySize = 16

func newFarFilter(bytes int) *farFilter {
	if bytes == 0 {
		return &farFilter{}
	}
	return &farFilter{cache: fastcache.New(bytes)}
}

// choose returns for each contact whether its far half is left out, and how
// many are. The result is valid until the next call.
func (f *farFilter) choose(contacts []flow.Contact) (withheld []bool, n int) {
	if f.cache == nil {
		return nil, 0
	}
	f.withheld = f.withheld[:0]
	for i := range contacts {
		told := f.cache.Has(f.keyOf(&contacts[i]))
		f.withheld = append(f.withheld, told)
		if told {
			n++
		}
	}
	return f.withheld, n
}

// committed notes the far halves that are in the log now. Before the commit
// they do not count there, so they must not count here.
func (f *farFilter) committed(contacts []flow.Contact) {
	if f.cache == nil {
		return
	}
	for i := range contacts {
		if !f.withheld[i] {
			f.cache.Set(f.keyOf(&contacts[i]), nil)
		}
	}
}

// keyOf returns what the far half of a contact would tell, in 128 bits: half
// of each pseudonym would name its host, as they are random to everybody
// without the key, so nobody can make two contacts meet.
func (f *farFilter) keyOf(c *flow.Contact) []byte {
	near, far, bits := &c.Local, &c.Remote, c.Bits
	if isFar(c) {
		near, far = far, near
		bits = bits&^(flow.BitOut|flow.BitIn) | bits&flow.BitOut<<1 | bits&flow.BitIn>>1
	}
	le := binary.LittleEndian
	rest := uint64(c.Slice)<<32 | uint64(c.Port)<<16 | uint64(c.Proto)<<8 | uint64(bits)
	le.PutUint64(f.key[:], le.Uint64(near.Pseudonym[:])^rest*0x9e3779b97f4a7c15)
	le.PutUint64(f.key[8:], le.Uint64(far.Pseudonym[:])^rest)
	return f.key[:]
}

// isFar reports whether Local is the far end of c.
func isFar(c *flow.Contact) bool { return c.Local.Compare(c.Remote) > 0 }

// close gives the memory back, which the garbage collector does not manage.
func (f *farFilter) close() {
	if f.cache != nil {
		f.cache.Reset()
	}
}
