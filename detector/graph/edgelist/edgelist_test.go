package edgelist

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/flowhound/flowhound/detector/graph"
)

// text returns the links of a view by id.
func text(v *graph.View, ids []uint64) (s string) {
	for x := range graph.Vertex(v.Len()) {
		for y := range v.Out(x) {
			s += fmt.Sprintf("%d>%d ", ids[x], ids[y])
		}
	}
	return s
}

func TestRead(t *testing.T) {
	f := func(in string, o Options, want string, stats Stats) {
		t.Helper()
		for _, r := range []io.Reader{strings.NewReader(in), iotest.OneByteReader(strings.NewReader(in)), iotest.DataErrReader(strings.NewReader(in))} {
			v, ids, s, err := Read(r, "file", o)
			if err != nil {
				t.Errorf("%q: %v", in, err)
				return
			}
			stats.Bytes = int64(len(in))
			if got := text(v, ids); got != want || s != stats {
				t.Errorf("%q: got %q %+v, want %q %+v", in, got, s, want, stats)
			}
		}
	}
	f("", Options{}, "", Stats{})
	f("7 3\n3 7\n", Options{}, "3>7 7>3 ", Stats{Lines: 2, Links: 2})
	f("# c\n% c\n\n 1\t2 \r\n1,3\n1 , 4,0.5\n1 5 -2e3", Options{}, "1>2 1>3 1>4 1>5 ", Stats{Lines: 7, Links: 4})
	f("18446744073709551615 0\n00 007\n", Options{}, "0>7 18446744073709551615>0 ", Stats{Lines: 2, Links: 2})
	f("1 2000\n40000000 1\n99999999999 40000000\n5 5\n", Options{}, "1>2000 40000000>1 99999999999>40000000 ", Stats{Lines: 4, Links: 3, SelfLinks: 1})
	f("1 2\n1 2 9\n2 2\n", Options{}, "1>2 ", Stats{Lines: 3, Links: 1, Duplicates: 1, SelfLinks: 1})
	f("1 2\n2 1\n2 3\n", Options{Undirected: true}, "1>2 2>1 2>3 3>2 ", Stats{Lines: 3, Links: 4, Duplicates: 2})
	f("1 2\nx y\n3\n2 3\n", Options{SkipBad: true}, "1>2 2>3 ", Stats{Lines: 4, Links: 2, Bad: 2})
}

// Each error names the file, the line and the text.
func TestBadLines(t *testing.T) {
	f := func(in, want string) {
		t.Helper()
		_, _, _, err := Read(strings.NewReader(in), "dir/links.txt", Options{})
		if err == nil || err.Error() != want {
			t.Errorf("%q: got %v, want %s", in, err, want)
		}
	}
	f("1 2\n\n1 two\n", `dir/links.txt:3: destination id "two": not an unsigned decimal number`)
	f("one 2", `dir/links.txt:1: source id "one": not an unsigned decimal number`)
	f("-1 2", `dir/links.txt:1: source id "-1": not an unsigned decimal number`)
	f("1.5 2", `dir/links.txt:1: source id "1.5": not an unsigned decimal number`)
	f("1\n", `dir/links.txt:1: destination id is missing in "1"`)
	f("1,\n", `dir/links.txt:1: nothing follows the last comma`)
	f("1,,2\n", `dir/links.txt:1: a field between two commas is empty`)
	f("1 2 x\n", `dir/links.txt:1: weight "x": not a number`)
	f("1 2 3 4\n", `dir/links.txt:1: weight "3 4": not a number`)
	f("18446744073709551616 2\n", `dir/links.txt:1: source id "18446744073709551616": more than 2^64-1`)
	f("1 \x00\xff\n", `dir/links.txt:1: destination id "\x00\xff": not an unsigned decimal number`)
	f("1 "+strings.Repeat("9", 99), `dir/links.txt:1: destination id "`+strings.Repeat("9", 40)+`…": more than 2^64-1`)
	f("1 2\n"+strings.Repeat(" ", maxLine+1)+"\n", fmt.Sprintf("dir/links.txt:2: line of more than %d bytes", maxLine))
	f("1 2\n"+strings.Repeat("#", 3*1<<20), fmt.Sprintf("dir/links.txt:2: line of more than %d bytes", maxLine))
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	_, _ = w.Write([]byte("1 2\n"))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	f(packed.String(), "dir/links.txt: compressed with gzip: unpack it first")
	f("\x28\xb5\x2f\xfd\x04", "dir/links.txt: compressed with zstd: unpack it first")
	f("\xfd7zXZ\x00\x00", "dir/links.txt: compressed with xz: unpack it first")
	f("BZh91AY&SY", "dir/links.txt: compressed with bzip2: unpack it first")
	if _, _, _, err := Read(iotest.ErrReader(io.ErrClosedPipe), "x", Options{}); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("read error: got %v", err)
	}
}

