package decode

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/flowhound/flowhound/collector/template"
	"github.com/flowhound/flowhound/internal/flow"
)

const (
	header9     = 20
	headerIPFIX = 16
	setHeader   = 4
)

// message decodes a v9 or IPFIX datagram of n bytes; b goes on for slack bytes
// behind it. The walk goes over all sets of the datagram: the count of v9 and
// the length of IPFIX are wrong in the field in either direction.
func (d *Decoder) message(dst []flow.Record, m *message, from netip.Addr, b []byte, n int) []flow.Record {
	off := d.header(m, b, n)
	if off == 0 {
		d.stats.Drops[TooShort]++
		return dst
	}
	e := d.accept(from, m)
	s := e.stream(streamKey{version: m.version, domain: m.domain})
	if m.version == template.V9 {
		d.clock(e, s, m)
	}
	if m.version == template.IPFIX && int(binary.BigEndian.Uint16(b[2:])) > n {
		d.drop(e, MessageTruncated, 1)
	}
	for sets := 0; n-off >= setHeader; sets++ {
		id, length := binary.BigEndian.Uint16(b[off:]), int(binary.BigEndian.Uint16(b[off+2:]))
		if length < setHeader || sets == MaxSets && d.session == 0 {
			if !allZero(b[off:n]) {
				d.drop(e, SetLength, 1)
			}
			break
		}
		end := off + length
		if end > n {
			d.drop(e, SetTruncated, 1)
			end = n
		}
		dst = d.set(dst, e, s, m, id, b[off+setHeader:end+slack], end-off-setHeader)
		off = end
	}
	if m.version == template.V9 {
		m.units = 1
	}
	d.account(e, s, m)
	return dst
}

// header reads the header of a v9 or IPFIX message and returns its size, 0 if
// the datagram is shorter.
func (d *Decoder) header(m *message, b []byte, n int) int {
	if m.version == template.IPFIX {
		if n < headerIPFIX {
			return 0
		}
		m.exportMS = int64(binary.BigEndian.Uint32(b[4:])) * 1000
		m.sequence = binary.BigEndian.Uint32(b[8:])
		m.domain = binary.BigEndian.Uint32(b[12:])
		return headerIPFIX
	}
	if n < header9 {
		return 0
	}
	m.uptime = binary.BigEndian.Uint32(b[4:])
	m.exportMS = int64(binary.BigEndian.Uint32(b[8:])) * 1000
	m.sequence = binary.BigEndian.Uint32(b[12:])
	m.domain = binary.BigEndian.Uint32(b[16:])
	return header9
}

// set decodes one set, whose body are the first n bytes of b.
func (d *Decoder) set(dst []flow.Record, e *exporter, s *stream, m *message, id uint16, b []byte, n int) []flow.Record {
	if id >= template.MinID {
		d.stats.DataSets++
		key := template.MakeKey(m.version, m.domain, id)
		t := e.lastTemplate
		if t == nil || t.Key != key {
			var rival *template.Template
			if t, rival = e.cache.Find(key); t == nil {
				m.uncertain = true
				if d.session != 0 {
					d.drop(e, NoTemplate, 1)
					return dst
				}
				d.keep(e, m, key, b[:n])
				return dst
			}
			if rival != nil {
				return d.contested(dst, e, s, m, t, rival, b, n)
			}
			e.lastTemplate = t
		}
		return d.data(dst, e, s, m, t, b, n)
	}
	switch {
	case m.version == template.V9 && id == 0 || m.version == template.IPFIX && id == 2:
		return d.templates(dst, e, m, b[:n], false)
	case m.version == template.V9 && id == 1 || m.version == template.IPFIX && id == 3:
		return d.templates(dst, e, m, b[:n], true)
	}
	d.drop(e, SetReserved, 1)
	return dst
}

// data decodes the records of a data set, whose body are the first n bytes of
// b. What is left behind the last whole record is padding.
func (d *Decoder) data(dst []flow.Record, e *exporter, s *stream, m *message, t *template.Template, b []byte, n int) []flow.Record {
	d.stats.DecodedSets++
	if len(t.Runs) > 0 {
		return d.variable(dst, e, s, m, t, b, n)
	}
	if cap(d.bases) == 0 {
		d.bases = make([]int, 1, 8)
	}
	d.bases = d.bases[:1]
	records := n / t.Length
	m.units += uint32(records)
	if !d.wanted(e, t, records) {
		return dst
	}
	d.bases[0] = 0
	for records > 0 {
		k := min(records, chunk)
		dst = d.records(dst, e, s, m, t, b, k)
		d.bases[0] += k * t.Length
		records -= k
	}
	return dst
}

