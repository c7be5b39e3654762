package wire

import (
	"bytes"
	"reflect"
	"testing"
)

// seal gives fuzzed bytes a right checksum, or no fuzzer would get past it.
func seal(b []byte) []byte { return appendChecksum(bytes.Clone(b), 0) }

func addGoldens(f *testing.F, control bool) {
	for _, g := range goldens() {
		if (g.c != nil) == control {
			b := g.encode()
			f.Add(b[:len(b)-crcBytes])
			f.Add(b[:len(b)/2])
		}
	}
}

// Whatever ReadBatch accepts survives writing and reading again.
func FuzzReadBatch(f *testing.F) {
	addGoldens(f, false)
	f.Fuzz(func(t *testing.T, b []byte) {
		h, cs, err := ReadBatch(seal(b), nil)
		if err != nil {
			if len(cs) != 0 {
				t.Fatalf("%d contacts beside the error %v", len(cs), err)
			}
			return
		}
		h2, cs2, err := ReadBatch(AppendBatch(nil, h, cs), nil)
		if err != nil || h2 != h || len(cs) != len(cs2) || len(cs) > 0 && !reflect.DeepEqual(cs, cs2) {
			t.Fatalf("second reading of %x: header %+v, want %+v, error %v", b, h2, h, err)
		}
	})
}

// A control message has one encoding: what is accepted is written the same.
func FuzzReadControl(f *testing.F) {
	addGoldens(f, true)
	f.Fuzz(func(t *testing.T, b []byte) {
		sealed := seal(b)
		c, err := ReadControl(sealed)
		if err != nil {
			return
		}
		if again := c.Append(nil); !bytes.Equal(again, sealed) {
			t.Fatalf("wrote %x after reading %x", again, sealed)
		}
	})
}
