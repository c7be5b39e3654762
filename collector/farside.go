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
// It is bounded: entries that it loses are told again. Where contacts rarely
// recur within their slice it is cost without use, so it then asks for a sample
// of the pairs only, until the sample recurs. It belongs to the publisher.
type farFilter struct {
	cache *fastcache.Cache // nil: everything is told

	// Of the window at hand.
	withheld []bool     // by contact
	asked    []farEntry // in the order of the contacts
	sorted   []farEntry // the same by bucket

	// What the sample of this and earlier windows told: how many of its far
	// halves were looked up and how many of them had been told before.
	looked, found float64
}

// farKey is what the far half of a contact would tell.
type farKey [16]byte

// farEntry is a contact that the filter is asked for.
type farEntry struct {
	key     farKey
	contact uint32
	bucket  uint16
}

const (
	// farBuckets is the number of fastcache's buckets, of which xxhash chooses
	// one. Only speed depends on it: visited bucket by bucket, the map and the
	// memory of each are in the processor's cache.
	farBuckets = 512
	// farSample of all pairs are always asked for, one in so many.
	farSample = 16
	// farPays is the share of far halves told before, one in so many, above
	// which all are asked for. The collector alone never gains by it
	// (BenchmarkFarHalves); the log and its readers do.
	farPays = 2
	// farMemory is the number of windows over which the sample is averaged:
	// those of a slice, in whose first window nothing recurs.
	farMemory = 32
	// farSmall is the number of contacts up to which a window is asked for as a
	// whole: it costs nothing that counts.
	farSmall = 4096
)

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
	f.ask(contacts)
	f.withheld = slices.Grow(f.withheld[:0], len(contacts))[:len(contacts)]
	clear(f.withheld)
	f.looked -= f.looked / farMemory
	f.found -= f.found / farMemory
	for i := range f.sorted {
		e := &f.sorted[i]
		told := f.cache.Has(e.key[:])
		if told {
			f.withheld[e.contact] = true
			n++
		}
		if sampled(&contacts[e.contact]) {
			f.looked++
			if told {
				f.found++
			}
		}
	}
	return f.withheld, n
}

// ask fills sorted with the contacts that the filter is asked for.
func (f *farFilter) ask(contacts []flow.Contact) {
	all := f.found*farPays > f.looked || len(contacts) <= farSmall
	var next [farBuckets + 1]int
	f.asked = f.asked[:0]
	for i := range contacts {
		if c := &contacts[i]; all || sampled(c) {
			e := farEntry{key: farKeyOf(c), contact: uint32(i)}
			e.bucket = uint16(xxhash.Sum64(e.key[:]) % farBuckets)
			next[e.bucket+1]++
			f.asked = append(f.asked, e)
		}
	}
	for b := range farBuckets {
		next[b+1] += next[b]
	}
	f.sorted = slices.Grow(f.sorted[:0], len(f.asked))[:len(f.asked)]
	for i := range f.asked {
		e := &f.asked[i]
		f.sorted[next[e.bucket]] = *e
		next[e.bucket]++
	}
}

// sampled reports whether the pair of c is in the sample. Pseudonyms are
// random to everybody without the key, so nobody can stay out of it.
func sampled(c *flow.Contact) bool {
	return (c.Local.Pseudonym[0]^c.Remote.Pseudonym[0])%farSample == 0
}

// committed notes the far halves of the window that choose saw last: they are
// in the log now. Before the commit they do not count there, so they must not
// count here.
func (f *farFilter) committed() {
	for i := range f.sorted {
		if e := &f.sorted[i]; !f.withheld[e.contact] {
			f.cache.Set(e.key[:], nil)
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
		bits = flow.FlipBits(bits)
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
