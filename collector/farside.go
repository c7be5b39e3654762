package collector

import (
	"encoding/binary"
	"slices"

	"github.com/VictoriaMetrics/fastcache"
	"github.com/cespare/xxhash/v2"

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
	cache *fastcache.Cache // nil: everything is told

	// Of the window at hand, by contact.
	withheld []bool
	keys     []farKey
	order    []uint32 // contacts by bucket
}

// farKey is what the far half of a contact would tell.
type farKey [16]byte

// farBuckets is the number of fastcache's buckets, of which xxhash chooses
// one. Only speed depends on it: visited bucket by bucket, the map and the
// memory of each are in the processor's cache.
const farBuckets = 512

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
	f.sort(contacts)
	f.withheld = slices.Grow(f.withheld[:0], len(contacts))[:len(contacts)]
	for _, i := range f.order {
		f.withheld[i] = f.cache.Has(f.keys[i][:])
		if f.withheld[i] {
			n++
		}
	}
	return f.withheld, n
}

// sort computes the contacts' keys and their order by bucket.
func (f *farFilter) sort(contacts []flow.Contact) {
	var next [farBuckets + 1]int
	f.keys = slices.Grow(f.keys[:0], len(contacts))[:len(contacts)]
	for i := range contacts {
		f.keys[i] = farKeyOf(&contacts[i])
		next[xxhash.Sum64(f.keys[i][:])%farBuckets+1]++
	}
	for b := range farBuckets {
		next[b+1] += next[b]
	}
	f.order = slices.Grow(f.order[:0], len(contacts))[:len(contacts)]
	for i := range f.keys {
		b := xxhash.Sum64(f.keys[i][:]) % farBuckets
		f.order[next[b]] = uint32(i)
		next[b]++
	}
}

// committed notes the far halves of the window that choose saw last: they are
// in the log now. Before the commit they do not count there, so they must not
// count here.
func (f *farFilter) committed() {
	if f.cache == nil {
		return
	}
	for _, i := range f.order {
		if !f.withheld[i] {
			f.cache.Set(f.keys[i][:], nil)
		}
	}
}

// farKeyOf returns what the far half of a contact would tell, in 128 bits:
// half of each pseudonym would name its host, as they are random to everybody
// without the key, so nobody can make two contacts meet.
func farKeyOf(c *flow.Contact) (key farKey) {
	near, far, bits := &c.Local, &c.Remote, c.Bits
	if isFar(c) {
		near, far = far, near
		bits = bits&^(flow.BitOut|flow.BitIn) | bits&flow.BitOut<<1 | bits&flow.BitIn>>1
	}
	le := binary.LittleEndian
	rest := uint64(c.Slice)<<32 | uint64(c.Port)<<16 | uint64(c.Proto)<<8 | uint64(bits)
	le.PutUint64(key[:], le.Uint64(near.Pseudonym[:])^rest*0x9e3779b97f4a7c15)
	le.PutUint64(key[8:], le.Uint64(far.Pseudonym[:])^rest)
	return key
}

// isFar reports whether Local is the far end of c.
func isFar(c *flow.Contact) bool { return c.Local.Compare(c.Remote) > 0 }

// close gives the memory back, which the garbage collector does not manage.
func (f *farFilter) close() {
	if f.cache != nil {
		f.cache.Reset()
	}
}
