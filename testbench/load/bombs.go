package load

import "slices"

// Bombs returns packets that hurt other collectors, by the numbers of
// notes/collector.md §1.2 and notes/security.md §3. Version 9 ones come in one
// packet, template and data; a packet never has more than 1400 bytes.
func Bombs() [][]byte {
	// many repeats a field specifier.
	many := func(n int, element, length uint16) []byte {
		return slices.Repeat(words(element, length), n)
	}
	template := func(id uint16, fields int, specifiers []byte) []byte {
		return append(words(id, uint16(fields)), specifiers...)
	}
	four := []byte{1, 2, 3, 4}
	lying5 := append(words(5, 65535), make([]byte, 20)...)
	sflow := slices.Concat(long(5, 1, 0x7f000001, 0, 1, 1000, 1), // version, agent, sub-agent, sequence, uptime, samples
		long(3, 44, 1, 0, 3, 1, 1, 0, 0, 1, 0, 2, 0x0fffffff)) // expanded flow sample of 2^28 records
	list := [][]byte{
		message(10, set(2, template(256, 0, nil)), set(256, four)),        // D1
		message(9, set(0, template(256, 1, words(8, 0))), set(256, four)), // D2
		message(9, set(1, words(256, 0, 0)), set(256, four)),              // D3
		sflow,                                 // D4
		lying5,                                // D5
		message(9, set(0, words(256, 65535))), // D6
		message(9, set(0, template(256, 340, many(340, 1, 4)))),                                             // D7
		message(10, set(2, template(256, 2, words(82, 65535, 8, 4))), set(256, []byte{250, 1, 2, 3, 4, 5})), // D14
		message(9, set(0, template(256, 300, many(300, 1, 0))), set(256, make([]byte, 100))),                // zero-length fields
		message(10, set(2, template(256, 200, many(200, 82, 65535))), set(256, make([]byte, 500))),          // empty strings
	}
	var small, unknown []byte
	for i := range uint16(100) {
		small = append(small, template(300+i, 1, words(8, 4))...)
		unknown = append(unknown, set(1000+i, four)...)
	}
	return append(list, message(9, set(0, small)), message(9, unknown), message(9, set(999, make([]byte, 1300))))
}

// wideTemplate is a template of 340 fields, the largest that fits one packet.
func wideTemplate() []byte {
	return message(9, set(0, append(words(256, 340), slices.Repeat(words(1, 4), 340)...)))
}

func words(v ...uint16) (b []byte) {
	for _, x := range v {
		b = be.AppendUint16(b, x)
	}
	return b
}

func long(v ...uint32) (b []byte) {
	for _, x := range v {
		b = be.AppendUint32(b, x)
	}
	return b
}

func set(id uint16, body []byte) []byte {
	return append(words(id, uint16(4+len(body))), body...)
}

func message(version uint16, sets ...[]byte) []byte {
	body := slices.Concat(sets...)
	if version == 10 {
		return slices.Concat(words(10, uint16(16+len(body))), long(1_700_000_000, 0, 1), body)
	}
	return slices.Concat(words(9, uint16(len(sets))), long(hourMS, 1_700_000_000, 0, 1), body)
}