// wanted counts n records of t and reports whether anything in them is worth
// reading.
func (d *Decoder) wanted(e *exporter, t *template.Template, n int) bool {
	if t.Options {
		d.stats.Options += uint64(n)
		e.options += uint64(n)
		return t.HasAny(template.Interval, template.Population, template.InitTime)
	}
	d.stats.DataRecords += uint64(n)
	if !t.HasAddresses() {
		d.drop(e, NoAddress, n)
		return false
	}
	return true
}

// variable decodes a set whose records have variable-length fields, one
// record at a time.
func (d *Decoder) variable(dst []flow.Record, e *exporter, s *stream, m *message, t *template.Template, b []byte, n int) []flow.Record {
	d.bases = slices.Grow(d.bases[:0], len(t.Runs)+1)[:len(t.Runs)+1]
	for off := 0; n-off >= t.Length; {
		end := d.segments(t, b[:n], off)
		if end == 0 {
			d.drop(e, RecordTruncated, 1)
			break
		}
		m.units++
		if d.wanted(e, t, 1) {
			dst = d.records(dst, e, s, m, t, b, 1)
		}
		off = end
	}
	return dst
}

// segments finds where the segments of the record at off begin and returns
// where the record ends, 0 if it reaches past body (RFC 7011 §7).
func (d *Decoder) segments(t *template.Template, body []byte, off int) (end int) {
	for k, run := range t.Runs {
		d.bases[k] = off
		off += int(run)
		if off >= len(body) {
			return 0
		}
		length := int(body[off])
		off++
		if length == 255 {
			if off+2 > len(body) {
				return 0
			}
			length = int(binary.BigEndian.Uint16(body[off:]))
			off += 2
		}
		off += length
	}
	d.bases[len(t.Runs)] = off
	if off += t.Tail; off > len(body) {
		return 0
	}
	return off
}

// records decodes k ≤ chunk records, the first of which has its segments at
// d.bases.
func (d *Decoder) records(dst []flow.Record, e *exporter, s *stream, m *message, t *template.Template, b []byte, k int) []flow.Record {
	if t.Options {
		d.cols.fill(d.scratch[:k], t, b, d.bases, t.Length)
		d.options(e, s, t, k)
		return dst
	}
	dst = slices.Grow(dst, k)
	recs := dst[len(dst) : len(dst)+k]
	blank := flow.Record{Sampling: 1, Domain: m.domain, Direction: flow.DirectionUnknown, Version: m.version}
	for i := range recs {
		recs[i] = blank
	}
	d.cols.fill(recs, t, b, d.bases, t.Length)
	m.times(recs, t, &d.cols, s.initMS)
	d.sample(recs, e, s, t)
	second := d.secondRecords(recs, t)
	if t.Has(template.Src6) {
		kept := dropUnspecified(recs)
		d.drop(e, NoAddress, k-kept)
		k = kept
	}
	e.records += uint64(k + len(second))
	dst = dst[:len(dst)+k]
	return append(dst, second...)
}

// secondRecords returns the other direction of the biflows among recs, ends
// swapped (RFC 5103 §4.1; NSEL's responder counters mean the same). The
// result is valid until the next chunk.
func (d *Decoder) secondRecords(recs []flow.Record, t *template.Template) []flow.Record {
	if !t.HasAny(template.ReverseBytes, template.ReversePackets, template.ReverseFlags) {
		return nil
	}
	value := func(s template.Slot, i int) uint64 {
		if !t.Has(s) {
			return 0
		}
		return d.cols.of(s)[i]
	}
	out := d.scratch[:0]
	for i := range recs {
		r := recs[i]
		if r.Src.IsZero() || r.Dst.IsZero() {
			continue
		}
		r.Bytes = multiply(value(template.ReverseBytes, i), r.Sampling)
		r.Packets = multiply(value(template.ReversePackets, i), r.Sampling)
		r.TCPFlags = uint8(value(template.ReverseFlags, i))
		if r.Bytes == 0 && r.Packets == 0 && r.TCPFlags == 0 {
			continue
		}
		r.Src, r.Dst = r.Dst, r.Src
		r.SrcPort, r.DstPort = r.DstPort, r.SrcPort
		r.InIf, r.OutIf = r.OutIf, r.InIf
		r.Direction = flow.DirectionUnknown
		out = append(out, r)
	}
	d.stats.Reversed += uint64(len(out))
	return out
}

// dropUnspecified moves the records with a pair of addresses to the front and
// returns their number.
func dropUnspecified(recs []flow.Record) int {
	k := 0
	for i := range recs {
		if recs[i].Src.IsZero() || recs[i].Dst.IsZero() {
			continue
		}
		if k != i {
			recs[k] = recs[i]
		}
		k++
	}
	return k
}

func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
