package decode

import (
	"bytes"
	"errors"

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
	if e.cache.Unchanged(key, options, rec.Bytes) {
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
	d.templateBytes -= e.cache.Size()
	changed, evicted := e.cache.Learn(t)
	d.templateBytes += e.cache.Size()
	if changed {
		d.stats.TemplateChanges++
		e.templateChanges++
	}
	if evicted {
		d.stats.TemplateEvicted++
	}
	d.boundTemplates(e)
	return d.release(dst, e, m, t), nil
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
