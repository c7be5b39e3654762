package capture

import (
	"encoding/binary"
	"os"
)

// Messages returns the messages of a raw file.
func Messages(file string) (messages [][]byte, err error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	for len(b) > 0 {
		n := messageLength(b)
		messages = append(messages, b[:n])
		b = b[n:]
	}
	return messages, nil
}

// messageLength returns how long the first of the raw messages in b is.
// IPFIX tells its length; v5 tells its records, which is believed if another
// message, or the end, follows. Messages of v9 and sFlow tell nothing: one
// takes the whole rest.
func messageLength(b []byte) int {
	if len(b) < 4 {
		return len(b)
	}
	n := 0
	switch binary.BigEndian.Uint16(b) {
	case 5:
		n = 24 + 48*int(binary.BigEndian.Uint16(b[2:]))
	case 10:
		n = int(binary.BigEndian.Uint16(b[2:]))
		if n < 16 {
			return len(b)
		}
	}
	if n == 0 || n >= len(b) || !beginsMessage(b[n:]) {
		return len(b)
	}
	return n
}

// beginsMessage reports whether b looks like the header of a message of a
// known version, so that a wrong length does not cut a message in two.
func beginsMessage(b []byte) bool {
	if len(b) < 16 {
		return false
	}
	switch binary.BigEndian.Uint16(b) {
	case 5, 9, 10:
		return true
	}
	return false
}
