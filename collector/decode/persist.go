package decode

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"net/netip"
	"sync"

	"github.com/flowhound/flowhound/collector/template"
	"github.com/flowhound/flowhound/internal/flow"
)

// ErrTemplates occurs when saved templates are not whole.
var ErrTemplates = errors.New("saved templates are corrupt")

// The form of saved templates and samplers, in network order:
//
//	magic 8 | generation 1 | entries | CRC-32C of all before, 4
//	entry: kind 1 | exporter 16 | version 1 | domain 4 | sent 8 | length 2 | body
//
// exporter is the pseudonym of its address, sent the Unix milliseconds when
// it told this last. The body is the template record as the exporter sent it;
// a sampler's id (8; none for a domain) and rate (4); or of a stream the
// start of the exporter's clock (8, v9), the rate of the sampler described
// last (4) and the start that it told (8, IPFIX).
const (
	savedMagic   = "FHTMPL2\n"
	savedStart   = len(savedMagic) + 1
	savedHeader  = 32
	savedData    = 1
	savedOptions = 2
	savedSampler = 3
	savedDomain  = 4
	savedStream  = 5
)

// restartMS is by how much the start of an exporter's clock may seem to move
// without a restart: clocks are corrected.
const restartMS = 600_000

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Namer returns the name of an exporter in saved templates, which must not
// tell its address to a reader without the key.
type Namer func(exporter netip.Addr) flow.Pseudonym

// Saved are templates and samplers from before a restart. All decoders of a
// collector share them: it is safe for concurrent use.
type Saved struct {
	generation flow.Generation

	mu        sync.Mutex // guards all below
	exporters map[flow.Pseudonym]*savedExporter
}

// savedExporter are the entries of one exporter, one behind the other.
type savedExporter struct {
	entries []byte
	used    bool // a decoder knows them; it will save them itself
}

// ReadSaved reads what AppendSaved wrote, and keeps b. What is older than a
// day is left out. An error wraps ErrTemplates.
func ReadSaved(b []byte, nowMS int64) (*Saved, error) {
	end := len(b) - 4
	if end < savedStart || string(b[:len(savedMagic)]) != savedMagic {
		return nil, fmt.Errorf("%w: no header", ErrTemplates)
	}
	if crc32.Checksum(b[:end], castagnoli) != binary.BigEndian.Uint32(b[end:]) {
		return nil, fmt.Errorf("%w: checksum", ErrTemplates)
	}
	s := &Saved{generation: flow.Generation(b[savedStart-1]), exporters: make(map[flow.Pseudonym]*savedExporter)}
	for b = b[savedStart:end]; len(b) > 0; {
		if len(b) < savedHeader {
			return nil, fmt.Errorf("%w: entry of %d bytes", ErrTemplates, len(b))
		}
		n := savedHeader + int(binary.BigEndian.Uint16(b[30:]))
		if n > len(b) {
			return nil, fmt.Errorf("%w: entry of %d bytes, %d left", ErrTemplates, n, len(b))
		}
		if nowMS-int64(binary.BigEndian.Uint64(b[22:])) <= template.StaleMS {
			name := flow.Pseudonym(b[1:17])
			e := s.exporters[name]
			if e == nil {
				e = new(savedExporter)
				s.exporters[name] = e
			}
			e.entries = append(e.entries, b[:n]...)
		}
		b = b[n:]
	}
	return s, nil
}

// Generation returns the generation of the names.
func (s *Saved) Generation() flow.Generation { return s.generation }

// Exporters returns the number of exporters.
func (s *Saved) Exporters() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.exporters)
}

// take returns the entries of an exporter.
func (s *Saved) take(name flow.Pseudonym) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.exporters[name]
	if e == nil {
		return nil
	}
	e.used = true
	return e.entries
}

// AppendSaved appends what the decoders know in a form that ReadSaved reads,
// with names of generation g, and what saved (nil for none) has of exporters
// that were not heard yet. Names of another generation cannot be told anew,
// so those are left out. What transport sessions know ends with them.
func AppendSaved(b []byte, g flow.Generation, name Namer, saved *Saved, decoders ...*Decoder) []byte {
	start := len(b)
	b = append(append(b, savedMagic...), byte(g))
	for _, d := range decoders {
		b = d.appendSaved(b, name)
	}
	if saved != nil && saved.generation == g {
		saved.mu.Lock()
		defer saved.mu.Unlock()
		for e := range maps.Values(saved.exporters) {
			if !e.used {
				b = append(b, e.entries...)
			}
		}
	}
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b[start:], castagnoli))
}

