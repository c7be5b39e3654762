package template

import "encoding/binary"

// Record is one template record as it stands in a set.
type Record struct {
	ID     uint16
	Fields int    // scope fields included
	Scopes int    // leading scope fields, 0 of a data template
	Bytes  []byte // the whole record, part of the set
}

// Next cuts the first template record off the body of a template set, or of
// an options template set, and returns what follows it. It allocates nothing
// and looks at nothing outside of body. Padding gives a record without bytes
// and no rest.
//
// With ErrEmpty, ErrWithdrawal and ErrLimit the record is whole and rest goes
// on behind it. With ErrMalformed there is no rest, unless only the id is
// impossible.
func Next(body []byte, version uint8, options bool) (rec Record, rest []byte, err error) {
	if len(body) < 4 {
		return Record{}, nil, nil
	}
	if binary.BigEndian.Uint32(body) == 0 {
		if !allZero(body) {
			err = ErrMalformed
		}
		return Record{}, nil, err
	}
	rec.ID = binary.BigEndian.Uint16(body)
	size, err := rec.header(body, version, options)
	if err != nil {
		return rec, rest, err
	}
	if rec.Fields == 0 {
		rec.Bytes, rest = body[:size], body[size:]
		if version == IPFIX && size == 4 {
			return rec, rest, ErrWithdrawal
		}
		return rec, rest, ErrEmpty
	}
	length := 0
	for range rec.Fields {
		if len(body)-size < 4 {
			return rec, nil, ErrMalformed
		}
		id, n := binary.BigEndian.Uint16(body[size:]), binary.BigEndian.Uint16(body[size+2:])
		size += 4
		if version == IPFIX && id&enterpriseOn != 0 {
			size += 4
		}
		length += int(n)
	}
	if size > len(body) {
		return rec, nil, ErrMalformed
	}
	rec.Bytes, rest = body[:size], body[size:]
	switch {
	case rec.ID < MinID:
		err = ErrMalformed
	case rec.Fields > MaxFields:
		err = ErrLimit
	case length == 0:
		err = ErrEmpty
	}
	return rec, rest, err
}

// header reads the counts of a record and returns the size of its header.
func (rec *Record) header(body []byte, version uint8, options bool) (size int, err error) {
	count := int(binary.BigEndian.Uint16(body[2:]))
	if !options || version == IPFIX && count == 0 {
		rec.Fields = count
		return 4, nil
	}
	if len(body) < 6 {
		return 0, ErrMalformed
	}
	second := int(binary.BigEndian.Uint16(body[4:]))
	if version == V9 {
		// RFC 3954 §6.1 counts in bytes: of scope fields, then of options.
		rec.Scopes, rec.Fields = count/4, count/4+second/4
		return 6, nil
	}
	rec.Scopes, rec.Fields = second, count
	if second > count {
		return 0, ErrMalformed
	}
	return 6, nil
}

func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
