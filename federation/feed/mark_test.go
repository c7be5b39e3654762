package feed

import (
	"testing"

	"github.com/nats-io/nats.go"
)

// A header that is no mark reads as none; one that is comes back the same.
func FuzzMark(f *testing.F) {
	for _, text := range []string{"", "18a.7.ffffffff", "18a.7", "18a.7.100000000", "x.1.1", "1.-1.1", "1.2.3.4", "ffffffffffffffff.18446744073709551615.0"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		h := nats.Header{}
		h.Set(markHeader, text)
		m := readMark(h)
		if again := readMark(m.header()); again != m {
			t.Errorf("%q: got %+v, then %+v", text, m, again)
		}
	})
}

func TestMark(t *testing.T) {
	want := mark{log: 0x18a, seq: 7, checksum: 0xffffffff}
	if got := want.header().Get(markHeader); got != "18a.7.ffffffff" || readMark(want.header()) != want {
		t.Errorf("header %q reads as %+v, want %+v", got, readMark(want.header()), want)
	}
	if got := checksumOf([]byte{9, 1, 2, 3, 4}); got != 0x04030201 {
		t.Errorf("checksum: got %#x", got)
	}
}
