// Package decode turns export datagrams into flow records: NetFlow v5, NetFlow
// v9 (RFC 3954), IPFIX (RFC 7011, biflows of RFC 5103) and sFlow version 5.
//
// It walks headers and sets itself, bounded by the datagram and never by what
// a header claims. Templates that are new go through goflow2's decoder, after
// the walk has checked their lengths and counts; data and options records are
// read by compiled templates (see collector/template). goflow2 never sees a
// data set: its loops and allocations trust the template.
package decode

import (
	"encoding/binary"
	"net/netip"
	"sync"

	"github.com/flowhound/flowhound/collector/template/lru"
	"github.com/flowhound/flowhound/internal/flow"
)

// Caps on what strangers can make one decoder hold or do.
const (
	MaxExporters     = 4096     // addresses known at a time
	MaxStreams       = 256      // domains (engines, sub-agents) per exporter
	MaxSets          = 256      // sets of one datagram
	MaxNewTemplates  = 64       // templates learnt from one datagram
	MaxNewFields     = 512      // and their fields: all others are learnt when they are repeated
	MaxTemplateBytes = 64 << 20 // of templates, over all exporters
	MaxHeldBytes     = 64 << 20 // of sets that wait for their template, over all exporters
)

// Config are the settings of a [Decoder].
type Config struct {
	// Sampling returns the rule of an exporter; nil means no rules.
	Sampling func(exporter netip.Addr) SamplingRule
	// VXLAN also looks into VXLAN packets of sFlow samples and reports the
	// inner hosts.
	VXLAN bool
	// V5RawSampling takes all 16 bits of the v5 sampling field as the rate,
	// for exporters that ignore the two mode bits.
	V5RawSampling bool
	// TrustTemplates takes another layout under a known key at once, as RFC
	// 7011 §8.4 has it: for files, into which nobody forges packets, and in
	// which routers may share an address.
	TrustTemplates bool
	// HoldMS is how long a data set waits for its template; 0 means 60 000.
	HoldMS int64
	// HoldBytes bounds the waiting sets of one exporter; 0 means 256 KiB.
	HoldBytes int
	// OnHeld is told, where it is not nil, after sets that had waited were
	// decoded: the origin that was set when they came (see SetOrigin) and
	// what they added to the counts.
	OnHeld func(origin int, before, after *Stats)
	// Saved is what exporters told before a restart, by the names that
	// SavedName gives them; nil for nothing. SavedName is called by one
	// goroutine at a time.
	Saved     *Saved
	SavedName Namer
}

// Decoder decodes the datagrams of any number of exporters, one at a time.
// Only its methods that say so may be called while another runs.
type Decoder struct {
	mu        sync.Mutex // guards all below; uncontended but for a scrape
	cfg       Config
	exporters *lru.Map[netip.Addr, *exporter]
	last      *exporter // of the previous datagram
	stats     Stats

	templateBytes, heldBytes int
	newTemplates, newFields  int // left to learn from this datagram
	origin                   int
	session                  uint64 // of this message, 0 for a datagram

	cols    columns
	scratch [chunk]flow.Record // of options records and of second records
	bases   []int              // of the segments of a record
	copied  []byte             // the datagram, where the caller left no slack
}

// New returns a decoder that knows no exporter. Each worker has its own.
func New(cfg Config) *Decoder {
	if cfg.HoldMS == 0 {
		cfg.HoldMS = 60_000
	}
	if cfg.HoldBytes == 0 {
		cfg.HoldBytes = 256 << 10
	}
	return &Decoder{cfg: cfg, exporters: lru.New[netip.Addr, *exporter](MaxExporters)}
}

// message is the header of a datagram, as far as its records need it.
type message struct {
	version    uint8
	domain     uint32
	sequence   uint32
	uptime     uint32 // ms, v5, v9 and sFlow
	exportMS   int64  // Unix ms
	receivedMS int64
	units      uint32 // by which the sequence number advances
	uncertain  bool   // a set without template hid how many
}

