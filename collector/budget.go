package collector

import (
	"math"
	"net/netip"
	"sync/atomic"

	"github.com/flowhound/flowhound/collector/decode"
	"github.com/flowhound/flowhound/internal/flow"
)

// run is a stretch of records from one exporter: those behind the run before
// it, up to end.
type run struct {
	from netip.Addr
	end  int
}

// budget bounds how many contacts each exporter begins in the time of one
// flush (notes/security.md §3, T6): who can forge flows of one router cannot
// fill the graph with hosts that do not exist. Each contact brings two hosts
// at most. Addresses beyond those that a decoder knows share one budget.
type budget struct {
	access  *atomic.Pointer[access]
	general int   // 0: no limit
	everyMS int64 // as long as it lasts

	resetMS int64
	left    map[netip.Addr]int
}

// covers reports whether no run's exporter can exceed its budget by n more
// contacts, which is so but for attacks.
func (b *budget) covers(runs []run, n int, nowMS int64) bool {
	if nowMS >= b.resetMS || nowMS < b.resetMS-b.everyMS {
		if b.left == nil {
			b.left = make(map[netip.Addr]int)
		}
		clear(b.left)
		b.resetMS = nowMS + b.everyMS
	}
	for i := range runs {
		if b.of(runs[i].from) < n {
			return false
		}
	}
	return true
}

// of returns what is left to an exporter.
func (b *budget) of(from netip.Addr) int {
	if left, ok := b.left[b.key(from)]; ok {
		return left
	}
	limit := b.general
	if e := b.access.Load().find(from); e != nil && e.NewContacts != 0 {
		limit = e.NewContacts
	}
	if limit == 0 {
		limit = math.MaxInt
	}
	b.left[b.key(from)] = limit
	return limit
}

func (b *budget) key(from netip.Addr) netip.Addr {
	if _, ok := b.left[from]; !ok && len(b.left) >= decode.MaxExporters {
		return netip.Addr{}
	}
	return from
}

// charge takes the contacts that the records fresh began off the budgets.
// Their indices count from the record first.
func (b *budget) charge(runs []run, first int, fresh []int32) {
	for _, r := range runs {
		n := 0
		for n < len(fresh) && first+int(fresh[n]) < r.end {
			n++
		}
		if n > 0 {
			b.left[b.key(r.from)] -= n
			fresh = fresh[n:]
		}
	}
}

// addWithin adds records as far as their exporters' budgets go; beyond that,
// only those whose contact is in the table.
func (w *worker) addWithin(records []flow.Record, slices []flow.Slice) {
	at := 0
	for _, r := range w.runs {
		for at < r.end {
			n := min(r.end-at, w.budget.of(r.from))
			if n <= 0 {
				break
			}
			w.addAll(records[at:at+n], slices[at:at+n], []run{{from: r.from, end: n}})
			at += n
		}
		for ; at < r.end; at++ {
			w.addKnown(records[at:at+1], slices[at:at+1])
		}
	}
}

// addKnown adds one record if its contact is in the table, and drops it
// otherwise.
func (w *worker) addKnown(record []flow.Record, slice []flow.Slice) {
	moved := [1]flow.Slice{max(slice[0], w.ended+1)}
	if !w.table.AddKnown(record, moved[:]) {
		w.sift.counts.filtered[filterNewContacts]++
		return
	}
	w.counts.added++
	if slice[0] <= w.ended {
		w.late++
		w.counts.late++
	}
}
