package decode

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"net/netip"

	"github.com/flowhound/flowhound/collector/template"
)

// ErrTemplates occurs when saved templates are not whole.
var ErrTemplates = errors.New("saved templates are corrupt")

// The form of saved templates and samplers, in network order:
//
//	magic 8 | entries | CRC-32C of all before, 4
//	entry: kind 1 | address 16 | version 1 | domain 4 | length 2 | body
//
// The body is the template record as the exporter sent it, or a sampler's id
// (8; none for a domain) and rate (4).
const (
	savedMagic   = "FHTMPL1\n"
	savedHeader  = 24
	savedData    = 1
	savedOptions = 2
	savedSampler = 3
	savedDomain  = 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// AppendTemplates appends all templates and samplers in a form that
// LoadTemplates reads, so that a restart does not wait for exporters to repeat
// them. Those of transport sessions end with their session and are left out. It may be called from any goroutine.
func (d *Decoder) AppendTemplates(b []byte) []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	start := len(b)
	b = append(b, savedMagic...)
	for addr, e := range d.exporters.All() {
		entry := func(kind, version uint8, domain uint32, body []byte) {
			a := addr.As16()
			b = append(append(b, kind), a[:]...)
			b = binary.BigEndian.AppendUint32(append(b, version), domain)
			b = binary.BigEndian.AppendUint16(b, uint16(len(body)))
			b = append(b, body...)
		}
		for key, t := range e.datagrams.cache.All() {
			kind := uint8(savedData)
			if t.Options {
				kind = savedOptions
			}
			entry(kind, key.Version(), key.Domain(), t.Raw)
		}
		e.datagrams.cache.Samplers(func(version uint8, domain uint32, id uint64, ofDomain bool, rate uint32) {
			if ofDomain {
				entry(savedDomain, version, domain, binary.BigEndian.AppendUint32(nil, rate))
				return
			}
			body := binary.BigEndian.AppendUint64(nil, id)
			entry(savedSampler, version, domain, binary.BigEndian.AppendUint32(body, rate))
		})
	}
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b[start:], castagnoli))
}

// LoadTemplates takes over what AppendTemplates saved, within the caps of this
// decoder. What exporters have sent since stays. An error wraps ErrTemplates;
// nothing is used of bytes whose checksum is wrong.
func (d *Decoder) LoadTemplates(b []byte) error {
	end := len(b) - 4
	if end < len(savedMagic) || string(b[:len(savedMagic)]) != savedMagic {
		return fmt.Errorf("%w: no header", ErrTemplates)
	}
	if crc32.Checksum(b[:end], castagnoli) != binary.BigEndian.Uint32(b[end:]) {
		return fmt.Errorf("%w: checksum", ErrTemplates)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for b = b[len(savedMagic):end]; len(b) > 0; {
		if len(b) < savedHeader {
			return fmt.Errorf("%w: entry of %d bytes", ErrTemplates, len(b))
		}
		n := savedHeader + int(binary.BigEndian.Uint16(b[22:]))
		if n > len(b) {
			return fmt.Errorf("%w: entry of %d bytes, %d left", ErrTemplates, n, len(b))
		}
		d.load(b[0], netip.AddrFrom16([16]byte(b[1:17])).Unmap(), b[17], binary.BigEndian.Uint32(b[18:]), b[savedHeader:n])
		b = b[n:]
	}
	return nil
}

// load takes over one entry; what this version would not learn is left out.
func (d *Decoder) load(kind uint8, addr netip.Addr, version uint8, domain uint32, body []byte) {
	e := d.exporter(addr)
	switch {
	case kind == savedSampler && len(body) == 12:
		if id := binary.BigEndian.Uint64(body); e.cache.SamplerRate(version, domain, id) == 0 {
			e.cache.SetSampler(version, domain, id, binary.BigEndian.Uint32(body[8:]))
		}
	case kind == savedDomain && len(body) == 4:
		if e.cache.DomainRate(version, domain) == 0 {
			e.cache.SetDomainRate(version, domain, binary.BigEndian.Uint32(body))
		}
	case (kind == savedData || kind == savedOptions) && (version == template.V9 || version == template.IPFIX):
		rec, rest, err := template.Next(body, version, kind == savedOptions)
		if err != nil || len(rec.Bytes) == 0 || len(rest) != 0 {
			return
		}
		if e.cache.Lookup(template.MakeKey(version, domain, rec.ID)) != nil {
			return
		}
		d.newTemplates, d.newFields = 1, template.MaxFields
		_, _ = d.learn(nil, e, &message{version: version, domain: domain}, rec, kind == savedOptions)
	}
}
