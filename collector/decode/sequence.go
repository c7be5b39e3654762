package decode

// Limits of the sequence accounts.
const (
	// window is how many datagrams may arrive before a late one.
	window = 64
	// windowMS is the longest time that a late one may take.
	windowMS = 5000
	// maxGaps is how many gaps are kept open at a time.
	maxGaps = 8
	// maxJump is the largest difference of a sequence number that is taken
	// for loss: a farther one is a restart or a second sender.
	maxJump = 1 << 16
	// recordsPerPacket scales maxJump for sequences that count records.
	recordsPerPacket = 32
)

// sequence follows the sequence numbers of one stream. A gap counts as lost
// once it has been open for longer than datagrams are late: so the count of
// lost units only grows.
//
//	first datagram ─► in step ─── number ahead ──► gap open ──► lost
//	                     ▲                            │
//	                     ├── number in a gap: reordered
//	                     ├── number behind, in no gap: duplicate
//	                     └── number far away, or uptime back: reset
type sequence struct {
	started   bool
	uncertain bool // the last datagram held an unknown number of records
	next      uint32
	uptime    uint32
	packets   uint64
	left      uint32 // next of the sequence that the last reset left
	leftOne   bool
	gaps      [maxGaps]gap // ordered by opened; the first n are open
	n         int
}

// gap is a run of units that have not arrived.
type gap struct {
	start, units uint32
	opened       uint64 // packets when it was found
	openedMS     int64
}

type event uint8

const (
	inStep event = iota
	reordered
	duplicate
	reset
)

type verdict struct {
	event event
	fork  bool // a reset to the sequence that another one had left
	lost  uint64
}

// follow takes the number of one datagram into account: v5 and IPFIX number
// their records, v9 and sFlow their datagrams. A datagram may carry 0 units.
func (s *sequence) follow(m *message) (v verdict) {
	s.packets++
	limit := uint32(maxJump)
	if m.version == 5 || m.version == 10 {
		limit *= recordsPerPacket
	}
	uncertain := s.uncertain
	s.uncertain = m.uncertain
	restarted := s.started && m.version != 10 && wentBack(s.uptime, m.uptime)
	s.uptime = m.uptime
	ahead := m.sequence - s.next
	switch {
	case !s.started:
		s.started = true
	case restarted, ahead > limit && -ahead > limit:
		v.event = reset
		v.fork = s.leftOne && m.sequence-s.left <= limit
		s.left, s.leftOne = s.next, true
		v.lost = s.settle(s.n)
	case ahead == 0:
	case ahead <= limit:
		if !uncertain {
			v.lost = s.open(m, ahead)
		}
	default:
		s.uncertain = uncertain
		return s.late(m, uncertain)
	}
	s.next = m.sequence + m.units
	v.lost += s.expire(m)
	return v
}

// late handles a number behind the expected one.
func (s *sequence) late(m *message, uncertain bool) (v verdict) {
	v.lost = s.expire(m)
	for i := range s.gaps[:s.n] {
		g := &s.gaps[i]
		offset := m.sequence - g.start
		if offset >= g.units {
			continue
		}
		v.event = reordered
		rest := g.units - offset
		rest -= min(rest, max(m.units, 1))
		// The part before stays in place, the part behind takes its turn if
		// there is room, and counts as lost at once if there is none.
		behind := gap{start: g.start + g.units - rest, units: rest, opened: g.opened, openedMS: g.openedMS}
		g.units = offset
		if rest > 0 {
			switch {
			case offset == 0:
				*g = behind
			case s.n < maxGaps:
				s.gaps[s.n] = behind
				s.n++
			default:
				v.lost += uint64(rest)
			}
		}
		return v
	}
	if uncertain {
		// What was expected was a guess.
		s.next = m.sequence + m.units
		return v
	}
	v.event = duplicate
	return v
}

// open notes a gap in front of a datagram and returns what had to be given up
// for it.
func (s *sequence) open(m *message, units uint32) (lost uint64) {
	if s.n == maxGaps {
		lost = s.settle(1)
	}
	s.gaps[s.n] = gap{start: s.next, units: units, opened: s.packets, openedMS: m.receivedMS}
	s.n++
	return lost
}

// expire gives up the gaps that have been open for too long.
func (s *sequence) expire(m *message) (lost uint64) {
	for s.n > 0 && (s.gaps[0].units == 0 || s.packets-s.gaps[0].opened > window || m.receivedMS-s.gaps[0].openedMS > windowMS) {
		lost += s.settle(1)
	}
	return lost
}

// settle gives up the first k gaps and returns how many units they held.
func (s *sequence) settle(k int) (lost uint64) {
	for _, g := range s.gaps[:k] {
		lost += uint64(g.units)
	}
	copy(s.gaps[:], s.gaps[k:s.n])
	s.n -= k
	return lost
}

// wentBack reports whether an exporter's uptime tells of a restart: it is
// lower by more than datagrams are late, and did not wrap after 49.7 days.
func wentBack(before, now uint32) bool {
	const late = 60_000
	if now >= before || before-now <= late {
		return false
	}
	return before < 1<<32-600_000 || now > 600_000
}
