package edgelist

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/flowhound/flowhound/detector/graph"
)

// sealed returns the binary form as the package comment specifies it.
func sealed(width byte, count uint64, pairs ...uint64) []byte {
	b := append([]byte("FHEDGE"), 1, width)
	b = binary.LittleEndian.AppendUint64(b, count)
	for _, id := range pairs {
		if width == 4 {
			b = binary.LittleEndian.AppendUint32(b, uint32(id))
		} else {
			b = binary.LittleEndian.AppendUint64(b, id)
		}
	}
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
}

func TestReadBinary(t *testing.T) {
	f := func(in []byte, o Options, want string, stats Stats) {
		t.Helper()
		stats.Bytes = int64(len(in))
		for _, r := range []io.Reader{bytes.NewReader(in), iotest.OneByteReader(bytes.NewReader(in)), iotest.DataErrReader(bytes.NewReader(in))} {
			v, ids, s, err := Read(r, "file", o)
			if err != nil {
				t.Fatalf("%x: %v", in, err)
			}
			if got := text(v, ids); got != want || s != stats {
				t.Errorf("%x: got %q %+v, want %q %+v", in, got, s, want, stats)
			}
		}
	}
	f(sealed(4, 0), Options{}, "", Stats{})
	f(sealed(4, 3, 7, 3, 3, 7, 7, 3), Options{}, "3>7 7>3 ", Stats{Lines: 3, Links: 2, Duplicates: 1})
	f(sealed(8, 2, 1<<63, 3, 5, 5), Options{}, "9223372036854775808>3 ", Stats{Lines: 2, Links: 1, SelfLinks: 1})
	f(sealed(8, 1, 1, 2), Options{Undirected: true}, "1>2 2>1 ", Stats{Lines: 1, Links: 2})
}

// Whatever byte changes or is missing, it is an error that names the offset.
func TestBadBinary(t *testing.T) {
	good := sealed(4, 3, 7, 3, 3, 7, 1, 2)
	f := func(in []byte, want string) {
		t.Helper()
		v, _, _, err := Read(bytes.NewReader(in), "links.bin", Options{SkipBad: true})
		if v != nil || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%x: got %v, want %q in it", in, err, want)
		}
	}
	for i := range good {
		want := "links.bin: offset "
		if i < len(magic) {
			continue // a text, and not a good one: see below
		}
		for _, flip := range []byte{1, 0x80, 0xff} {
			b := slices.Clone(good)
			b[i] ^= flip
			f(b, want)
		}
		f(good[:i], want)
	}
	bad := slices.Clone(good)
	bad[0] = 'G'
	if _, _, _, err := Read(bytes.NewReader(bad), "links.bin", Options{}); err == nil {
		t.Error("another magic: got no error")
	}
	f(good[:20], "links.bin: offset 20: unexpected EOF, 0 of 3 links were read")
	f(append(slices.Clone(good), 0), "offset 44: more follows the checksum")
	f(sealed(5, 0), "offset 16: ids of 5 bytes: want 4 or 8")
	f(sealed(4, 1<<40), "offset 16: 1099511627776 links: want at most")
	bad = sealed(4, 0)
	bad[6] = 2
	f(bad, "offset 16: version 2 of the binary form: want 1")
}

// What is written is read again, hosts without links too.
func TestWriteBinary(t *testing.T) {
	for seed := range uint64(50) {
		rng := rand.New(rand.NewPCG(seed, 1))
		n := 1 + rng.IntN(40)
		ids := make([]uint64, n)
		for i := range ids {
			ids[i] = uint64(i) << (rng.IntN(2) * int(seed%2) * 40)
		}
		slices.Sort(ids)
		ids = slices.Compact(ids)
		n = len(ids)
		src, dst := make([]uint32, rng.IntN(60)), make([]uint32, 0)
		for i := range src {
			src[i] = rng.Uint32N(uint32(n))
			dst = append(dst, rng.Uint32N(uint32(n)))
		}
		v := graph.FromLinks(n, src, dst)
		var b bytes.Buffer
		if err := Write(&b, v, ids); err != nil {
			t.Fatal(err)
		}
		again, gotIDs, _, err := Read(&b, "file", Options{})
		if err != nil || !slices.Equal(gotIDs, ids) || text(again, gotIDs) != text(v, ids) {
			t.Fatalf("seed %d: got %q of %v (%v), want %q of %v", seed, text(again, gotIDs), gotIDs, err, text(v, ids), ids)
		}
	}
	v := graph.FromLinks(2, []uint32{0}, []uint32{1})
	if err := Write(failing{}, v, []uint64{1, 2}); err == nil {
		t.Error("a full disk: got no error")
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, io.ErrShortWrite }

// FuzzBinary: whatever follows the magic is an error or a graph that can be
// written and read again.
func FuzzBinary(f *testing.F) {
	f.Add(sealed(4, 2, 1, 2, 2, 3))
	f.Add(sealed(8, 1, 1<<40, 2))
	f.Fuzz(func(t *testing.T, in []byte) {
		v, ids, s, err := Read(bytes.NewReader(append([]byte(magic), in...)), "file", Options{})
		if err != nil {
			return
		}
		if s.Bytes != int64(len(magic)+len(in)) {
			t.Fatalf("read %d of %d bytes", s.Bytes, len(magic)+len(in))
		}
		var b bytes.Buffer
		if err := Write(&b, v, ids); err != nil {
			t.Fatal(err)
		}
		again, gotIDs, _, err := Read(&b, "file", Options{})
		if err != nil || text(again, gotIDs) != text(v, ids) {
			t.Fatalf("written and read again: %v", err)
		}
	})
}

// BenchmarkForms reads the same million links in both forms.
func BenchmarkForms(b *testing.B) {
	rng := rand.New(rand.NewPCG(1, 1))
	var lines bytes.Buffer
	for range 1_000_000 {
		fmt.Fprintln(&lines, rng.Uint32N(1<<18)*7919, rng.Uint32N(1<<18)*7919)
	}
	v, ids, _, err := Read(bytes.NewReader(lines.Bytes()), "text", Options{})
	if err != nil {
		b.Fatal(err)
	}
	var pairs bytes.Buffer
	if err := Write(&pairs, v, ids); err != nil {
		b.Fatal(err)
	}
	f := func(name string, in []byte) {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(in)))
			for b.Loop() {
				if _, _, _, err := Read(bytes.NewReader(in), name, Options{}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)*float64(v.Links())/b.Elapsed().Seconds()/1e6, "Mlinks/s")
		})
	}
	f("text", lines.Bytes())
	f("binary", pairs.Bytes())
}
