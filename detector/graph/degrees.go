package graph

import (
	"github.com/flowhound/flowhound/internal/flow"
	"github.com/flowhound/flowhound/internal/huge"
)

// degree is what a restored host has. It is counted beside the hosts' entries:
// the degrees of a shard fit a cache, and the entries do not.
type degree struct {
	pairs, out uint32 // see hostEntry
}

// count adds a pair and out links that start here.
func (d *degree) count(out uint32) {
	d.pairs++
	d.out += out
}

// dealtHosts are the greater hosts of a shard's pairs by their own shard: their
// places, times two, plus one for a link that starts there. So no two processors
// count at a host.
type dealtHosts struct {
	list []uint32
	ends [flow.Shards]uint32
}

// count counts the dealt hosts of a shard.
func (d *dealtHosts) count(shard int, degrees []degree) {
	begin := uint32(0)
	if shard > 0 {
		begin = d.ends[shard-1]
	}
	for _, h := range d.list[begin:d.ends[shard]] {
		degrees[h>>1].count(h & 1)
	}
}

func (ps *pairs) dealGreater() (d dealtHosts) {
	for i := range ps.entries {
		d.ends[ps.entries[i].hi.shard()]++
	}
	at := uint32(0)
	for s, size := range d.ends {
		d.ends[s] = at
		at += size
	}
	d.list = huge.Make[uint32](len(ps.entries))
	for i := range ps.entries {
		p := &ps.entries[i]
		end := &d.ends[p.hi.shard()]
		d.list[*end] = p.hi.local()<<1 | uint32(p.bits>>backward&1)
		*end++
	}
	return d
}
