package testbench

import (
	"encoding/binary"

	"github.com/flowhound/flowhound/internal/flow"
)

// Shape of the measured network: nine of ten contacts are answered, the called
// side is chosen with a probability that falls with its number to the power of
// 2/3, as popularity does, and everything happens in a window of a day.
const (
	genWindow   = 288
	genFirst    = flow.Slice(5_900_000) // slices of five minutes in 2026
	genRound    = 1 << 18               // pairs drawn at once, a flush of a large ISP
	genUnanswer = 10                    // one contact in so many has no answer
	genLinks    = 1.9                   // links of a pair on average
)

// generator draws the pairs of an ISP's hosts, the same ones from the same
// seed. Hosts are numbered here; the graph sees pseudonyms that look random.
type generator struct {
	hosts  uint64 // hosts that are called; the first so many pairs have a caller each
	seed   uint64
	shards [flow.Shards][]flow.Contact
}

// batches returns both halves of the pairs first ≤ i < first+count, each with
// the slice that at gives, by shard as the log delivers them. They are valid
// until the next call.
func (g *generator) batches(first, count uint64, at func(i uint64) flow.Slice) [][]flow.Contact {
	for s := range g.shards {
		g.shards[s] = g.shards[s][:0]
	}
	for i := first; i < first+count; i++ {
		c, ok := g.contact(i)
		if !ok {
			continue
		}
		c.Slice = at(i)
		g.shards[c.Local.Shard] = append(g.shards[c.Local.Shard], c)
		g.shards[c.Remote.Shard] = append(g.shards[c.Remote.Shard], c.Flip())
	}
	return g.shards[:]
}

// contact returns pair i; ok is false if a host would have called itself.
func (g *generator) contact(i uint64) (c flow.Contact, ok bool) {
	r := scramble(i ^ g.seed<<40)
	caller := i
	if i >= g.hosts {
		caller = r % g.hosts
		// New hosts go on appearing once each had its turn.
		if i%16 == 0 {
			caller = i
		}
	}
	u := float64(scramble(r)>>11) / (1 << 53)
	called := min(uint64(u*u*u*float64(g.hosts)), g.hosts-1)
	if caller == called {
		return c, false
	}
	c = flow.Contact{
		Local: g.host(caller), Remote: g.host(called), Bits: flow.BitOut,
		Out: flow.Counters{Flows: 1, Packets: 3, Bytes: 40 + r%5000}, Port: 443, Proto: 6,
	}
	if r>>32%genUnanswer != 0 {
		c.Bits |= flow.BitIn | flow.BitAnswered
		c.In = flow.Counters{Flows: 1, Packets: 3, Bytes: 900}
	}
	return c, true
}

func (g *generator) host(x uint64) (h flow.Host) {
	a := scramble(x + g.seed<<48 + 1)
	b := scramble(a)
	binary.LittleEndian.PutUint64(h.Pseudonym[:], a)
	binary.LittleEndian.PutUint64(h.Pseudonym[8:], b)
	h.Shard = flow.Shard(scramble(b))
	return h
}

// scramble permutes 64 bits (splitmix64, Steele et al. 2014).
func scramble(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