// Decode appends the flow records of one datagram to dst and returns it: at
// most two for each 8 bytes, besides those of sets that waited for a template
// of this datagram (of 256 KiB at most). It allocates only where dst is too
// small, an exporter is new, or a template or sampler is. It never fails; what cannot be used is counted by reason.
// exporter is the unmapped source address, without zone; receivedMS is in Unix
// milliseconds. pkt belongs to Decode only during the
// call; it is copied unless its capacity exceeds its length by 8 bytes, which
// may then be read but do not matter.
func (d *Decoder) Decode(dst []flow.Record, exporter netip.Addr, pkt []byte, receivedMS int64) []flow.Record {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stats.Datagrams++
	d.newTemplates, d.newFields = d.budget()
	start := len(dst)
	m := message{receivedMS: receivedMS}
	if len(pkt) < 4 {
		d.stats.Drops[TooShort]++
		return dst
	}
	b := d.withSlack(pkt)
	switch version := binary.BigEndian.Uint16(pkt); version {
	case 5:
		dst = d.version5(dst, &m, exporter, b, len(pkt))
	case 9, 10:
		m.version = uint8(version)
		dst = d.message(dst, &m, exporter, b, len(pkt))
	case 0:
		if binary.BigEndian.Uint32(pkt) == 5 {
			dst = d.sflow(dst, &m, exporter, pkt)
			break
		}
		d.stats.Drops[UnknownVersion]++
	default:
		d.stats.Drops[UnknownVersion]++
	}
	d.stats.Records += uint64(len(dst) - start)
	return dst
}

// withSlack returns a slice that begins with pkt and is slack bytes longer.
func (d *Decoder) withSlack(pkt []byte) []byte {
	n := len(pkt) + slack
	if cap(pkt) >= n {
		return pkt[:n]
	}
	if cap(d.copied) < n {
		d.copied = make([]byte, n, max(n, 9216+slack))
	}
	b := d.copied[:n]
	copy(b, pkt)
	return b
}

// accept counts a datagram whose header could be read and returns its
// exporter.
func (d *Decoder) accept(addr netip.Addr, m *message) *exporter {
	d.stats.Accepted++
	e := d.last
	if e == nil || e.address != addr {
		e = d.exporter(addr)
	}
	e.packets++
	e.seenMS = m.receivedMS
	e.cache.Tick(m.receivedMS)
	if m.exportMS != 0 {
		e.skewMS = m.exportMS - m.receivedMS
	}
	return e
}

// drop counts a part of a datagram that was not used.
func (d *Decoder) drop(e *exporter, r Reason, n int) {
	d.stats.Drops[r] += uint64(n)
	e.dropped += uint64(n)
}

// SetOrigin names where the datagrams that follow come from, for OnHeld.
func (d *Decoder) SetOrigin(origin int) { d.origin = origin }

// Stats returns the counts until now. It may be called from any goroutine.
func (d *Decoder) Stats() Stats {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.current()
}

func (d *Decoder) current() Stats {
	s := d.stats
	s.Exporters = uint64(d.exporters.Len())
	return s
}

// Exporters appends what is known of each exporter to dst, in no particular
// order. It may be called from any goroutine.
func (d *Decoder) Exporters(dst []Exporter) []Exporter {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, e := range d.exporters.All() {
		dst = append(dst, e.view())
	}
	return dst
}

// SetSampling replaces Config.Sampling, for all exporters at once. It may be
// called from any goroutine.
func (d *Decoder) SetSampling(rule func(exporter netip.Addr) SamplingRule) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cfg.Sampling = rule
	for _, e := range d.exporters.All() {
		e.rule = d.ruleOf(e.address)
	}
}

func (d *Decoder) ruleOf(addr netip.Addr) SamplingRule {
	if d.cfg.Sampling == nil {
		return SamplingRule{}
	}
	return d.cfg.Sampling(addr)
}
