package session

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"
)

// message returns an IPFIX message of n ≥ 16 bytes that are all fill behind
// its length.
func message(n int, fill byte) []byte {
	b := bytes.Repeat([]byte{fill}, n)
	binary.BigEndian.PutUint16(b, 10)
	binary.BigEndian.PutUint16(b[2:], uint16(n))
	return b
}

func stream(messages ...[]byte) []byte { return bytes.Join(messages, nil) }

// RFC 7011 §3.1, §10.4: the length field, header included, tells where the
// next message begins.
func TestRFC7011Section31Split(t *testing.T) {
	f := func(b []byte, wantLengths []int, wantUsed int, wantErr error) {
		t.Helper()
		got, used, err := Split(nil, b)
		if used != wantUsed || !errors.Is(err, wantErr) || len(got) != len(wantLengths) {
			t.Errorf("%x: got %d messages, %d bytes, %v; want %v, %d, %v", b[:min(len(b), 20)], len(got), used, err, wantLengths, wantUsed, wantErr)
			return
		}
		for i, m := range got {
			if len(m) != wantLengths[i] {
				t.Errorf("%x: message %d has %d bytes, want %d", b[:min(len(b), 20)], i, len(m), wantLengths[i])
			}
		}
	}
	whole := stream(message(16, 1), message(20, 2), message(0xffff, 3))
	f(nil, nil, 0, nil)
	f(whole, []int{16, 20, 0xffff}, len(whole), nil)
	f(whole[:35], []int{16}, 16, nil)
	f(whole[:len(whole)-1], []int{16, 20}, 36, nil)
	f([]byte{0}, nil, 0, nil)
	f([]byte{0, 10, 0}, nil, 0, nil)
	f([]byte{0, 9}, nil, 0, ErrVersion)
	f([]byte{0, 5, 0, 1, 2, 3, 4, 5}, nil, 0, ErrVersion)
	f([]byte("GET / HTTP/1.1\r\n\r\n"), nil, 0, ErrVersion)
	f(stream(message(16, 1), []byte{0, 10, 0, 15}), []int{16}, 16, ErrLength)
	f(stream(message(16, 1), []byte{0, 10, 0, 0}), []int{16}, 16, ErrLength)
	f(stream(message(16, 1), []byte{1}), []int{16}, 16, nil)
	f(stream(message(16, 1), []byte{1, 0}), []int{16}, 16, ErrVersion)
}

// FuzzSplit holds Split to its definition: the messages are the bytes in
// order, each as long as it says, and what is read in two pieces is read the
// same.
func FuzzSplit(f *testing.F) {
	f.Add(stream(message(16, 1), message(300, 2), message(17, 3)), uint16(20))
	f.Add(stream(message(16, 1), []byte{0, 10, 0, 3}), uint16(17))
	f.Add(stream(message(16, 1), []byte{0, 9, 0, 30}), uint16(18))
	f.Add([]byte{0, 10, 0xff, 0xff, 1}, uint16(3))
	f.Fuzz(func(t *testing.T, b []byte, cut uint16) {
		messages, used, err := Split(nil, b)
		if got := bytes.Join(messages, nil); !bytes.Equal(got, b[:used]) {
			t.Fatalf("messages are not the first %d bytes", used)
		}
		for i, m := range messages {
			if len(m) < 16 || m[0] != 0 || m[1] != 10 || int(m[2])<<8|int(m[3]) != len(m) {
				t.Fatalf("message %d: %d bytes, header %x", i, len(m), m[:min(4, len(m))])
			}
		}
		if rest := b[used:]; err == nil && len(rest) >= 4 && int(rest[2])<<8|int(rest[3]) <= len(rest) {
			t.Fatalf("a whole message is left: %x", rest[:4])
		}
		k := int(cut) % (len(b) + 1)
		first, n, firstErr := Split(nil, b[:k])
		if firstErr != nil {
			if !errors.Is(err, firstErr) || n != used || len(first) != len(messages) {
				t.Fatalf("first %d bytes end in %v after %d, the whole in %v after %d", k, firstErr, n, err, used)
			}
			return
		}
		second, m, secondErr := Split(nil, b[n:])
		if len(first)+len(second) != len(messages) || n+m != used || !errors.Is(secondErr, err) {
			t.Fatalf("cut at %d: %d and %d messages of %d, %d bytes of %d, %v of %v", k, len(first), len(second), len(messages), n+m, used, secondErr, err)
		}
	})
}
