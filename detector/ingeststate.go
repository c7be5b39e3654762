package detector

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/flowhound/flowhound/federation/wire"
	"github.com/flowhound/flowhound/internal/flow"
)

// ingestVersion is the first byte of a saved ingest state.
const ingestVersion = 1

// Parts of a saved ingest state after its numbers. Each is a tag byte, a
// number, and a message of federation/wire with its length before it.
const (
	partSource  = 'c' // number: 1 if skipped; the collector's last commit
	partSeeds   = 's' // number: 0; the seeds of a source
	partPending = 'p' // number: 0; a batch that no commit covered yet
	partHeld    = 'h' // number: the limit; a batch with contacts of later slices
)

// save appends the state of the machine to b: the same bytes for the same
// state. A commit whose batches are being collected is left out; its message
// has to be read again.
func (m *ingest) save(b []byte) []byte {
	b = append(b, ingestVersion)
	b = binary.AppendUvarint(b, m.control)
	for _, seq := range m.streams {
		b = binary.AppendUvarint(b, seq)
	}
	b = binary.AppendUvarint(b, uint64(m.closed))
	b = binary.AppendUvarint(b, m.closeSeq)
	b = binary.AppendUvarint(b, uint64(m.open))
	for _, name := range slices.Sorted(maps.Keys(m.sources)) {
		b = m.sources[name].save(b)
	}
	for _, name := range slices.Sorted(maps.Keys(m.seeds)) {
		b = appendPart(b, partSeeds, 0, wire.Seeds{Source: name, Hosts: m.seeds[name]}.Append(nil))
	}
	for _, held := range m.held {
		b = appendPart(b, partHeld, uint64(held.limit), held.payload)
	}
	return b
}

func (s *source) save(b []byte) []byte {
	if s.commit.Incarnation > 0 {
		skipped := uint64(0)
		if s.skipped {
			skipped = 1
		}
		b = appendPart(b, partSource, skipped, s.commit.Append(nil))
	}
	for _, id := range slices.SortedFunc(maps.Keys(s.pending), compareIDs) {
		b = appendPart(b, partPending, 0, s.pending[id])
	}
	return b
}

func appendPart(b []byte, tag byte, number uint64, message []byte) []byte {
	b = append(b, tag)
	b = binary.AppendUvarint(b, number)
	b = binary.AppendUvarint(b, uint64(len(message)))
	return append(b, message...)
}

// errCut is the cause when a saved state ends in the middle of something.
var errCut = errors.New("cut short")

// restore sets an empty machine to the state that save wrote. The batches in
// it keep referring to b.
func (m *ingest) restore(b []byte) error {
	if len(b) == 0 || b[0] != ingestVersion {
		return fmt.Errorf("log positions: unknown version, want %d", ingestVersion)
	}
	r := stateReader{b: b[1:]}
	m.control = r.uvarint()
	for i := range m.streams {
		m.streams[i] = r.uvarint()
	}
	m.closed, m.closeSeq, m.open = r.slice(), r.uvarint(), r.slice()
	for r.err == nil && len(r.b) > 0 {
		tag, number, message := r.part()
		if r.err == nil {
			r.err = m.restorePart(tag, number, message)
		}
	}
	if r.err != nil {
		return fmt.Errorf("log positions: %w", r.err)
	}
	return nil
}

func (m *ingest) restorePart(tag byte, number uint64, message []byte) error {
	switch tag {
	case partSource, partSeeds:
		c, err := wire.ReadControl(message)
		if err != nil {
			return err
		}
		switch c := c.(type) {
		case wire.Commit:
			src := m.source(c.Collector)
			src.commit, src.skipped = c, number == 1
		case wire.Seeds:
			m.replaceSeeds(c)
		default:
			return fmt.Errorf("part %q holds a %T", tag, c)
		}
	case partPending, partHeld:
		h, err := wire.ReadHeader(message)
		if err != nil {
			return err
		}
		if tag == partHeld {
			m.held = append(m.held, heldBatch{message, flow.Slice(number)})
			m.stats.HeldBatches++
			return nil
		}
		m.source(h.Collector).pending[batchID{h.Incarnation, h.Shard, h.Seq}] = message
		m.stats.PendingBatches++
		m.stats.PendingBytes += len(message)
	default:
		return fmt.Errorf("part %q is unknown", tag)
	}
	return nil
}

// stateReader reads the numbers and parts of a saved state; after an error it
// returns zeros.
type stateReader struct {
	b   []byte
	err error
}

func (r *stateReader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.b, r.err = nil, errCut
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *stateReader) slice() flow.Slice { return flow.Slice(r.uvarint()) }

func (r *stateReader) part() (tag byte, number uint64, message []byte) {
	tag, r.b = r.b[0], r.b[1:]
	number = r.uvarint()
	if size := r.uvarint(); size > uint64(len(r.b)) {
		r.b, r.err = nil, errCut
	} else {
		message, r.b = r.b[:size:size], r.b[size:]
	}
	return tag, number, message
}