func TestSeeds(t *testing.T) {
	ids, err := ReadSeeds(strings.NewReader("# known\n9\n3\n\n9\n"), "seeds")
	if err != nil || !slices.Equal(ids, []uint64{3, 9}) {
		t.Errorf("got %v %v, want 3 and 9", ids, err)
	}
	if _, err := ReadSeeds(strings.NewReader("9\n3 4\n"), "seeds"); err == nil || err.Error() != `seeds:2: id: "4" follows, want one id a line` {
		t.Errorf("two ids a line: got %v", err)
	}
	vertices, missing := Vertices([]uint64{1, 3, 8}, ids)
	if !slices.Equal(vertices, []graph.Vertex{1}) || missing != 1 {
		t.Errorf("got vertices %v, %d missing, want 1 and one missing", vertices, missing)
	}
}

func TestProgress(t *testing.T) {
	in := strings.Repeat("1 2\n", 1<<20)
	var last int64
	calls := 0
	_, _, _, err := Read(strings.NewReader(in), "x", Options{Progress: func(n int64) {
		if n <= last {
			t.Errorf("progress went from %d to %d", last, n)
		}
		last = n
		calls++
	}})
	if err != nil || last != int64(len(in)) || calls < 4 {
		t.Errorf("got %d bytes in %d calls, error %v, want %d bytes", last, calls, err, len(in))
	}
}

// FuzzRead: nothing panics, SkipBad never fails but for long lines and what is no
// text, and a graph written out as text reads as itself.
func FuzzRead(f *testing.F) {
	f.Add([]byte("1 2\n# c\n3,4,5\n\nx\n"))
	f.Add([]byte("1\t2\r\n18446744073709551615 1 1e9"))
	f.Fuzz(func(t *testing.T, in []byte) {
		v, ids, s, err := Read(bytes.NewReader(in), "fuzz", Options{SkipBad: true})
		if err != nil {
			if !strings.Contains(err.Error(), "line of more than") && compressedBy(in) == "" && !bytes.HasPrefix(in, []byte(magic)) {
				t.Fatal(err)
			}
			return
		}
		if !slices.IsSorted(ids) || len(ids) != v.Len() || s.Links != int64(v.Links()) {
			t.Fatalf("%d ids for %d vertices, stats %+v for %d links", len(ids), v.Len(), s, v.Links())
		}
		first := text(v, ids)
		v, ids, _, err = Read(strings.NewReader(strings.NewReplacer(">", " ", " ", "\n").Replace(first)), "again", Options{})
		if err != nil || text(v, ids) != first {
			t.Fatalf("wrote %q, read %q, error %v", first, text(v, ids), err)
		}
	})
}

func BenchmarkRead(b *testing.B) {
	rng := rand.New(rand.NewPCG(1, 1))
	var in bytes.Buffer
	for range 1_000_000 {
		fmt.Fprintf(&in, "%d %d\n", rng.Uint32N(280_000), rng.Uint32N(280_000)*15_000)
	}
	b.SetBytes(int64(in.Len()))
	for b.Loop() {
		if _, _, _, err := Read(bytes.NewReader(in.Bytes()), "x", Options{}); err != nil {
			b.Fatal(err)
		}
	}
}
