package template

import (
	"bytes"
	"iter"

	"github.com/flowhound/flowhound/collector/template/lru"
)

// MaxTemplates and MaxSamplers bound what one exporter may be known by.
const (
	MaxTemplates = 1024
	MaxSamplers  = 256
)

// StaleMS is how long a template from before a restart may be used without
// having been repeated: 24 hours, in milliseconds.
const StaleMS = 24 * 3600 * 1000

// Cache holds the templates and samplers of one exporter address. It is not
// safe for concurrent use.
//
// A template from a file is stale: usable at once, but it gives way to any
// other that the exporter sends, and is forgotten after StaleMS.
//
//	file ──► stale ── repeated ──► sure ◄── sent
//	           └── too old, restarted ──► forgotten
//
// A sure one is pinned: another layout under its key is a rival until one of
// them is sent again, or data tells which is meant (notes/security.md T2).
//
//	sure ── another layout ──► contested ── repeated, or outvoted ──► sure
type Cache struct {
	templates *lru.Map[Key, *entry]
	samplers  map[sampler]uint32
	size      int
	revision  uint64
	nowMS     int64
}

// entry is what is known about one key.
type entry struct {
	t      *Template
	sentMS int64 // when the exporter sent it last, Unix ms
	stale  bool
	rival  *Template // another layout, sent once since t was; nil for none
	votes  int       // data sets that fit the rival only, less those that fit t only
}

// settleVotes is how many data sets decide between two layouts.
const settleVotes = 4

// Tick tells the receive time of what follows, in Unix milliseconds.
func (c *Cache) Tick(nowMS int64) { c.nowMS = nowMS }

// sampler names a sampler of an observation domain; the domain's own rate
// has id anySampler.
type sampler struct {
	version uint8
	domain  uint32
	id      uint64
}

// anySampler is no sampler's id: ids have at most 8 bytes, and this one would
// have to be all ones.
const anySampler = ^uint64(0)

// NewCache returns an empty cache.
func NewCache() *Cache {
	return &Cache{templates: lru.New[Key, *entry](MaxTemplates)}
}

// Len returns the number of templates.
func (c *Cache) Len() int { return c.templates.Len() }

// Size returns roughly how many bytes the templates hold.
func (c *Cache) Size() int { return c.size }

// Revision grows whenever a template or a sampler is new, changed or
// forgotten.
func (c *Cache) Revision() uint64 { return c.revision }

// Lookup returns the template of a key, or nil, and marks it as used.
func (c *Cache) Lookup(key Key) *Template {
	if e, ok := c.templates.Get(key); ok {
		return e.t
	}
	return nil
}

// Find returns the template of a key and its rival, nil for none.
func (c *Cache) Find(key Key) (t, rival *Template) {
	if e, ok := c.templates.Get(key); ok {
		return e.t, e.rival
	}
	return nil, nil
}

// Unchanged reports whether a record repeats the template that is known, and
// marks that as used and sure. Exporters repeat their templates for
// ever, so this is the common case, and it costs a comparison of bytes.
func (c *Cache) Unchanged(key Key, options bool, raw []byte) bool {
	e, ok := c.templates.Get(key)
	if !ok || e.t.Options != options || !bytes.Equal(e.t.Raw, raw) {
		return false
	}
	e.sentMS, e.stale = c.nowMS, false
	c.drop(e)
	return true
}

// Contest notes another layout under the key of a pinned template. settled is
// the one in force if that decides it, because the rival was sent twice, and
// nil while it is open. ok is false if there is nothing to contest: the
// template is to be learnt.
func (c *Cache) Contest(t *Template) (settled *Template, ok bool) {
	e, known := c.templates.Get(t.Key)
	switch {
	case !known || e.stale:
		return nil, false
	case e.rival != nil && e.rival.Options == t.Options && bytes.Equal(e.rival.Raw, t.Raw):
		c.put(&entry{t: t, sentMS: c.nowMS})
		return t, true
	}
	c.drop(e)
	e.rival = t
	c.size += t.Size()
	return nil, true
}

// Vote counts a data set that fits one of two layouts only, and returns the
// template in force once there were enough, nil before.
func (c *Cache) Vote(key Key, forRival bool) (settled *Template) {
	e, ok := c.templates.Get(key)
	if !ok || e.rival == nil {
		panic("BUG: template: a vote without a contest")
	}
	if forRival {
		e.votes++
	} else {
		e.votes--
	}
	switch e.votes {
	case settleVotes:
		rival := e.rival
		c.put(&entry{t: rival, sentMS: c.nowMS})
		return rival
	case -settleVotes:
		c.drop(e)
		return e.t
	}
	return nil
}

