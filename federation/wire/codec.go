package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// version is that of the control messages, batchVersion that of batches.
const (
	version      = 1
	batchVersion = 2
)

// Kinds of message, the second byte of each.
const (
	kindBatch  = 'B'
	kindCommit = 'C'
	kindClose  = 'E'
	kindSeeds  = 'S'
)

var (
	// ErrChecksum occurs when a message was damaged or cut.
	ErrChecksum = errors.New("checksum does not match")
	// ErrVersion occurs when another release wrote the message.
	ErrVersion = errors.New("version of another release")

	errShort = errors.New("too short")
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// appendChecksum ends the message that began at b[start].
func appendChecksum(b []byte, start int) []byte {
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b[start:], castagnoli))
}

// open checks the frame of a message and returns what is inside. The checksum
// comes first, so that a damaged version byte is called damage.
func open(b []byte) (kind byte, body []byte, err error) {
	if len(b) < 2+crcBytes {
		return 0, nil, errShort
	}
	end := len(b) - crcBytes
	if crc32.Checksum(b[:end], castagnoli) != binary.LittleEndian.Uint32(b[end:]) {
		return 0, nil, ErrChecksum
	}
	want := byte(version)
	if b[1] == kindBatch {
		want = batchVersion
	}
	if b[0] != want {
		return 0, nil, fmt.Errorf("%w: got %d, want %d", ErrVersion, b[0], want)
	}
	return b[1], b[2:end], nil
}

// reader takes a message apart. After the first error it yields zeros.
type reader struct {
	b   []byte
	err error
}

func (r *reader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
	r.b = nil
}

func (r *reader) bytes(n int) []byte {
	if n > len(r.b) {
		r.fail(errShort)
		return nil
	}
	b := r.b[:n]
	r.b = r.b[n:]
	return b
}

func (r *reader) byte() byte {
	if b := r.bytes(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) uint64() uint64 {
	if b := r.bytes(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

// uvarint reads a varint in its shortest form: every message has exactly one
// encoding.
func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 || n > 1 && r.b[n-1] == 0 {
		r.fail(errors.New("bad varint"))
		return 0
	}
	r.b = r.b[n:]
	return v
}

// count reads the number of items of at least size bytes each that follow.
func (r *reader) count(limit, size int) int {
	n := r.uvarint()
	if n > uint64(limit) || n*uint64(size) > uint64(len(r.b)) {
		r.fail(fmt.Errorf("%d items in %d bytes", n, len(r.b)))
		return 0
	}
	return int(n)
}

func (r *reader) name() string {
	b := r.bytes(int(r.byte()))
	if r.err == nil && !validName(b) {
		r.fail(errors.New("bad name"))
	}
	if r.err != nil {
		return ""
	}
	return string(b)
}

// appendName appends the length and the bytes of a name, which must be valid.
func appendName(b []byte, name string) []byte {
	if !validName(name) {
		panic(fmt.Sprintf("BUG: name %q in a message", clip(name)))
	}
	return append(append(b, byte(len(name))), name...)
}
