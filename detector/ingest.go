package detector

import (
	"cmp"
	"slices"

	"github.com/flowhound/flowhound/federation/wire"
	"github.com/flowhound/flowhound/internal/flow"
)

// fromControl is what [ingest.next] returns when the control stream is due.
const fromControl = -1

// maxParked is how many bytes of batches ingest parks while it looks for one
// batch of a commit. Then it takes the batch for lost: only a log that dropped
// batches but kept their commit leads there.
const maxParked = 256 << 20

// sink takes what ingest lets through, in the order in which it must take
// effect. The contacts are valid during the call only.
type sink interface {
	Apply(g flow.Generation, cs []flow.Contact)
	// Advance says that slice s is about to be closed, before the contacts
	// that waited for it are applied.
	Advance(s flow.Slice)
	// Close ends a slice: all contacts of slices up to it that count were
	// applied, and none of a later slice.
	Close(c wire.Close)
}

// ingest is the commit protocol as a pure state machine: it turns the control
// stream and the batches that the control stream makes count into contacts and
// closes. Whoever drives it feeds the input that next asks for:
//
//	         ┌──────── commit whose batches are all here ───────┐
//	         ▼                                                  │
//	┌─────────────────┐  commit with batches missing   ┌────────┴────────┐
//	│ control is next │ ─────────────────────────────► │ stream s is next│
//	└─────────────────┘ ◄───────────────────────────── └─────────────────┘
//	                      last missing batch came or is known to be lost
//
// A batch is lost when the stream ends without it, or when a later batch of
// the same collector on the same stream comes first: a collector publishes a
// flush only after the one before was acknowledged, so nothing of the earlier
// flush can follow. Both give the same verdict, whatever was read ahead.
//
// What reaches the sink is a function of the control stream's prefix and of
// the batches that it covers. It is not safe for concurrent use.
type ingest struct {
	ahead flow.Slice // how far a contact's slice may be after its commit's Ended
	out   sink

	control  uint64 // the last control message that took effect
	streams  [Streams]uint64
	sources  map[string]*source
	seeds    map[string][]wire.Seed
	closed   flow.Slice // the last closed slice, 0 before the first
	closeSeq uint64     // its place in the control stream
	open     flow.Slice // contacts of slices ≤ open are applied, later ones held
	held     []heldBatch

	want  *wanted
	buf   []flow.Contact
	stats ingestStats
}

// ingestStats counts what ingest did since it was made.
type ingestStats struct {
	Batches, Contacts, Commits, Closes        uint64
	Duplicates, Superseded, BadBatches        uint64
	Gaps                                      uint64
	Late, Future                              uint64 // contacts
	BadControl, StaleControl                  uint64
	PendingBatches, PendingBytes, HeldBatches int
}

// source is what ingest knows of one collector.
type source struct {
	commit  wire.Commit // the newest that took effect; Incarnation 0 before
	skipped bool        // a Close did not wait for it and it has not caught up
	pending map[batchID][]byte
}

type batchID struct {
	incarnation uint64
	shard       flow.Shard
	seq         uint64
}

// heldBatch is a batch with contacts of slices in (open, limit] that are not
// applied yet.
type heldBatch struct {
	payload []byte
	limit   flow.Slice
}

// wanted is a commit whose batches are being collected.
type wanted struct {
	seq     uint64 // of the commit in the control stream
	commit  wire.Commit
	from    [flow.Shards]uint64 // last Seq per shard that was covered before
	missing [Streams]uint64
	parked  int // bytes
}

func newIngest(ahead flow.Slice, out sink) *ingest {
	return &ingest{ahead: ahead, out: out, sources: map[string]*source{}, seeds: map[string][]wire.Seed{}}
}

// next says what to feed: fromControl, or a stream of batches.
func (m *ingest) next() int {
	if m.want != nil {
		for s, n := range m.want.missing {
			if n > 0 {
				return s
			}
		}
	}
	return fromControl
}

// message takes the control message with sequence number seq; nil is one that
// could not be read. Only when next says fromControl.
func (m *ingest) message(seq uint64, c wire.Control) {
	if m.want != nil {
		panic("BUG: control message while a commit is incomplete")
	}
	m.settle()
	switch c := c.(type) {
	case wire.Commit:
		m.begin(seq, c)
		return
	case wire.Close:
		m.control = seq
		m.close(seq, c)
	case wire.Seeds:
		m.control = seq
		m.replaceSeeds(c)
	default:
		m.control = seq
		m.stats.BadControl++
	}
}

// batch takes the batch with sequence number seq of a stream. It may be fed
// ahead of its commit at any time.
func (m *ingest) batch(stream int, seq uint64, shard flow.Shard, payload []byte) {
	if seq <= m.streams[stream] {
		m.stats.Duplicates++
		return
	}
	m.streams[stream] = seq
	h, err := wire.ReadHeader(payload)
	if err != nil || h.Shard != shard || int(shard)%Streams != stream {
		m.stats.BadBatches++
		return
	}
	src, id := m.source(h.Collector), batchID{h.Incarnation, h.Shard, h.Seq}
	switch _, twice := src.pending[id]; {
	case h.Incarnation < src.commit.Incarnation:
		m.stats.Superseded++
		return
	case twice, h.Incarnation == src.commit.Incarnation && h.Seq <= src.commit.Last[shard]:
		m.stats.Duplicates++
		return
	}
	src.pending[id] = payload
	m.stats.PendingBatches++
	m.stats.PendingBytes += len(payload)
	if w := m.want; w != nil {
		w.take(m, stream, h, len(payload))
		m.settle()
		m.finish()
	}
}

