// Package template keeps the templates and samplers of one exporter and
// compiles each template to the few loads that a flow record needs. It covers
// NetFlow v9 (RFC 3954) and IPFIX (RFC 7011 §3.4) and bounds all that an
// exporter can make it hold.
//
// A template is known by version, observation domain and id, inside the cache
// of its exporter's address: never by the port that it was sent from, which
// changes when an exporter restarts.
package template

import (
	"errors"
	"fmt"
)

// Versions of export messages that carry templates.
const (
	V9    = 9
	IPFIX = 10
)

// Caps on what one template may ask for.
const (
	MaxFields    = 512    // fields of one template, scope fields included
	MaxLength    = 0xffff // bytes of one record
	MinID        = 256    // lower set ids are templates or reserved
	Variable     = 0xffff // a field of this length carries its length itself
	reversePEN   = 29305  // RFC 5103 §6.1: the reverse direction of a biflow
	enterpriseOn = 0x8000
)

var (
	// ErrMalformed occurs when a template record has an impossible id or
	// does not fit into its set.
	ErrMalformed = errors.New("malformed template")
	// ErrEmpty occurs when the records of a template would have no bytes: a
	// decoder that believed it would never reach the end of a set.
	ErrEmpty = errors.New("template without bytes")
	// ErrLimit occurs when a template has more than MaxFields fields or its
	// records more than MaxLength bytes.
	ErrLimit = errors.New("template above the limit")
	// ErrWithdrawal occurs when a template record withdraws a template.
	ErrWithdrawal = errors.New("template withdrawal")
)

// Key names a template within its exporter.
type Key uint64

// MakeKey returns the key of a version, observation domain (v9: source id) and
// template id.
func MakeKey(version uint8, domain uint32, id uint16) Key {
	return Key(version)<<48 | Key(domain)<<16 | Key(id)
}

// ID returns the template id.
func (k Key) ID() uint16 { return uint16(k) }

// Domain returns the observation domain.
func (k Key) Domain() uint32 { return uint32(k >> 16) }

// Version returns the version of the export protocol.
func (k Key) Version() uint8 { return uint8(k >> 48) }

// Field is one field specifier. Length is Variable where each record tells
// it. Enterprise is 0 for the elements that IANA registers.
type Field struct {
	ID, Length uint16
	Enterprise uint32
}

// Template is a compiled template. It does not change after Compile.
type Template struct {
	Key     Key
	Options bool
	Raw     []byte // the record as the exporter sent it

	// Length is the size of a record, or the least size where Runs is not
	// empty; 1 ≤ Length ≤ MaxLength.
	Length int
	// Runs tells the shape of a record with variable-length fields: Runs[k]
	// is the number of fixed bytes before variable field k; Tail counts those
	// after the last.
	Runs []uint16
	Tail int

	Ops        []Op
	StartClock Clock
	EndClock   Clock

	slots uint64 // set of the slots that Ops fill
}

// Has reports whether records of t fill slot s.
func (t *Template) Has(s Slot) bool { return t.slots&(1<<s) != 0 }

// HasAny reports whether records of t fill one of the slots.
func (t *Template) HasAny(slots ...Slot) bool {
	for _, s := range slots {
		if t.Has(s) {
			return true
		}
	}
	return false
}

// HasAddresses reports whether records of t have a source and a destination
// of one address family.
func (t *Template) HasAddresses() bool {
	return t.Has(Src4) && t.Has(Dst4) || t.Has(Src6) && t.Has(Dst6)
}

// Size returns roughly how many bytes of memory t holds.
func (t *Template) Size() int { return 256 + cap(t.Raw) + 2*cap(t.Runs) + 8*cap(t.Ops) }

// Compile checks a template and compiles it. scopes is the number of leading
// scope fields of an options template. It keeps raw, and none of fields.
func Compile(key Key, options bool, scopes int, fields []Field, raw []byte) (*Template, error) {
	if len(fields) > MaxFields {
		return nil, fmt.Errorf("template %d: %d fields: %w", key.ID(), len(fields), ErrLimit)
	}
	t := &Template{Key: key, Options: options, Raw: raw}
	var c compiler
	run := 0
	for i, f := range fields {
		if f.Length == Variable {
			t.Runs = append(t.Runs, uint16(run))
			t.Length += run + 1
			run = 0
			continue
		}
		// The scope types of v9 are a number space of their own (RFC 3954
		// §6.1); those of IPFIX are ordinary elements.
		if !(options && i < scopes && key.Version() == V9) {
			c.add(f, len(t.Runs), run)
		}
		if run += int(f.Length); run > MaxLength {
			return nil, fmt.Errorf("template %d: records above %d bytes: %w", key.ID(), MaxLength, ErrLimit)
		}
	}
	t.Tail = run
	t.Length += run
	switch {
	case t.Length == 0:
		return nil, fmt.Errorf("template %d: %w", key.ID(), ErrEmpty)
	case t.Length > MaxLength:
		return nil, fmt.Errorf("template %d: records above %d bytes: %w", key.ID(), MaxLength, ErrLimit)
	}
	c.finish(t)
	return t, nil
}
