package decode

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/flowhound/flowhound/internal/flow"
)

const (
	header5 = 24
	record5 = 48
)

// version5 decodes a NetFlow v5 datagram of n bytes. Its count is believed
// only as far as the datagram goes.
func (d *Decoder) version5(dst []flow.Record, m *message, from netip.Addr, b []byte, n int) []flow.Record {
	if n < header5 {
		d.stats.Drops[TooShort]++
		return dst
	}
	count := int(binary.BigEndian.Uint16(b[2:]))
	m.version = 5
	m.uptime = binary.BigEndian.Uint32(b[4:])
	m.exportMS = int64(binary.BigEndian.Uint32(b[8:]))*1000 + int64(binary.BigEndian.Uint32(b[12:])/1e6)
	m.sequence = binary.BigEndian.Uint32(b[16:])
	m.domain = uint32(binary.BigEndian.Uint16(b[20:]))
	e := d.accept(from, m)
	if fit := (n - header5) / record5; count > fit {
		d.drop(e, MessageTruncated, 1)
		count = fit
	}
	s := e.stream(streamKey{version: 5, domain: m.domain})
	if s.rate = uint32(binary.BigEndian.Uint16(b[22:])); !d.cfg.V5RawSampling {
		s.rate &= 1<<14 - 1
	}
	rate := s.baseRate(e.rule, false)
	if count > 0 {
		e.sampling = rate
	}
	dst = slices.Grow(dst, count)
	recs := dst[len(dst) : len(dst)+count]
	m.records5(recs, b[header5:], rate)
	d.stats.DataRecords += uint64(count)
	e.records += uint64(count)
	m.units = uint32(count)
	d.account(e, s, m)
	return dst[:len(dst)+count]
}

// records5 reads the v5 records that b begins with.
func (m *message) records5(recs []flow.Record, b []byte, rate uint32) {
	be := binary.BigEndian
	uptime, exportMS, domain, factor := m.uptime, m.exportMS, m.domain, uint64(rate)
	for i := range recs {
		r, p := &recs[i], (*[record5]byte)(b)
		b = b[record5:]
		mapped4(&r.Src, be.Uint32(p[0:]))
		mapped4(&r.Dst, be.Uint32(p[4:]))
		// Two 32-bit factors: the product cannot overflow.
		pair := be.Uint64(p[16:])
		r.Packets = pair >> 32 * factor
		r.Bytes = pair & (1<<32 - 1) * factor
		pair = be.Uint64(p[24:])
		r.StartMS = exportMS - int64(int32(uptime-uint32(pair>>32)))
		r.EndMS = exportMS - int64(int32(uptime-uint32(pair)))
		r.Sampling = rate
		r.Domain = domain
		half := be.Uint32(p[12:])
		r.InIf, r.OutIf = half>>16, half&0xffff
		half = be.Uint32(p[32:])
		r.SrcPort, r.DstPort = uint16(half>>16), uint16(half)
		r.Proto, r.TCPFlags = p[38], p[37]
		r.Direction = flow.DirectionUnknown
		r.Version = 5
	}
}
