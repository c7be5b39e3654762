package detector

import (
	"github.com/flowhound/flowhound/federation/wire"
	"github.com/flowhound/flowhound/internal/flow"
)

// limit returns the last slice that a contact of a commit may have: a clock
// that runs far ahead must not make contacts wait for ever.
func (m *ingest) limit(c wire.Commit) flow.Slice {
	ended := max(c.Ended, m.closed)
	if ended == 0 || ended > ^flow.Slice(0)-m.ahead {
		return ^flow.Slice(0)
	}
	return ended + m.ahead
}

// apply lets the contacts of a batch through whose slice is open, and holds
// the batch if it has later ones. Late contacts go into the open slice.
func (m *ingest) apply(payload []byte, limit flow.Slice) {
	h, cs, err := wire.ReadBatch(payload, m.buf[:0])
	m.buf = cs
	if err != nil {
		m.stats.BadBatches++
		return
	}
	now, later := cs[:0], false
	for _, c := range cs {
		switch {
		case c.Slice > limit:
			m.stats.Future++
			continue
		case c.Slice > m.open:
			later = true
			continue
		case m.closed > 0 && c.Slice <= m.closed:
			m.stats.Late++
			c.Slice = m.open
		}
		now = append(now, c)
	}
	m.stats.Batches++
	m.emit(h.Generation, now)
	if later {
		m.held = append(m.held, heldBatch{payload, limit})
		m.stats.HeldBatches++
	}
}

func (m *ingest) emit(g flow.Generation, cs []flow.Contact) {
	if len(cs) > 0 {
		m.stats.Contacts += uint64(len(cs))
		m.out.Apply(g, cs)
	}
}

// settle opens the slice after a close. It waits for the next input, so that
// the state at a close can be saved with nothing of the next slice in it.
func (m *ingest) settle() {
	if m.closed > 0 && m.open == m.closed {
		m.advance(m.closed + 1)
	}
}

// advance lets the held contacts of slices ≤ to through.
func (m *ingest) advance(to flow.Slice) {
	keep := m.held[:0]
	for _, held := range m.held {
		h, cs, err := wire.ReadBatch(held.payload, m.buf[:0])
		m.buf = cs
		if err != nil {
			panic("BUG: held batch became unreadable: " + err.Error())
		}
		now, later := cs[:0], false
		for _, c := range cs {
			if c.Slice > to && c.Slice <= held.limit {
				later = true
			} else if c.Slice > m.open && c.Slice <= held.limit {
				now = append(now, c)
			}
		}
		m.emit(h.Generation, now)
		if later {
			keep = append(keep, held)
		}
	}
	clear(m.held[len(keep):])
	m.held, m.open = keep, to
	m.stats.HeldBatches = len(keep)
}

// close ends a slice.
func (m *ingest) close(seq uint64, c wire.Close) {
	if c.Slice <= m.closed {
		m.stats.StaleControl++
		return
	}
	m.out.Advance(c.Slice)
	m.advance(c.Slice)
	m.closed, m.closeSeq = c.Slice, seq
	for _, name := range c.Without {
		if src := m.sources[name]; src != nil && src.commit.Ended < c.Slice {
			src.skipped = true
		}
	}
	m.stats.Closes++
	m.out.Close(c)
}

func (m *ingest) replaceSeeds(s wire.Seeds) {
	if len(s.Hosts) == 0 {
		delete(m.seeds, s.Source)
		return
	}
	m.seeds[s.Source] = s.Hosts
}
