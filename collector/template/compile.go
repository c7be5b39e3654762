package template

// Slot is a place in a flow record, or beside it, that a field fills.
type Slot uint8

// The slots. Those from ReverseBytes on are not part of a flow record: the
// decoder needs them to finish one.
const (
	Src4 Slot = iota
	Dst4
	Src6 // 16 bytes, read by two loads
	Dst6
	SrcPort
	DstPort
	Proto
	TCPFlags
	Bytes
	Packets
	InIf
	OutIf
	Direction
	Start // in units of StartClock
	End   // in units of EndClock

	ReverseBytes
	ReversePackets
	ReverseFlags
	SamplerID
	Interval   // sampling: packets taken in a row, or the interval 1:N itself
	Space      // packets skipped between two intervals
	Size       // packets taken out of Population
	Population // packets of which Size are taken
	InitTime   // Unix ms of the exporter's start
	Duration   // ms

	Slots // the number of slots
)

// Op loads one field: the 8 bytes at Offset of a record's segment Segment,
// read in network order, shifted right by Shift, are its value. Segment is 0
// and the load is within the record, or up to 7 bytes behind it, for fields
// shorter than 8 bytes.
type Op struct {
	Offset  uint16
	Segment uint16
	Shift   uint8
	Slot    Slot
}

// Clock is the unit and origin of a time field.
type Clock uint8

// The clocks of RFC 5102 and RFC 3954.
const (
	NoClock Clock = iota
	Uptime        // ms since the exporter started, 32 bits
	UnixSeconds
	UnixMillis
	NTP           // 32.32 bits since 1900 (RFC 7011 §6.1.9 and §6.1.10)
	DeltaMicros   // µs before the export time
	ObservationMS // Unix ms of the event, as ASA firewalls send
)

// element says what one information element is good for. Where several
// elements of a template fill one slot, the highest preference wins, and
// among equals the first.
type element struct {
	slot  Slot
	pref  uint8
	clock Clock
}

// elements are those of the IANA registry that FlowHound reads; NetFlow v9
// has the same numbers for them.
var elements = map[uint16]element{
	8: {slot: Src4, pref: 1}, 12: {slot: Dst4, pref: 1},
	27: {slot: Src6, pref: 1}, 28: {slot: Dst6, pref: 1},
	7: {slot: SrcPort, pref: 2}, 11: {slot: DstPort, pref: 2},
	180: {slot: SrcPort, pref: 1}, 181: {slot: DstPort, pref: 1}, // udp…Port
	182: {slot: SrcPort, pref: 1}, 183: {slot: DstPort, pref: 1}, // tcp…Port
	4: {slot: Proto, pref: 1}, 6: {slot: TCPFlags, pref: 1},

	1: {slot: Bytes, pref: 5}, 85: {slot: Bytes, pref: 4}, 231: {slot: Bytes, pref: 3},
	352: {slot: Bytes, pref: 2}, 23: {slot: Bytes, pref: 1}, // layer2OctetDeltaCount, postOctetDeltaCount
	2: {slot: Packets, pref: 4}, 86: {slot: Packets, pref: 3}, 298: {slot: Packets, pref: 2},
	24:  {slot: Packets, pref: 1},
	232: {slot: ReverseBytes, pref: 1}, 299: {slot: ReversePackets, pref: 1},

	10: {slot: InIf, pref: 1}, 14: {slot: OutIf, pref: 1}, 61: {slot: Direction, pref: 1},

	22: {slot: Start, pref: 2, clock: Uptime}, 21: {slot: End, pref: 2, clock: Uptime},
	150: {slot: Start, pref: 3, clock: UnixSeconds}, 151: {slot: End, pref: 3, clock: UnixSeconds},
	152: {slot: Start, pref: 5, clock: UnixMillis}, 153: {slot: End, pref: 5, clock: UnixMillis},
	154: {slot: Start, pref: 4, clock: NTP}, 155: {slot: End, pref: 4, clock: NTP},
	156: {slot: Start, pref: 4, clock: NTP}, 157: {slot: End, pref: 4, clock: NTP},
	158: {slot: Start, pref: 1, clock: DeltaMicros}, 159: {slot: End, pref: 1, clock: DeltaMicros},
	323: {slot: End, pref: 1, clock: ObservationMS},
	160: {slot: InitTime, pref: 1}, 161: {slot: Duration, pref: 1},

	48: {slot: SamplerID, pref: 1}, 302: {slot: SamplerID, pref: 2},
	34: {slot: Interval, pref: 1}, 50: {slot: Interval, pref: 2}, 305: {slot: Interval, pref: 3},
	306: {slot: Space, pref: 1}, 309: {slot: Size, pref: 1}, 310: {slot: Population, pref: 1},
}

// reverseElements are those of enterprise 29305 (RFC 5103): element n there
// is element n of IANA, seen from the other end.
var reverseElements = map[uint16]element{
	1: {slot: ReverseBytes, pref: 3}, 85: {slot: ReverseBytes, pref: 2},
	2: {slot: ReversePackets, pref: 3}, 86: {slot: ReversePackets, pref: 2},
	6: {slot: ReverseFlags, pref: 1},
}

// compiler collects the best field of each slot.
type compiler struct {
	best [Slots]struct {
		element
		segment, offset, length int
	}
}

// add offers a fixed-length field at an offset of a segment.
func (c *compiler) add(f Field, segment, offset int) {
	var e element
	switch f.Enterprise {
	case 0:
		e = elements[f.ID]
	case reversePEN:
		e = reverseElements[f.ID]
	}
	if e.pref == 0 || f.Length == 0 || !widthFits(e, f.Length) {
		return
	}
	b := &c.best[e.slot]
	if e.pref <= b.pref {
		return
	}
	b.element, b.segment, b.offset, b.length = e, segment, offset, int(f.Length)
}

// widthFits reports whether a field may have that length. Numbers may be
// shortened (RFC 7011 §6.2), addresses and times of 32.32 bits may not.
func widthFits(e element, length uint16) bool {
	switch {
	case e.slot == Src4 || e.slot == Dst4:
		return length == 4
	case e.slot == Src6 || e.slot == Dst6:
		return length == 16
	case e.clock == NTP:
		return length == 8
	}
	return length <= 8
}

// finish writes the ops of the best fields to t.
func (c *compiler) finish(t *Template) {
	for s := range Slots {
		b := &c.best[s]
		if b.pref == 0 {
			continue
		}
		t.slots |= 1 << s
		op := Op{Offset: uint16(b.offset), Segment: uint16(b.segment), Slot: s}
		if b.length < 8 {
			op.Shift = uint8(64 - 8*b.length)
		}
		t.Ops = append(t.Ops, op)
		switch s {
		case Start:
			t.StartClock = b.clock
		case End:
			t.EndClock = b.clock
		}
	}
}
