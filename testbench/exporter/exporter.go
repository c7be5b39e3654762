// Package exporter plays the router's part: it encodes flow records as NetFlow
// v5 and v9 (RFC 3954), IPFIX (RFC 7011) and sFlow v5 export packets, sends
// them over UDP, and writes the traffic itself as pcap for other meters.
// Encoders are pure: the export time is an argument.
package exporter

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/flowhound/flowhound/internal/flow"
)

// Protocol is an export protocol.
type Protocol string

// The protocols that [New] knows.
const (
	NetFlow5 Protocol = "v5"
	NetFlow9 Protocol = "v9"
	IPFIX    Protocol = "ipfix"
	SFlow    Protocol = "sflow"
)

// Protocols lists every [Protocol].
var Protocols = []Protocol{NetFlow5, NetFlow9, IPFIX, SFlow}

// ErrFamily is returned for an IPv6 record in NetFlow v5, which has no room
// for its addresses.
var ErrFamily = errors.New("NetFlow v5 carries IPv4 only")

// Config describes one observation domain of an exporter.
type Config struct {
	Protocol Protocol
	// Domain is the observation domain (IPFIX), source id (v9), engine type
	// and id (v5, 16 bits) or sub-agent (sFlow).
	Domain uint32
	// PerPacket bounds the records of one packet; 0 means as many as fit.
	PerPacket int
	// MTU bounds the UDP payload in bytes; default 1400.
	MTU int
	// Sampling is the announced rate 1:Sampling; default 1. The records'
	// packets and bytes are divided by it.
	Sampling uint32
	// TemplateEvery is the number of data packets after which the templates
	// and the sampling options are sent again; default 500. The first data
	// packet always follows them.
	TemplateEvery int
	// BootMS is when the exporter started, in Unix milliseconds: the zero of
	// v5's, v9's and sFlow's uptime.
	BootMS int64
	// Agent is the address that sFlow datagrams name; default 127.0.0.1.
	Agent netip.Addr
}

// Sent counts what an encoder has emitted.
type Sent struct{ Packets, Records, Bytes, Templates, Options uint64 }

// Encoder turns flow records into export packets. It is not safe for
// concurrent use.
type Encoder struct {
	cfg      Config
	protocol protocol
	set4     []byte // encoded IPv4 records of the next packet
	set6     []byte
	count    int // records in set4 and set6
	packet   []byte
	since    int // data packets since the templates
	sequence uint32
	sent     Sent
}

// protocol is what differs between the formats.
type protocol interface {
	// sizes returns the bytes of the header, of what a record of one family
	// adds, and of what the first record of a family adds once.
	sizes(ipv6 bool) (header, record, set int)
	// appendRecord appends a record to its family's set.
	appendRecord(b []byte, r *flow.Record) []byte
	// appendPacket appends a data packet and returns how far it moves the
	// sequence number.
	appendPacket(b []byte, e *Encoder, nowMS int64) ([]byte, uint32)
	// appendTemplates appends a packet of templates and options, or nothing,
	// and returns how far it moves the sequence number.
	appendTemplates(b []byte, e *Encoder, nowMS int64) ([]byte, uint32)
	// limit returns the most records of a packet.
	limit() int
}

// New returns an encoder, or an error for a configuration that fits no packet.
func New(c Config) (*Encoder, error) {
	if c.MTU == 0 {
		c.MTU = 1400
	}
	if c.TemplateEvery == 0 {
		c.TemplateEvery = 500
	}
	c.Sampling = max(c.Sampling, 1)
	e := &Encoder{cfg: c}
	switch c.Protocol {
	case NetFlow5:
		if c.Domain > 0xffff || c.Sampling > 0x3fff {
			return nil, fmt.Errorf("exporter v5: domain %d, sampling %d: want at most 65535, 16383", c.Domain, c.Sampling)
		}
		e.protocol = v5{c}
	case NetFlow9:
		e.protocol = newTemplated(c, v9Format)
	case IPFIX:
		e.protocol = newTemplated(c, ipfixFormat)
	case SFlow:
		if !c.Agent.IsValid() {
			c.Agent = netip.AddrFrom4([4]byte{127, 0, 0, 1})
		}
		e.protocol = &sflow{cfg: c}
	default:
		return nil, fmt.Errorf("exporter: protocol %q: unknown, want one of %q", c.Protocol, Protocols)
	}
	header, record, set := e.protocol.sizes(true)
	if c.MTU < header+record+set+3 || c.MTU > 65_507 || c.PerPacket < 0 {
		return nil, fmt.Errorf("exporter %s: mtu %d, records per packet %d: want %d … 65507 bytes, at least 0 records",
			c.Protocol, c.MTU, c.PerPacket, header+record+set+3)
	}
	return e, nil
}

