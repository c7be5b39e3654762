package decode

import (
	"math"

	"github.com/flowhound/flowhound/collector/template"
	"github.com/flowhound/flowhound/internal/flow"
)

// SamplingRule is what the configuration says about an exporter's sampling.
type SamplingRule struct {
	Rate  uint32 // 1:Rate where the exporter tells none; 0 means 1
	Force bool   // use Rate even where the exporter tells another
}

// Sampling rates are looked for in this order: the rule where it is forced,
// the record, the record's sampler, the observation domain, the rule, 1.

// baseRate is the rate of a domain's records that bring no own.
func (s *stream) baseRate(rule SamplingRule, withSampler bool) uint32 {
	switch {
	case rule.Force:
		return max(rule.Rate, 1)
	case s.rate != 0:
		return s.rate
	case s.samplerRate != 0 && !withSampler:
		// The exporter described a sampler, and its records do not say
		// which one took them.
		return s.samplerRate
	}
	return max(rule.Rate, 1)
}

// sample sets the rate of each record of a chunk and undoes the sampling.
func (d *Decoder) sample(recs []flow.Record, e *exporter, s *stream, t *template.Template) {
	withSampler := t.Has(template.SamplerID)
	base := s.baseRate(e.rule, withSampler)
	own := t.HasAny(template.Interval, template.Population)
	if e.rule.Force || !own && !withSampler {
		e.sampling = base
		if base == 1 {
			return
		}
		for i := range recs {
			upscale(&recs[i], base)
		}
		return
	}
	ids := d.cols.of(template.SamplerID)
	lastID, lastRate := uint64(0), uint32(0)
	for i := range recs {
		rate := uint32(0)
		if own {
			rate = d.ownRate(t, i)
		}
		if rate == 0 && withSampler {
			if lastRate == 0 || ids[i] != lastID {
				lastID = ids[i]
				lastRate = e.cache.SamplerRate(s.version, s.domain, lastID)
				if lastRate == 0 {
					lastRate = base
				}
			}
			rate = lastRate
		}
		if rate == 0 {
			rate = base
		}
		e.sampling = rate
		if rate != 1 {
			upscale(&recs[i], rate)
		}
	}
}

// ownRate returns the rate that record i of the chunk brings itself, or 0.
func (d *Decoder) ownRate(t *template.Template, i int) uint32 {
	value := func(s template.Slot) uint64 {
		if !t.Has(s) {
			return 0
		}
		return d.cols.of(s)[i]
	}
	if size, population := value(template.Size), value(template.Population); size != 0 && population != 0 {
		return rateOf(population / size)
	}
	interval, space := value(template.Interval), value(template.Space)
	if interval != 0 && space != 0 {
		// Without a space, exporters mean 1:interval, whatever RFC 5477
		// §8.2 says about a run of packets.
		return rateOf((interval + space) / interval)
	}
	return rateOf(interval)
}

func rateOf(n uint64) uint32 { return uint32(min(n, math.MaxUint32)) }

// options reads the samplers, and the start of the exporter's clock, from a
// chunk of options records.
func (d *Decoder) options(e *exporter, s *stream, t *template.Template, n int) {
	if t.Has(template.InitTime) {
		s.initMS = int64(d.cols.of(template.InitTime)[n-1])
	}
	if !t.HasAny(template.Interval, template.Population) {
		return
	}
	for i := range n {
		rate := d.ownRate(t, i)
		if rate == 0 {
			continue
		}
		ok := false
		if t.Has(template.SamplerID) {
			s.samplerRate = rate
			ok = e.cache.SetSampler(s.version, s.domain, d.cols.of(template.SamplerID)[i], rate)
		} else {
			s.rate = rate
			ok = e.cache.SetDomainRate(s.version, s.domain, rate)
		}
		if !ok {
			d.drop(e, SamplerLimit, 1)
		}
	}
}
