package decode

import (
	"bytes"
	"errors"
	"slices"

	"github.com/netsampler/goflow2/v2/decoders/netflow"

	"github.com/flowhound/flowhound/collector/template"
	"github.com/flowhound/flowhound/internal/flow"
)

// templates takes the records of a template set, or of an options template
// set, and decodes the sets that waited for them.
func (d *Decoder) templates(dst []flow.Record, e *exporter, m *message, body []byte, options bool) []flow.Record {
	for len(body) > 0 {
		rec, rest, err := template.Next(body, m.version, options)
		body = rest
		if err == nil && len(rec.Bytes) == 0 {
			break
		}
		if d.session != 0 && errors.Is(err, template.ErrWithdrawal) {
			d.withdraw(e, m, rec.ID, options)
			continue
		}
		d.countTemplate(err, options)
		if err == nil {
			dst, err = d.learn(dst, e, m, rec, options)
		}
		if err != nil {
			d.drop(e, reasonOf(err), 1)
		}
	}
	return dst
}

// countTemplate counts a record that names a template, usable or not.
func (d *Decoder) countTemplate(err error, options bool) {
	switch {
	case err != nil:
	case options:
		d.stats.OptionsTemplates++
	default:
		d.stats.Templates++
	}
}

// learn keeps a template that is new or has changed.
func (d *Decoder) learn(dst []flow.Record, e *exporter, m *message, rec template.Record, options bool) ([]flow.Record, error) {
	key := template.MakeKey(m.version, m.domain, rec.ID)
	pinned, rival := e.cache.Find(key)
	before := e.cache.Size()
	if e.cache.Unchanged(key, options, rec.Bytes) {
		if rival != nil {
			d.templateBytes += e.cache.Size() - before
			return d.release(dst, e, m, pinned), nil
		}
		return dst, nil
	}
	if d.newTemplates < 1 || d.newFields < rec.Fields {
		return dst, template.ErrLimit
	}
	d.newTemplates--
	d.newFields -= rec.Fields
	t, err := compile(key, rec, options)
	if err != nil {
		return dst, err
	}
	e.lastTemplate = nil
	changed, evicted := false, false
	// In a session nobody else can speak, and the order is sure.
	settled, contested := (*template.Template)(nil), false
	if d.session == 0 && !d.cfg.TrustTemplates {
		settled, contested = e.cache.Contest(t)
	}
	if !contested {
		changed, evicted = e.cache.Learn(t)
		settled = t
	}
	d.templateBytes += e.cache.Size() - before
	if evicted {
		d.stats.TemplateEvicted++
	}
	if contested && settled == nil {
		d.stats.TemplateContests++
		e.templateContests++
		d.boundTemplates(e)
		return dst, nil
	}
	if changed || contested {
		d.stats.TemplateChanges++
		e.templateChanges++
	}
	d.boundTemplates(e)
	return d.release(dst, e, m, settled), nil
}

// contested takes a data set whose template has a rival. What fits one of them
// only is a vote; until there are enough the set waits, so that no record is
// read by the wrong layout: neither a forged template nor the first moments of
// a true change make hosts that do not exist.
func (d *Decoder) contested(dst []flow.Record, e *exporter, s *stream, m *message, t, rival *template.Template, b []byte, n int) []flow.Record {
	var settled *template.Template
	if own := d.fits(t, b, n); own != d.fits(rival, b, n) {
		before := e.cache.Size()
		settled = e.cache.Vote(t.Key, !own)
		d.templateBytes += e.cache.Size() - before
	}
	if settled == nil {
		m.uncertain = true
		d.keep(e, m, t.Key, b[:n])
		return dst
	}
	if settled == rival {
		d.stats.TemplateChanges++
		e.templateChanges++
	}
	dst = d.release(dst, e, m, settled)
	return d.data(dst, e, s, m, settled, b, n)
}

// fits reports whether a set of n bytes is whole records of t, and at most 3
// zero bytes of padding (RFC 7011 §3.3.1).
func (d *Decoder) fits(t *template.Template, b []byte, n int) bool {
	off := n - n%t.Length
	if len(t.Runs) > 0 {
		d.bases = slices.Grow(d.bases[:0], len(t.Runs)+1)[:len(t.Runs)+1]
		for off = 0; n-off >= t.Length; {
			if off = d.segments(t, b[:n], off); off == 0 {
				return false
			}
		}
	}
	return n-off < 4 && off > 0 && allZero(b[off:n])
}

// boundTemplates forgets the exporters unused for longest while all templates
// together are above the cap. The exporter at hand is the newest.
func (d *Decoder) boundTemplates(e *exporter) {
	for d.templateBytes > MaxTemplateBytes && d.exporters.Len() > 1 {
		_, old, _ := d.exporters.Evict()
		if old == e {
			panic("BUG: decode: the exporter at hand is the oldest")
		}
		d.forget(old)
	}
}

// compile compiles a template record, and copies it.
func compile(key template.Key, rec template.Record, options bool) (*template.Template, error) {
	fields, err := parse(key.Version(), rec, options)
	if err != nil {
		return nil, err
	}
	return template.Compile(key, options, rec.Scopes, fields, bytes.Clone(rec.Bytes))
}

// parse gives a template record, whose lengths and counts have been checked,
// to goflow2's decoders.
func parse(version uint8, rec template.Record, options bool) ([]template.Field, error) {
	buf := bytes.NewBuffer(rec.Bytes)
	var scopes, fields []netflow.Field
	switch {
	case !options:
		records, err := netflow.DecodeTemplateSet(uint16(version), buf)
		if err != nil || len(records) != 1 {
			return nil, template.ErrMalformed
		}
		fields = records[0].Fields
	case version == template.V9:
		records, err := netflow.DecodeNFv9OptionsTemplateSet(buf)
		if err != nil || len(records) != 1 {
			return nil, template.ErrMalformed
		}
		scopes, fields = records[0].Scopes, records[0].Options
	default:
		records, err := netflow.DecodeIPFIXOptionsTemplateSet(buf)
		if err != nil || len(records) != 1 {
			return nil, template.ErrMalformed
		}
		scopes, fields = records[0].Scopes, records[0].Options
	}
	out := make([]template.Field, 0, len(scopes)+len(fields))
	for _, list := range [][]netflow.Field{scopes, fields} {
		for _, f := range list {
			field := template.Field{ID: f.Type, Length: f.Length}
			if f.PenProvided {
				// In options templates goflow2 leaves the bit that
				// announces an enterprise number set.
				field.ID &^= 0x8000
				field.Enterprise = f.Pen
			}
			out = append(out, field)
		}
	}
	if len(out) != rec.Fields {
		return nil, template.ErrMalformed
	}
	return out, nil
}

func reasonOf(err error) Reason {
	switch {
	case errors.Is(err, template.ErrWithdrawal):
		return TemplateWithdrawn
	case errors.Is(err, template.ErrEmpty):
		return TemplateEmpty
	case errors.Is(err, template.ErrLimit):
		return TemplateLimit
	}
	return TemplateMalformed
}
