package wire

import (
	"encoding/binary"
	"fmt"
	"slices"
)

// Renumber returns a copy of an encoded batch with another incarnation and
// another Seq. It panics if b is not what AppendBatch makes: whoever asks has
// read its header before.
func Renumber(b []byte, incarnation, seq uint64) []byte {
	if len(b) < batchFixed+crcBytes || b[0] != batchVersion || b[1] != kindBatch {
		panic(fmt.Sprintf("BUG: %d bytes to renumber are not a batch", len(b)))
	}
	b = slices.Clone(b)
	at := 3 + int(b[2]) // behind the name
	binary.LittleEndian.PutUint64(b[at:], incarnation)
	binary.LittleEndian.PutUint64(b[at+8:], seq)
	return appendChecksum(b[:len(b)-crcBytes], 0)
}
