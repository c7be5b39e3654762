package decode

import (
	"encoding/binary"
	"hash/crc32"
)

// Sealed puts a header and a checksum around entries of saved templates.
func Sealed(entries []byte) []byte {
	b := append([]byte(savedMagic+"\x01"), entries...)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}
