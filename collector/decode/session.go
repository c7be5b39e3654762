package decode

import (
	"iter"
	"net/netip"
	"slices"

	"github.com/flowhound/flowhound/collector/template"
	"github.com/flowhound/flowhound/collector/template/lru"
)

// scope is what a transport session knows (RFC 7011 §2): templates and
// sequence numbers mean nothing outside of it. Over UDP all that comes from
// one address is one session, since ports change when an exporter restarts.
type scope struct {
	id      uint64 // 0 for UDP
	cache   *template.Cache
	streams *lru.Map[streamKey, *stream]
	hold    hold

	lastStream   *stream
	lastTemplate *template.Template
}

func newScope(id uint64) scope {
	return scope{id: id, cache: template.NewCache(), streams: lru.New[streamKey, *stream](MaxStreams)}
}

// SetSession names the transport session over TCP or TLS that the messages
// which follow came by; 0, the default, means UDP. Sessions of a Decoder need
// ids of their own. In a session templates are told once and in order, so
// withdrawals remove them (RFC 7011 §8.1), a data set without a template is
// lost at once, and a message may hold as many sets and templates as fit.
func (d *Decoder) SetSession(id uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if id != d.session {
		d.session, d.last = id, nil
	}
}

// EndSession forgets the templates and sequence numbers of a session (RFC 7011
// §8: their lifetime is that of the transport session). The counts stay.
func (d *Decoder) EndSession(exporter netip.Addr, id uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	e, ok := d.exporters.Get(exporter)
	if !ok {
		return // it sent nothing, or was evicted
	}
	i := slices.IndexFunc(e.sessions, func(s *scope) bool { return s.id == id })
	if i < 0 {
		return
	}
	d.leave(e, e.sessions[i])
	e.sessions = slices.Delete(e.sessions, i, i+1)
	e.scope = &e.datagrams
	if d.last == e {
		d.last = nil
	}
}

// enter makes the scope of a session the one at hand.
func (e *exporter) enter(id uint64) {
	for s := range e.scopes() {
		if s.id == id {
			e.scope = s
			return
		}
	}
	s := newScope(id)
	e.sessions = append(e.sessions, &s)
	e.scope = &s
}

// scopes yields the scope of UDP and those of all open sessions.
func (e *exporter) scopes() iter.Seq[*scope] {
	return func(yield func(*scope) bool) {
		if !yield(&e.datagrams) {
			return
		}
		for _, s := range e.sessions {
			if !yield(s) {
				return
			}
		}
	}
}

// leave gives back what a scope of e held.
func (d *Decoder) leave(e *exporter, s *scope) {
	e.scope = s
	d.templateBytes -= s.cache.Size()
	d.dropHeld(e, len(s.hold.blocks))
}

// budget returns how many templates and fields the message at hand may teach.
// A datagram's rest is learnt when it is repeated; a session's never is, and
// its length bounds it anyway.
func (d *Decoder) budget() (templates, fields int) {
	if d.session == 0 {
		return MaxNewTemplates, MaxNewFields
	}
	return maxMessage / setHeader, maxMessage / setHeader
}

// maxMessage is the longest IPFIX message (RFC 7011 §3.1).
const maxMessage = 0xffff

// withdraw removes a template of the session at hand, or with the id of the
// set itself all of the observation domain (RFC 7011 §8.1).
func (d *Decoder) withdraw(e *exporter, m *message, id uint16, options bool) {
	all := uint16(2)
	if options {
		all = 3
	}
	var keys []template.Key
	for key, t := range e.cache.All() {
		if key.Version() == m.version && key.Domain() == m.domain && t.Options == options && (id == all || id == key.ID()) {
			keys = append(keys, key)
		}
	}
	if len(keys) == 0 && id != all {
		d.drop(e, TemplateWithdrawn, 1)
		return
	}
	d.templateBytes -= e.cache.Size()
	for _, key := range keys {
		e.cache.Forget(key)
	}
	d.templateBytes += e.cache.Size()
	d.stats.Withdrawn += uint64(len(keys))
	e.lastTemplate = nil
}
