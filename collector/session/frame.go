package session

import (
	"encoding/binary"
	"errors"
)

// Sizes of IPFIX messages (RFC 7011 §3.1).
const (
	headerSize = 16
	maxMessage = 0xffff
	version    = 10
)

var (
	// ErrVersion occurs when what comes is no IPFIX message.
	ErrVersion = errors.New("not an IPFIX message")
	// ErrLength occurs when a message claims to be shorter than its header.
	ErrLength = errors.New("message shorter than its header")
)

// Split cuts the whole messages off the front of b and appends them to dst;
// they are parts of b. used is how many bytes they took: what follows is the
// beginning of a message, or with an error of something else, behind which
// nothing can be told apart any more (RFC 7011 §10.4: the length in the header
// is all that separates messages).
func Split(dst [][]byte, b []byte) (messages [][]byte, used int, err error) {
	for {
		rest := b[used:]
		if len(rest) >= 2 && binary.BigEndian.Uint16(rest) != version {
			return dst, used, ErrVersion
		}
		if len(rest) < 4 {
			return dst, used, nil
		}
		n := int(binary.BigEndian.Uint16(rest[2:]))
		if n < headerSize {
			return dst, used, ErrLength
		}
		if n > len(rest) {
			return dst, used, nil
		}
		dst = append(dst, rest[:n])
		used += n
	}
}
