package collector

import (
	"encoding/binary"
	"slices"

	"github.com/flowhound/flowhound/federation/wire"
	"github.com/flowhound/flowhound/internal/flow"
)

// maxBatch is the number of contacts per batch: about half a megabyte.
const maxBatch = 8192

// batcher deals the two halves of each contact of a window to the shards of
// their ends. It keeps its memory between windows.
type batcher struct {
	counts          [flow.Shards + 1]int
	halves, scratch []half
	encoder         wire.Encoder
	sink            uint64 // keeps the touching loads alive
}

// half is one end's view of a contact: order holds the first bytes of that
// end's pseudonym, ref the contact's index and, in the lowest bit, which end.
type half struct {
	order uint16
	ref   uint32
}

func halfOf(end *flow.Host, ref int) half {
	return half{order: binary.BigEndian.Uint16(end.Pseudonym[:]), ref: uint32(ref)}
}

// deal calls emit for every batch, shards ascending, without the far halves
// that withheld marks (nil: none). Within a shard the halves are sorted by
// host, which saves space on the wire; two hosts whose pseudonyms begin alike
// may be mixed. It stops at the first error.
func (b *batcher) deal(contacts []flow.Contact, withheld []bool, emit func(flow.Shard, []half) error) error {
	b.sort(contacts, withheld)
	for s := range flow.Shards {
		halves := b.halves[b.counts[s]:b.counts[s+1]]
		for len(halves) > 0 {
			n := min(len(halves), maxBatch)
			if err := emit(flow.Shard(s), halves[:n]); err != nil {
				return err
			}
			halves = halves[n:]
		}
	}
	return nil
}

// sort fills halves by shard, so that those of shard s are
// halves[counts[s]:counts[s+1]].
func (b *batcher) sort(contacts []flow.Contact, withheld []bool) {
	var next [flow.Shards]int
	for i := range contacts {
		local, remote := told(contacts, withheld, i)
		next[contacts[i].Local.Shard] += local
		next[contacts[i].Remote.Shard] += remote
	}
	at := 0
	for s, n := range next {
		b.counts[s], next[s] = at, at
		at += n
	}
	b.counts[flow.Shards] = at
	b.halves = slices.Grow(b.halves[:0], at)[:at]
	for i := range contacts {
		c := &contacts[i]
		local, remote := told(contacts, withheld, i)
		if local > 0 {
			b.halves[next[c.Local.Shard]] = halfOf(&c.Local, i<<1)
			next[c.Local.Shard]++
		}
		if remote > 0 {
			b.halves[next[c.Remote.Shard]] = halfOf(&c.Remote, i<<1|1)
			next[c.Remote.Shard]++
		}
	}
	for s := range flow.Shards {
		b.sortShard(b.halves[b.counts[s]:b.counts[s+1]])
	}
}

// sortShard sorts halves by order: by its lower byte, then by its upper one,
// each time keeping the order of equals.
func (b *batcher) sortShard(halves []half) {
	b.scratch = slices.Grow(b.scratch[:0], len(halves))[:len(halves)]
	from, to := halves, b.scratch
	for shift := 0; shift < 16; shift += 8 {
		var next [257]int
		for _, h := range from {
			next[int(h.order>>shift&0xff)+1]++
		}
		for i := range 256 {
			next[i+1] += next[i]
		}
		for _, h := range from {
			at := &next[h.order>>shift&0xff]
			to[*at] = h
			*at++
		}
		from, to = to, from
	}
}

// told returns 1 for each half of contact i that is told, 0 for one that is
// withheld.
func told(contacts []flow.Contact, withheld []bool, i int) (local, remote int) {
	if withheld == nil || !withheld[i] {
		return 1, 1
	}
	if isFar(&contacts[i]) {
		return 0, 1
	}
	return 1, 0
}

// wide is the number of contacts that are touched before the first of them is
// encoded, so that their cache misses overlap.
const wide = 32

// encode appends the batch of the halves that deal dealt.
func (b *batcher) encode(to []byte, h wire.Header, o wire.Origin, contacts []flow.Contact, halves []half) []byte {
	b.encoder.Begin(to, h, len(halves), o)
	for len(halves) > 0 {
		group := halves[:min(wide, len(halves))]
		halves = halves[len(group):]
		for _, h := range group {
			c := &contacts[h.ref>>1]
			b.sink += uint64(c.Local.Pseudonym[0]) + c.Out.Packets + uint64(c.Bits) // in all of its cache lines
		}
		for _, h := range group {
			b.encoder.Add(&contacts[h.ref>>1], int(h.ref&1))
		}
	}
	return b.encoder.End()
}
