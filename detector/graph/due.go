package graph

import (
	"github.com/flowhound/flowhound/internal/flow"
	"github.com/flowhound/flowhound/internal/huge"
)

// dealtDue are the places of a shard's pairs by due slice, in ascending order.
type dealtDue struct {
	list []uint32
	runs []dueRun // parts of list
}

// dueRun are the pairs of a shard that wait for a slice, which counts from the
// oldest. In the list of all shards' they begin at place to.
type dueRun struct {
	slice, size, to uint32
}

func (ps *pairs) dealDue(oldest flow.Slice) (d dealtDue) {
	var ends [maxSpan]uint32
	after := func(p *pair) uint16 { return p.due - uint16(oldest) }
	for i := range ps.entries {
		ends[after(&ps.entries[i])]++
	}
	at := uint32(0)
	for slice, size := range ends {
		if size > 0 {
			ends[slice] = at
			at += size
			d.runs = append(d.runs, dueRun{slice: uint32(slice), size: size})
		}
	}
	d.list = huge.Make[uint32](len(ps.entries))
	for i := range ps.entries {
		end := &ends[after(&ps.entries[i])]
		d.list[*end] = uint32(i)
		*end++
	}
	return d
}

// gatherDue makes the lists of the pairs that wait for each slice, in the order
// of their places.
func (g *Graph) gatherDue(dealt *[flow.Shards]dealtDue) {
	var sizes [maxSpan]uint32
	for s := range dealt {
		for i := range dealt[s].runs {
			run := &dealt[s].runs[i]
			run.to = sizes[run.slice]
			sizes[run.slice] += run.size
		}
	}
	for slice, size := range sizes {
		if size > 0 {
			g.due[g.oldest+flow.Slice(slice)] = huge.Make[ref](int(size))
		}
	}
	inParallel(flow.Shards, func(s int) {
		places := dealt[s].list
		for _, run := range dealt[s].runs {
			to := g.due[g.oldest+flow.Slice(run.slice)][run.to:]
			for i, local := range places[:run.size] {
				to[i] = makeRef(flow.Shard(s), local)
			}
			places = places[run.size:]
		}
	})
}
