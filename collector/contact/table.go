// Package contact collects flow records into contacts: per unordered pair of
// addresses and slice, what each side sent to the other. A table is fixed in
// size and asks for an early flush long before it is full; it never drops or
// merges a contact to make room. The layout and the update in passes follow
// the measurements of notes/collector.md §2.4: one cache line per IPv4 contact,
// and the misses of 64 records in flight at once.
package contact

import (
	"encoding/binary"
	"math"
	"math/bits"

	"github.com/flowhound/flowhound/internal/flow"
)

// wide is the number of records whose slots are touched before the first of
// them is updated: as many as a word has bits.
const wide = 64

// maxRecords bounds the records of one window, so that the flow counts of a
// slot (30 bits) never overflow.
const maxRecords = 1<<30 - 1

// Config are the sizes of a [Table].
type Config struct {
	// IPv4 and IPv6 are the numbers of slots, rounded up to powers of two, at
	// least 256. An IPv4 slot takes 65 bytes, an IPv6 slot 89.
	IPv4, IPv6 int
	// Seed keys the hash, so that nobody can choose addresses that collide.
	Seed [2]uint64
}

// Table holds the contacts of one flush window. It is not safe for concurrent
// use.
type Table struct {
	v4      table[uint64]
	v6      table[key6]
	seed    [2]uint64
	baseMS  int64 // times in slots are relative to it
	records uint64

	fresh []int32      // records of the last Add that began a contact
	addrs [2]flow.Addr // of the contact being drained
}

type key6 [4]uint64

// New returns an empty table.
func New(cfg Config) *Table {
	t := &Table{seed: cfg.Seed}
	t.v4.init(cfg.IPv4)
	t.v6.init(cfg.IPv6)
	return t
}

// Add adds each record to the contact of its address pair in the slice of the
// same index, and returns how many records it took: all of them, unless the
// table has no room left, in which case it took a prefix. Records count as one
// flow; packets and bytes saturate. A record of direction flow.Egress has no
// weight: it tells who sent, when and how, and adds to no counter. Times more than 24 days from those of the
// window's first record are cut to that distance.
func (t *Table) Add(records []flow.Record, slices []flow.Slice) int {
	if t.records == 0 && len(records) > 0 {
		t.baseMS = records[0].EndMS
	}
	t.fresh = t.fresh[:0]
	done := 0
	for done < len(records) {
		n := min(wide, len(records)-done)
		if !t.v4.room(n) || !t.v6.room(n) || t.records+uint64(n) > maxRecords {
			break
		}
		fresh := t.add(records[done:done+n], slices[done:done+n])
		for ; fresh != 0; fresh &= fresh - 1 {
			t.fresh = append(t.fresh, int32(done+bits.TrailingZeros64(fresh)))
		}
		t.records += uint64(n)
		done += n
	}
	return done
}

// add adds up to wide records and returns the set of those that began a
// contact.
func (t *Table) add(records []flow.Record, slices []flow.Slice) (fresh uint64) {
	t.prepare(records, slices)
	return t.v4.add(records, slices, t.baseMS) | t.v6.add(records, slices, t.baseMS)
}

// prepare hands up to wide records to the tables of their kinds.
func (t *Table) prepare(records []flow.Record, slices []flow.Slice) {
	for i := range records {
		if r := &records[i]; r.Src.Is4() && r.Dst.Is4() {
			p := &t.v4.pend[t.v4.n&(wide-1)]
			t.v4.n++
			p.key, p.from = pairKey4(&r.Src, &r.Dst)
			p.hash, p.record = t.hash4(p.key, slices[i]), uint8(i)
		} else {
			p := &t.v6.pend[t.v6.n&(wide-1)]
			t.v6.n++
			p.key, p.from = pairKey6(&r.Src, &r.Dst)
			p.hash, p.record = t.hash6(&p.key, slices[i]), uint8(i)
		}
	}
}

// Fresh returns the indices of the last Add's records that began a contact, in
// their order. It is valid until the next Add.
func (t *Table) Fresh() []int32 { return t.fresh }

// AddKnown adds records[0] as Add does if its contact is in the table, and
// reports whether it is. Both slices have one element.
func (t *Table) AddKnown(records []flow.Record, slices []flow.Slice) bool {
	t.prepare(records[:1], slices[:1])
	known := t.v4.n > 0 && t.v4.has(&t.v4.pend[0], slices[0]) || t.v6.n > 0 && t.v6.has(&t.v6.pend[0], slices[0])
	t.v4.n, t.v6.n = 0, 0
	if !known || t.records == maxRecords {
		return false
	}
	t.add(records[:1], slices[:1])
	t.records++
	return true
}

// Full reports whether a flush is due: a quarter of the slots of one kind is
// left. Add goes on until an eighth is left.
func (t *Table) Full() bool {
	return t.v4.full() || t.v6.full() || t.records > maxRecords/2
}

