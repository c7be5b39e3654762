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
	for i := range recs {
		m.record5(&recs[i], (*[record5]byte)(b[header5+i*record5:]), rate)
	}
	d.stats.DataRecords += uint64(count)
	e.records += uint64(count)
	m.units = uint32(count)
	d.account(e, s, m)
	return dst[:len(dst)+count]
}

// record5 reads one v5 record.
func (m *message) record5(r *flow.Record, b *[record5]byte, rate uint32) {
	be := binary.BigEndian
	mapped4(&r.Src, uint64(be.Uint32(b[0:])))
	mapped4(&r.Dst, uint64(be.Uint32(b[4:])))
	// Two 32-bit factors: the product cannot overflow.
	r.Packets = uint64(be.Uint32(b[16:])) * uint64(rate)
	r.Bytes = uint64(be.Uint32(b[20:])) * uint64(rate)
	r.StartMS = m.fromUptime(uint64(be.Uint32(b[24:])))
	r.EndMS = m.fromUptime(uint64(be.Uint32(b[28:])))
	r.Sampling = rate
	r.Domain = m.domain
	r.InIf = uint32(be.Uint16(b[12:]))
	r.OutIf = uint32(be.Uint16(b[14:]))
	r.SrcPort = be.Uint16(b[32:])
	r.DstPort = be.Uint16(b[34:])
	r.Proto = b[38]
	r.TCPFlags = b[37]
	r.Direction = flow.DirectionUnknown
	r.Version = 5
}
