package collector

import (
	"context"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/flowhound/flowhound/collector/contact"
	"github.com/flowhound/flowhound/collector/decode"
	"github.com/flowhound/flowhound/collector/kafka"
	"github.com/flowhound/flowhound/collector/listen"
	"github.com/flowhound/flowhound/internal/flow"
)

// takeEvery is how many decoded records a worker collects before it adds them
// to its table: enough to overlap the table's cache misses, few enough to stay
// in the cache themselves.
const takeEvery = 512

// Source is where one worker's datagrams come from; [*listen.Worker] is one.
type Source interface {
	// Receive calls handle for each batch of datagrams until ctx ends, and
	// idle at least once a second while nothing arrives.
	Receive(ctx context.Context, handle func([]listen.Packet), idle func()) error
}

// worker turns the datagrams of its source into contacts in its table. One
// goroutine runs it; the flusher takes the table away.
type worker struct {
	source   Source
	receive  func(context.Context) error // instead, where there is no source
	consumer *kafka.Consumer             // nil for all but Kafka's worker
	decoder  *decode.Decoder
	access   *atomic.Pointer[access]
	now      func() time.Time
	refused  *refusedRing
	early    chan<- struct{} // capacity 1: a flush is due

	records   []flow.Record // of the datagrams at hand
	runs      []run         // the same, by exporter
	verdict   verdict       // on the exporter of the last datagram
	firstCome *firstCome    // nil in the other modes

	mu       sync.Mutex // guards all below
	swapped  sync.Cond  // the flusher took the table
	table    *contact.Table
	spare    *contact.Table // empty, nil while the flusher drains it
	sift     sift
	budget   budget
	ended    flow.Slice // no record of a slice ≤ ended enters the table
	late     uint64     // records moved to ended+1 in the table at hand
	counts   workerCounts
	slices   []flow.Slice    // of the records to add
	moved    []flow.Slice    // the same after late ones were moved
	position *kafka.Position // behind what all tables until now hold, nil for none
	covered  *kafka.Position // the position at the last swap
}

// workerCounts are cumulative. Together with the decoder's they account for
// every datagram and every record:
//
//	received = refused + decoder.Datagrams
//	decoder.Records = Σ sift.filtered + added
type workerCounts struct {
	received uint64 // datagrams
	refused  uint64 // datagrams of exporters that are not listened to
	added    uint64 // records in contacts
	late     uint64 // of those, moved to the slice after the ended one
	stalls   uint64 // times that receiving waited for the flusher
}

// verdict caches what access says about one exporter.
type verdict struct {
	access *access
	addr   netip.Addr
	admits bool
}

// run receives until ctx ends.
func (w *worker) run(ctx context.Context) error {
	if w.receive != nil {
		return w.receive(ctx)
	}
	return w.source.Receive(ctx, w.handle, func() {})
}

// handle takes a batch of datagrams.
func (w *worker) handle(batch []listen.Packet) {
	nowMS := w.now().UnixMilli()
	refused := uint64(0)
	for i := range batch {
		from := batch[i].From.Addr()
		if !w.admits(from) {
			refused++
			w.refused.add(from, nowMS)
			continue
		}
		w.decode(from, batch[i].Data, nowMS)
		if len(w.records) >= takeEvery {
			w.take(nowMS)
		}
	}
	w.take(nowMS)
	w.mu.Lock()
	w.counts.received += uint64(len(batch))
	w.counts.refused += refused
	w.mu.Unlock()
}

// decode adds the records of one message to those at hand.
func (w *worker) decode(from netip.Addr, data []byte, nowMS int64) {
	n := len(w.records)
	w.records = w.decoder.Decode(w.records, from, data, nowMS)
	if w.firstCome != nil {
		w.firstCome.mark(w.records[n:], from, nowMS)
	}
	if last := len(w.runs) - 1; last >= 0 && w.runs[last].from == from {
		w.runs[last].end = len(w.records)
	} else {
		w.runs = append(w.runs, run{from: from, end: len(w.records)})
	}
}

func (w *worker) admits(addr netip.Addr) bool {
	a := w.access.Load()
	if w.verdict.access != a || w.verdict.addr != addr {
		w.verdict = verdict{access: a, addr: addr, admits: a.admits(addr)}
	}
	return w.verdict.admits
}

// take moves the collected records into the table.
func (w *worker) take(nowMS int64) {
	if len(w.records) == 0 {
		w.runs = w.runs[:0]
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if n := len(w.runs); n == 0 || w.runs[n-1].end < len(w.records) {
		w.runs = append(w.runs, run{end: len(w.records)}) // nobody said whose
	}
	records, slices := w.sift.run(w.records, w.runs, w.slices[:0], nowMS)
	w.slices = slices
	if w.budget.covers(w.runs, len(records), nowMS) {
		w.addAll(records, slices, w.runs)
	} else {
		w.addWithin(records, slices)
	}
	w.records, w.runs = w.records[:0], w.runs[:0]
}

// addAll adds records, whose runs these are, and waits for room if need be.
func (w *worker) addAll(records []flow.Record, slices []flow.Slice, runs []run) {
	done := 0
	for len(records) > 0 {
		n := w.add(records, slices)
		w.budget.charge(runs, done, w.table.Fresh())
		done += n
		records, slices = records[n:], slices[n:]
		if w.table.Full() {
			w.askFlush()
		}
		if len(records) > 0 {
			// The flusher is draining the other table, which takes tens of
			// milliseconds whatever the log does; the socket's buffer holds
			// what arrives meanwhile.
			w.counts.stalls++
			w.swapped.Wait()
		}
	}
}

// add adds records to the table, late ones in the slice after the ended one,
// and returns how many it took.
func (w *worker) add(records []flow.Record, slices []flow.Slice) int {
	w.moved = w.moved[:0]
	for _, s := range slices {
		w.moved = append(w.moved, max(s, w.ended+1))
	}
	n := w.table.Add(records, w.moved)
	late := uint64(0)
	for _, s := range slices[:n] {
		if s <= w.ended {
			late++
		}
	}
	w.late += late
	w.counts.late += late
	w.counts.added += uint64(n)
	return n
}

func (w *worker) askFlush() {
	select {
	case w.early <- struct{}{}:
	default:
	}
}

// swap takes the table away and forbids slices ≤ ended from now on. It also
// returns how many of the table's records were late. The caller gives the
// table back by giveBack once it is empty.
func (w *worker) swap(ended flow.Slice) (t *contact.Table, late uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.spare == nil {
		panic("BUG: a second flush while the first one drains")
	}
	t, late = w.table, w.late
	w.table, w.spare, w.late = w.spare, nil, 0
	w.covered = w.position
	w.ended = max(w.ended, ended)
	w.swapped.Broadcast()
	return t, late
}

// reached returns Kafka's position at the last swap.
func (w *worker) reached() *kafka.Position {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.covered
}

func (w *worker) giveBack(t *contact.Table) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.spare = t
}

// workerStats is one consistent reading of a worker.
type workerStats struct {
	counts  workerCounts
	sift    siftCounts
	pending uint64 // records in the table at hand
	fill    float64
}

func (w *worker) stats() workerStats {
	w.mu.Lock()
	defer w.mu.Unlock()
	return workerStats{counts: w.counts, sift: w.sift.counts, pending: w.table.Records(), fill: w.table.Fill()}
}