// Len returns the number of contacts.
func (t *Table) Len() int { return t.v4.used + t.v6.used }

// Records returns the number of records added since the last Drain.
func (t *Table) Records() uint64 { return t.records }

// Fill returns the larger share of used slots of the two kinds, 0 to 1.
func (t *Table) Fill() float64 { return max(t.v4.fill(), t.v6.fill()) }

// Hosts gives hosts their pseudonyms.
type Hosts interface {
	// Name sets h to the host of a.
	Name(h *flow.Host, a *flow.Addr)
}

// Drain appends every contact to dst, one half each, with the lower address as
// Local, and empties the table. The order depends on the seed only. Slots are
// emptied as they are read, and none is visited behind the last contact: the
// table is many times as large as the processor's cache.
func (t *Table) Drain(dst []flow.Contact, hosts Hosts) []flow.Contact {
	var c *flow.Contact
	for i := 0; t.v4.used > 0; i++ {
		if t.v4.tags[i] != 0 {
			s := &t.v4.slots[i]
			dst, c = extend(dst)
			setAddr4(&t.addrs[0], s.key>>32)
			setAddr4(&t.addrs[1], s.key)
			hosts.Name(&c.Local, &t.addrs[0])
			hosts.Name(&c.Remote, &t.addrs[1])
			s.tell(c, t.baseMS)
			*s, t.v4.tags[i] = slot[uint64]{}, 0
			t.v4.used--
		}
	}
	for i := 0; t.v6.used > 0; i++ {
		if t.v6.tags[i] != 0 {
			s := &t.v6.slots[i]
			dst, c = extend(dst)
			setAddr6(&t.addrs[0], s.key[0], s.key[1])
			setAddr6(&t.addrs[1], s.key[2], s.key[3])
			hosts.Name(&c.Local, &t.addrs[0])
			hosts.Name(&c.Remote, &t.addrs[1])
			s.tell(c, t.baseMS)
			*s, t.v6.tags[i] = slot[key6]{}, 0
			t.v6.used--
		}
	}
	t.addrs = [2]flow.Addr{}
	t.records = 0
	return dst
}

// hash4 and hash6 fold 64×64-bit products (wyhash's mixing step) with secret
// operands; the top bits choose the slot.
func (t *Table) hash4(key uint64, s flow.Slice) uint64 {
	return mix(mix(key^t.seed[0], 0x9e3779b97f4a7c15)^uint64(s), t.seed[1]|1)
}

func (t *Table) hash6(k *key6, s flow.Slice) uint64 {
	a := mix(k[0]^t.seed[0], k[1]^t.seed[1])
	b := mix(k[2]^t.seed[1], k[3]^t.seed[0])
	return mix(mix(a^bits.RotateLeft64(b, 32), 0x9e3779b97f4a7c15)^uint64(s), t.seed[1]|1)
}

func mix(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}

// pairKey4 returns both addresses, the lower one first, and which of them
// sent, without a branch that half of all records would take.
func pairKey4(src, dst *flow.Addr) (k uint64, from uint8) {
	a, b := binary.BigEndian.Uint32(src[12:]), binary.BigEndian.Uint32(dst[12:])
	if a > b {
		from = 1
	}
	return uint64(min(a, b))<<32 | uint64(max(a, b)), from
}

// pairKey6 does the same for IPv6.
func pairKey6(src, dst *flow.Addr) (k key6, from uint8) {
	s0, s1 := binary.BigEndian.Uint64(src[:]), binary.BigEndian.Uint64(src[8:])
	d0, d1 := binary.BigEndian.Uint64(dst[:]), binary.BigEndian.Uint64(dst[8:])
	if s0 > d0 || s0 == d0 && s1 > d1 {
		return key6{d0, d1, s0, s1}, 1
	}
	return key6{s0, s1, d0, d1}, 0
}

// extend returns dst with one more contact, to be filled.
func extend(dst []flow.Contact) ([]flow.Contact, *flow.Contact) {
	if len(dst) == cap(dst) {
		dst = append(dst, flow.Contact{})
	} else {
		dst = dst[:len(dst)+1]
	}
	return dst, &dst[len(dst)-1]
}

func setAddr4(a *flow.Addr, key uint64) {
	*a = flow.Addr{10: 0xff, 11: 0xff}
	binary.BigEndian.PutUint32(a[12:], uint32(key))
}

func setAddr6(a *flow.Addr, hi, lo uint64) {
	binary.BigEndian.PutUint64(a[:], hi)
	binary.BigEndian.PutUint64(a[8:], lo)
}

// offset returns ms relative to base, cut to 32 bits.
func offset(ms, base int64) int32 {
	return int32(min(max(ms-base, math.MinInt32), math.MaxInt32))
}