func (d *Decoder) appendSaved(b []byte, name Namer) []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	be := binary.BigEndian
	for addr, e := range d.exporters.All() {
		exporter := name(addr)
		entry := func(kind, version uint8, domain uint32, sentMS int64, body []byte) {
			b = append(append(b, kind), exporter[:]...)
			b = be.AppendUint32(append(b, version), domain)
			b = be.AppendUint64(b, uint64(sentMS))
			b = be.AppendUint16(b, uint16(len(body)))
			b = append(b, body...)
		}
		for t, sentMS := range e.datagrams.cache.Sent() {
			kind := uint8(savedData)
			if t.Options {
				kind = savedOptions
			}
			entry(kind, t.Key.Version(), t.Key.Domain(), sentMS, t.Raw)
		}
		e.datagrams.cache.Samplers(func(version uint8, domain uint32, id uint64, ofDomain bool, rate uint32) {
			if ofDomain {
				entry(savedDomain, version, domain, e.seenMS, be.AppendUint32(nil, rate))
				return
			}
			entry(savedSampler, version, domain, e.seenMS, be.AppendUint32(be.AppendUint64(nil, id), rate))
		})
		for key, s := range e.datagrams.streams.All() {
			if key.version == template.V9 || key.version == template.IPFIX {
				body := be.AppendUint64(nil, uint64(s.bootMS))
				body = be.AppendUint32(body, s.samplerRate)
				entry(savedStream, key.version, key.domain, e.seenMS, be.AppendUint64(body, uint64(s.initMS)))
			}
		}
	}
	return b
}

// Revision changes when saving again would save something else than times.
func (d *Decoder) Revision() (n uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, e := range d.exporters.All() {
		n += 1 + e.datagrams.cache.Revision()
	}
	return n + d.stats.ExportersEvicted<<32
}

// ExpireStale forgets the templates from before a restart that their exporter
// has not repeated for a day. It may be called from any goroutine.
func (d *Decoder) ExpireStale(nowMS int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, e := range d.exporters.All() {
		before := e.datagrams.cache.Size()
		d.stats.StaleForgotten += uint64(e.datagrams.cache.ExpireStale(nowMS))
		d.templateBytes += e.datagrams.cache.Size() - before
		e.datagrams.lastTemplate = nil
	}
}

// recall gives a new exporter what was saved of it.
func (d *Decoder) recall(e *exporter) {
	if d.cfg.Saved == nil {
		return
	}
	e.scope = &e.datagrams
	before := e.cache.Size()
	for b := d.cfg.Saved.take(d.cfg.SavedName(e.address)); len(b) > 0; {
		n := savedHeader + int(binary.BigEndian.Uint16(b[30:]))
		d.restore(e, b[0], b[17], binary.BigEndian.Uint32(b[18:]), int64(binary.BigEndian.Uint64(b[22:])), b[savedHeader:n])
		b = b[n:]
	}
	e.lastStream = nil
	d.templateBytes += e.cache.Size() - before
	d.boundTemplates(e)
}

// restore takes over one entry; what this version would not learn is left out.
func (d *Decoder) restore(e *exporter, kind, version uint8, domain uint32, sentMS int64, body []byte) {
	be := binary.BigEndian
	switch {
	case kind == savedSampler && len(body) == 12:
		e.cache.SetSampler(version, domain, be.Uint64(body), be.Uint32(body[8:]))
	case kind == savedDomain && len(body) == 4:
		e.cache.SetDomainRate(version, domain, be.Uint32(body))
	case kind == savedStream && len(body) == 20 && (version == template.V9 || version == template.IPFIX):
		s := e.stream(streamKey{version: version, domain: domain})
		s.bootMS, s.recalled = int64(be.Uint64(body)), true
		s.samplerRate, s.initMS = be.Uint32(body[8:]), int64(be.Uint64(body[12:]))
	case (kind == savedData || kind == savedOptions) && (version == template.V9 || version == template.IPFIX):
		rec, rest, err := template.Next(body, version, kind == savedOptions)
		if err != nil || len(rec.Bytes) == 0 || len(rest) != 0 {
			return
		}
		key := template.MakeKey(version, domain, rec.ID)
		if t, err := compile(key, rec, kind == savedOptions); err == nil {
			d.stats.Restored++
			if e.cache.Restore(t, sentMS) {
				d.stats.TemplateEvicted++
			}
		}
	}
}

// clock follows the start of a v9 exporter's clock. If it has restarted since
// its templates were saved, they are no longer its own (RFC 3954 §9).
func (d *Decoder) clock(e *exporter, s *stream, m *message) {
	bootMS := m.exportMS - int64(m.uptime)
	if s.recalled {
		s.recalled = false
		s.rate = e.cache.DomainRate(s.version, s.domain)
		// The uptime wraps after 2^32 ms, and the start seems to move by that.
		if moved := int32(uint32(bootMS - s.bootMS)); moved > restartMS || moved < -restartMS {
			before := e.cache.Size()
			d.stats.StaleForgotten += uint64(e.cache.ForgetStale(m.version, m.domain))
			d.templateBytes += e.cache.Size() - before
			e.lastTemplate = nil
		}
	}
	s.bootMS = bootMS
}