// drop forgets a rival.
func (c *Cache) drop(e *entry) {
	if e.rival != nil {
		c.size -= e.rival.Size()
		e.rival, e.votes = nil, 0
	}
}

// Learn keeps a template that was sent. changed says that it replaced one
// of another layout, evicted that the one unused for longest was forgotten
// for it.
func (c *Cache) Learn(t *Template) (changed, evicted bool) {
	return c.put(&entry{t: t, sentMS: c.nowMS})
}

// Restore keeps a template from before a restart, stale, unless the exporter
// has sent one since.
func (c *Cache) Restore(t *Template, sentMS int64) (evicted bool) {
	if _, known := c.templates.Get(t.Key); known {
		return false
	}
	_, evicted = c.put(&entry{t: t, sentMS: sentMS, stale: true})
	return evicted
}

func (c *Cache) put(e *entry) (changed, evicted bool) {
	if old, ok := c.templates.Get(e.t.Key); ok {
		c.drop(old)
		c.size -= old.t.Size()
		changed = true
	}
	_, old, evicted := c.templates.Put(e.t.Key, e)
	if evicted {
		c.drop(old)
		c.size -= old.t.Size()
	}
	c.size += e.t.Size()
	c.revision++
	return changed, evicted
}

// Forget removes the template of a key (RFC 7011 §8.4, over TCP and TLS).
func (c *Cache) Forget(key Key) {
	if e, ok := c.templates.Get(key); ok {
		c.drop(e)
		c.size -= e.t.Size()
		c.templates.Delete(key)
		c.revision++
	}
}

// ForgetStale removes the stale templates of a version and domain, whose
// exporter has restarted, and returns how many there were.
func (c *Cache) ForgetStale(version uint8, domain uint32) int {
	return c.forget(func(key Key, e *entry) bool {
		return e.stale && key.Version() == version && key.Domain() == domain
	})
}

// ExpireStale removes the stale templates that the exporter has not sent for
// StaleMS, and returns how many there were.
func (c *Cache) ExpireStale(nowMS int64) int {
	return c.forget(func(_ Key, e *entry) bool { return e.stale && nowMS-e.sentMS > StaleMS })
}

func (c *Cache) forget(which func(Key, *entry) bool) int {
	var keys []Key
	for key, e := range c.templates.All() {
		if which(key, e) {
			keys = append(keys, key)
		}
	}
	for _, key := range keys {
		c.Forget(key)
	}
	return len(keys)
}

// All yields the templates from the newest used to the oldest.
func (c *Cache) All() iter.Seq2[Key, *Template] {
	return func(yield func(Key, *Template) bool) {
		for key, e := range c.templates.All() {
			if !yield(key, e.t) {
				return
			}
		}
	}
}

// Sent yields the templates from the newest used to the oldest, each with the
// Unix milliseconds when the exporter sent it last.
func (c *Cache) Sent() iter.Seq2[*Template, int64] {
	return func(yield func(*Template, int64) bool) {
		for _, e := range c.templates.All() {
			if !yield(e.t, e.sentMS) {
				return
			}
		}
	}
}

// SetSampler keeps the rate 1:rate of a sampler, and SetDomainRate that of a
// whole observation domain. They report false when the cache is full.
func (c *Cache) SetSampler(version uint8, domain uint32, id uint64, rate uint32) bool {
	return c.setRate(sampler{version, domain, id}, rate)
}

// SetDomainRate is described at SetSampler.
func (c *Cache) SetDomainRate(version uint8, domain, rate uint32) bool {
	return c.setRate(sampler{version, domain, anySampler}, rate)
}

func (c *Cache) setRate(s sampler, rate uint32) bool {
	if _, known := c.samplers[s]; !known && len(c.samplers) >= MaxSamplers {
		return false
	}
	if c.samplers == nil {
		c.samplers = make(map[sampler]uint32)
	}
	if c.samplers[s] != rate {
		c.samplers[s] = rate
		c.revision++
	}
	return true
}

// SamplerRate returns the rate of a sampler, or 0.
func (c *Cache) SamplerRate(version uint8, domain uint32, id uint64) uint32 {
	return c.samplers[sampler{version, domain, id}]
}

// DomainRate returns the rate of a whole observation domain, or 0.
func (c *Cache) DomainRate(version uint8, domain uint32) uint32 {
	return c.samplers[sampler{version, domain, anySampler}]
}

// Samplers calls f with each sampler's rate and with each domain's own, for
// which ofDomain is true.
func (c *Cache) Samplers(f func(version uint8, domain uint32, id uint64, ofDomain bool, rate uint32)) {
	for s, rate := range c.samplers {
		f(s.version, s.domain, s.id, s.id == anySampler, rate)
	}
}
