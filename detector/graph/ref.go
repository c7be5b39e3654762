package graph

import "github.com/flowhound/flowhound/internal/flow"

// ref numbers a host or a pair within the store: the shard in the upper 8
// bits, the place in that shard's array in the lower 24. A pair belongs to the
// shard of its lesser host.
type ref uint32

// localBits is the width of a place, and localMax the number of places of a
// shard: one less than fits, because a slot keeps place+1 (0 is an empty slot).
const (
	localBits = 24
	localMax  = 1<<localBits - 1
)

func makeRef(s flow.Shard, local uint32) ref { return ref(s)<<localBits | ref(local) }

func (r ref) shard() flow.Shard { return flow.Shard(r >> localBits) }
func (r ref) local() uint32     { return uint32(r) & (1<<localBits - 1) }