// Add takes a record into the next packet and emits the packets that are full;
// emit must not keep them. nowMS is the export time in Unix milliseconds.
func (e *Encoder) Add(r *flow.Record, nowMS int64, emit func([]byte) error) error {
	ipv6 := !r.Src.Is4() || !r.Dst.Is4()
	if ipv6 && e.cfg.Protocol == NetFlow5 {
		return ErrFamily
	}
	if !e.fits(ipv6) {
		if err := e.Flush(nowMS, emit); err != nil {
			return err
		}
	}
	if ipv6 {
		e.set6 = e.protocol.appendRecord(e.set6, r)
	} else {
		e.set4 = e.protocol.appendRecord(e.set4, r)
	}
	e.count++
	if e.count == e.protocol.limit() || e.count == e.cfg.PerPacket {
		return e.Flush(nowMS, emit)
	}
	return nil
}

// fits reports whether one more record keeps the packet within the MTU. Three
// bytes are kept for the padding of each set.
func (e *Encoder) fits(ipv6 bool) bool {
	header, record, set := e.protocol.sizes(ipv6)
	_, _, otherSet := e.protocol.sizes(!ipv6)
	size := header + len(e.set4) + len(e.set6) + record + set + 3
	if len(e.set4) > 0 && ipv6 || len(e.set6) > 0 && !ipv6 {
		size += otherSet + 3
	}
	return e.count == 0 || size <= e.cfg.MTU
}

// Flush emits the records taken so far, after the templates when these are due.
func (e *Encoder) Flush(nowMS int64, emit func([]byte) error) error {
	if e.count == 0 {
		return nil
	}
	if e.since%e.cfg.TemplateEvery == 0 {
		if err := e.emitTemplates(nowMS, emit); err != nil {
			return err
		}
	}
	e.since++
	var step uint32
	e.packet, step = e.protocol.appendPacket(e.packet[:0], e, nowMS)
	e.sequence += step
	e.sent.Records += uint64(e.count)
	e.set4, e.set6, e.count = e.set4[:0], e.set6[:0], 0
	return e.emit(emit)
}

func (e *Encoder) emitTemplates(nowMS int64, emit func([]byte) error) error {
	var step uint32
	if e.packet, step = e.protocol.appendTemplates(e.packet[:0], e, nowMS); len(e.packet) == 0 {
		return nil
	}
	e.sequence += step
	e.sent.Templates += 3 // IPv4, IPv6 and options
	e.sent.Options++
	return e.emit(emit)
}

func (e *Encoder) emit(emit func([]byte) error) error {
	e.sent.Packets++
	e.sent.Bytes += uint64(len(e.packet))
	return emit(e.packet)
}

// Sent returns what was emitted so far.
func (e *Encoder) Sent() Sent { return e.sent }

// counters returns what an exporter sees of a record under sampling.
func (c Config) counters(r *flow.Record) (packets, bytes uint64) {
	n := uint64(c.Sampling)
	return max(1, r.Packets/n), max(1, r.Bytes/n)
}

// uptime returns a time on the exporter's clock, which wraps after 49.7 days.
func (c Config) uptime(unixMS int64) uint32 { return uint32(unixMS - c.BootMS) }

// be appends big-endian numbers.
var be = binary.BigEndian
