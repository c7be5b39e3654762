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

// Cache holds the templates and samplers of one exporter address. It is not
// safe for concurrent use.
type Cache struct {
	templates *lru.Map[Key, *Template]
	samplers  map[sampler]uint32
	size      int
}

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
	return &Cache{templates: lru.New[Key, *Template](MaxTemplates)}
}

// Len returns the number of templates.
func (c *Cache) Len() int { return c.templates.Len() }

// Size returns roughly how many bytes the templates hold.
func (c *Cache) Size() int { return c.size }

// Lookup returns the template of a key, or nil, and marks it as used.
func (c *Cache) Lookup(key Key) *Template {
	t, _ := c.templates.Get(key)
	return t
}

// Unchanged reports whether a record repeats the template that is known, and
// marks that as used. Exporters repeat their templates for ever, so this is
// the common case, and it costs a comparison of bytes.
func (c *Cache) Unchanged(key Key, options bool, raw []byte) bool {
	t, ok := c.templates.Get(key)
	return ok && t.Options == options && bytes.Equal(t.Raw, raw)
}

// Learn keeps a template. changed says that it replaced one of another
// layout, evicted that the one unused for longest was forgotten for it.
func (c *Cache) Learn(t *Template) (changed, evicted bool) {
	if old, ok := c.templates.Get(t.Key); ok {
		c.size -= old.Size()
		changed = true
	}
	_, old, evicted := c.templates.Put(t.Key, t)
	if evicted {
		c.size -= old.Size()
	}
	c.size += t.Size()
	return changed, evicted
}

// Forget removes the template of a key (RFC 7011 §8.4, over TCP and TLS).
func (c *Cache) Forget(key Key) {
	if t, ok := c.templates.Get(key); ok {
		c.size -= t.Size()
		c.templates.Delete(key)
	}
}

// All yields the templates from the newest used to the oldest.
func (c *Cache) All() iter.Seq2[Key, *Template] { return c.templates.All() }

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
	c.samplers[s] = rate
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