// end tells that a stream held nothing after sequence number last when it was
// asked, which must be after the wanted commit was read.
func (m *ingest) end(stream int, last uint64) {
	if m.want != nil && m.streams[stream] >= last {
		m.lose(stream)
		m.settle()
		m.finish()
	}
}

// take accounts for a batch that came while w was waiting.
func (w *wanted) take(m *ingest, stream int, h wire.Header, size int) {
	switch {
	case w.covers(h):
		w.missing[stream]--
	case w.passedBy(h):
		m.lose(stream)
	default:
		if w.parked += size; w.parked > maxParked {
			m.lose(stream)
		}
	}
}

// covers reports whether h is a batch that w makes count.
func (w *wanted) covers(h wire.Header) bool {
	return h.Collector == w.commit.Collector && h.Incarnation == w.commit.Incarnation &&
		h.Seq > w.from[h.Shard] && h.Seq <= w.commit.Last[h.Shard]
}

// passedBy reports whether h was published after everything that w covers.
func (w *wanted) passedBy(h wire.Header) bool {
	return h.Collector == w.commit.Collector && (h.Incarnation > w.commit.Incarnation ||
		h.Incarnation == w.commit.Incarnation && h.Seq > w.commit.Last[h.Shard])
}

// lose gives up the batches of the wanted commit that a stream still owes.
func (m *ingest) lose(stream int) {
	m.stats.Gaps += m.want.missing[stream]
	m.want.missing[stream] = 0
}

func (m *ingest) source(name string) *source {
	src := m.sources[name]
	if src == nil {
		src = &source{pending: map[batchID][]byte{}}
		m.sources[name] = src
	}
	return src
}

// begin starts to collect the batches of a commit.
func (m *ingest) begin(seq uint64, c wire.Commit) {
	src := m.source(c.Collector)
	w := &wanted{seq: seq, commit: c}
	if c.Incarnation == src.commit.Incarnation {
		w.from = src.commit.Last
	}
	if !follows(src.commit, c) {
		m.control = seq
		m.stats.StaleControl++
		return
	}
	for shard, last := range c.Last {
		w.missing[shard%Streams] += last - w.from[shard]
	}
	m.want = w
	for id := range src.pending {
		if w.covers(wire.Header{Collector: c.Collector, Incarnation: id.incarnation, Shard: id.shard, Seq: id.seq}) {
			w.missing[id.shard%Streams]--
		}
	}
	for id := range src.pending {
		if w.passedBy(wire.Header{Collector: c.Collector, Incarnation: id.incarnation, Shard: id.shard, Seq: id.seq}) {
			m.lose(int(id.shard) % Streams)
		}
	}
	m.finish()
}

// follows reports whether c may come after old, both of one collector.
func follows(old, c wire.Commit) bool {
	if c.Incarnation != old.Incarnation {
		return c.Incarnation > old.Incarnation
	}
	for shard, last := range c.Last {
		if last < old.Last[shard] {
			return false
		}
	}
	return c.Flush > old.Flush && c.Ended >= old.Ended
}

// finish applies the wanted commit once nothing of it is missing.
func (m *ingest) finish() {
	w := m.want
	if m.next() != fromControl {
		return
	}
	src := m.source(w.commit.Collector)
	for _, id := range m.ready(src, w.commit) {
		payload := src.pending[id]
		m.drop(src, id)
		if id.incarnation < w.commit.Incarnation {
			m.stats.Superseded++
			continue
		}
		m.apply(payload, m.limit(w.commit))
	}
	src.commit = w.commit
	if src.skipped && w.commit.Ended >= m.closed {
		src.skipped = false
	}
	m.control, m.want = w.seq, nil
	m.stats.Commits++
}

// ready returns the pending batches that a commit settles, in the order in
// which they take effect: by shard, then by sequence. Those of an older
// incarnation never count.
func (m *ingest) ready(src *source, c wire.Commit) []batchID {
	var ids []batchID
	for id := range src.pending {
		if id.incarnation < c.Incarnation || id.incarnation == c.Incarnation && id.seq <= c.Last[id.shard] {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, compareIDs)
	return ids
}

func compareIDs(a, b batchID) int {
	return cmp.Or(cmp.Compare(a.incarnation, b.incarnation), cmp.Compare(a.shard, b.shard), cmp.Compare(a.seq, b.seq))
}

func (m *ingest) drop(src *source, id batchID) {
	m.stats.PendingBatches--
	m.stats.PendingBytes -= len(src.pending[id])
	delete(src.pending, id)
}
