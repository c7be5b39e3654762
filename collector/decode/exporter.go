package decode

import (
	"net/netip"
	"slices"
)

// exporter is what the decoder keeps for one exporter address.
type exporter struct {
	address netip.Addr
	rule    SamplingRule

	*scope             // of the datagram at hand
	datagrams scope    // of all that came over UDP
	sessions  []*scope // of the transport sessions that are open

	packets, records, options, dropped, waited uint64
	lost, reordered, duplicates, resets        uint64
	templateChanges, templateContests, forks   uint64
	versions                                   uint32 // set of versions, bit 0 for sFlow
	sampling                                   uint32
	seenMS, skewMS                             int64
}

// streamKey names what has a sequence of its own: an engine of v5, a source
// id of v9, a domain of IPFIX, an agent and sub-agent of sFlow.
type streamKey struct {
	version uint8
	domain  uint32
	agent   uint64 // sFlow only
}

// stream is the state of one sequence of datagrams.
type stream struct {
	version uint8
	domain  uint32
	sequence
	rate        uint32 // of the domain, 0 if not told
	samplerRate uint32 // of the sampler that was described last
	initMS      int64  // Unix ms of the exporter's start (IPFIX), 0 if not told
	bootMS      int64  // the same by the uptime of the last datagram (v9), modulo 2^32
	recalled    bool   // no datagram since the restart
}

// exporter returns the state of an address, a new one if need be.
func (d *Decoder) exporter(addr netip.Addr) *exporter {
	e, ok := d.exporters.Get(addr)
	if !ok {
		e = &exporter{
			address:   addr,
			rule:      d.ruleOf(addr),
			datagrams: newScope(0),
		}
		if _, old, evicted := d.exporters.Put(addr, e); evicted {
			d.forget(old)
		}
		d.recall(e)
	}
	e.enter(d.session)
	d.last = e
	return e
}

// forget gives back what an evicted exporter held.
func (d *Decoder) forget(e *exporter) {
	d.stats.ExportersEvicted++
	for s := range e.scopes() {
		d.stats.TemplateEvicted += uint64(s.cache.Len())
		d.leave(e, s)
	}
	if d.last == e {
		d.last = nil
	}
}

// stream returns the state of a sequence, a new one if need be.
func (e *exporter) stream(key streamKey) *stream {
	if s := e.lastStream; s != nil && s.version == key.version && s.domain == key.domain && key.agent == 0 {
		return s
	}
	s, ok := e.streams.Get(key)
	if !ok {
		s = &stream{version: key.version, domain: key.domain}
		s.rate = e.cache.DomainRate(key.version, key.domain)
		e.streams.Put(key, s)
	}
	e.lastStream = s
	e.spoke(key.version)
	return s
}

// spoke notes the version of an export protocol.
func (e *exporter) spoke(version uint8) {
	if version == versionSFlow {
		version = 0
	}
	e.versions |= 1 << version
}

// view returns a copy for readers.
func (e *exporter) view() Exporter {
	v := Exporter{
		Address: e.address,
		Packets: e.packets, Records: e.records, Options: e.options,
		Dropped: e.dropped, Waited: e.waited,
		Lost: e.lost, Reordered: e.reordered, Duplicates: e.duplicates, Resets: e.resets,
		TemplateChanges: e.templateChanges, TemplateContests: e.templateContests, Forks: e.forks,
		Sampling: e.sampling, LastSeenMS: e.seenMS, ClockSkewMS: e.skewMS,
	}
	for s := range e.scopes() {
		v.Held += uint64(s.hold.sets)
		v.Templates += s.cache.Len()
	}
	for bit := range uint8(32) {
		if e.versions&(1<<bit) == 0 {
			continue
		}
		if bit == 0 {
			bit = versionSFlow
		}
		v.Versions = append(v.Versions, bit)
	}
	slices.Sort(v.Versions)
	return v
}

// account follows the sequence number of a datagram.
func (d *Decoder) account(e *exporter, s *stream, m *message) {
	v := s.follow(m)
	d.stats.Lost += v.lost
	e.lost += v.lost
	switch v.event {
	case reordered:
		d.stats.Reordered++
		e.reordered++
	case duplicate:
		d.stats.Duplicates++
		e.duplicates++
	case reset:
		d.stats.Resets++
		e.resets++
		if v.fork {
			d.stats.Forks++
			e.forks++
		}
	}
}
