package wire

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/flowhound/flowhound/internal/flow"
)

var update = flag.Bool("update", false, "rewrite the golden encodings in testdata")

// contacts returns n contacts as a collector would have them: one or two
// slices, heavy-tailed counters, some unanswered, sorted by Local or not.
func contacts(rng *rand.Rand, n int, shard flow.Shard, repeats int) []flow.Contact {
	cs := make([]flow.Contact, n)
	const start = 1_790_000_000_000
	tail := func(bits int) uint64 { return rng.Uint64() >> (64 - 1 - rng.IntN(bits)) }
	for i := range cs {
		c := &cs[i]
		c.Local.Shard, c.Remote.Shard = shard, flow.Shard(rng.Uint32())
		fill(rng, &c.Local.Pseudonym)
		fill(rng, &c.Remote.Pseudonym)
		if i > 0 && rng.IntN(repeats+1) > 0 {
			c.Local = cs[i-1].Local
		}
		c.FirstMS = start + rng.Int64N(10_000)
		c.LastMS = c.FirstMS + int64(tail(13))
		c.Slice = flow.SliceOf(c.LastMS, 300_000)
		c.Out = flow.Counters{Flows: uint32(1 + tail(4)), Packets: 1 + tail(9), Bytes: 40 + tail(20)}
		if rng.IntN(4) > 0 {
			c.In = flow.Counters{Flows: 1, Packets: 1 + tail(9), Bytes: 40 + tail(20)}
			c.Bits |= flow.BitIn | flow.BitAnswered
		}
		c.Port, c.Proto, c.Flags = uint16(tail(16)), 6, uint8(rng.Uint32()&0x3f)
		c.Bits |= flow.BitOut
	}
	return cs
}

func fill(rng *rand.Rand, p *flow.Pseudonym) {
	for i := range p {
		p[i] = byte(rng.Uint32())
	}
}

// extremes are contacts no collector sends but the format must carry.
func extremes() []flow.Contact {
	all := flow.Counters{Flows: math.MaxUint32, Packets: math.MaxUint64, Bytes: math.MaxUint64}
	ff := flow.Pseudonym(bytes.Repeat([]byte{0xff}, 16))
	return []flow.Contact{
		{Local: flow.Host{Shard: 255}},
		{
			Local: flow.Host{Pseudonym: ff, Shard: 255}, Remote: flow.Host{Pseudonym: ff, Shard: 255},
			Slice: math.MaxUint32, FirstMS: math.MaxInt64, LastMS: math.MinInt64, Out: all, In: all,
			Port: math.MaxUint16, Proto: 255, Flags: 255, Bits: 255,
		},
		{Local: flow.Host{Pseudonym: ff, Shard: 255}, FirstMS: math.MinInt64, LastMS: math.MaxInt64},
		{Local: flow.Host{Shard: 255}, FirstMS: -1, LastMS: 1, Port: 255, Slice: 256},
	}
}

type golden struct {
	name   string
	header Header
	cs     []flow.Contact // for a batch
	c      Control        // or nil
}

func goldens() []golden {
	rng := rand.New(rand.NewPCG(1, 2))
	commit := Commit{
		Collector: "pop-1", Incarnation: 3, Flush: 17, Ended: 5_966_666, Records: 1 << 40, Contacts: 12, Late: 1,
		AtMS: 1_790_000_000_123,
	}
	for i := range commit.Last {
		commit.Last[i] = uint64(i) * 37
	}
	h := Header{Collector: "pop-1", Incarnation: 3, Shard: 7, Seq: 1 << 33, Generation: 2}
	edge := Header{Collector: strings.Repeat("z", MaxName), Incarnation: math.MaxUint64, Shard: 255, Seq: math.MaxUint64, Generation: 255}
	var host flow.Host
	fill(rng, &host.Pseudonym)
	host.Shard = 9
	return []golden{
		{name: "batch-empty", header: h},
		{name: "batch", header: h, cs: contacts(rng, 5, 7, 1)},
		{name: "batch-extremes", header: edge, cs: extremes()},
		{name: "commit", c: commit},
		{name: "commit-zero", c: Commit{Collector: "a", AtMS: math.MinInt64}},
		{name: "close", c: Close{Slice: math.MaxUint32, Without: []string{"pop-2", "pop-3"}}},
		{name: "close-all", c: Close{Slice: 1}},
		{name: "seeds", c: Seeds{Source: "api", Hosts: []Seed{{Host: host, Generation: 1}, {}}}},
		{name: "seeds-none", c: Seeds{Source: "pop-1"}},
	}
}

func (g golden) encode() []byte {
	if g.c != nil {
		return g.c.Append(nil)
	}
	return AppendBatch(nil, g.header, g.cs)
}

// read decodes b and reports whether it is what g holds.
func (g golden) read(b []byte) (same bool, err error) {
	if g.c != nil {
		c, err := ReadControl(b)
		return reflect.DeepEqual(c, g.c), err
	}
	h, cs, err := ReadBatch(b, nil)
	return h == g.header && reflect.DeepEqual(cs, g.cs), err
}

// The bytes of a version never change: logs on disk outlive releases.
func TestGolden(t *testing.T) {
	for _, g := range goldens() {
		path := filepath.Join("testdata", g.name+".hex")
		got := g.encode()
		if *update {
			if err := os.WriteFile(path, []byte(hex.Dump(got)), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if hex.Dump(got) != string(want) {
			t.Errorf("%s: encoding changed:\n%s", g.name, hex.Dump(got))
		}
		if same, err := g.read(got); err != nil || !same {
			t.Errorf("%s: read back: same %v, error %v", g.name, same, err)
		}
	}
}

// CRC32C finds every burst of up to 32 bits, so no single byte may change
// without an error (RFC 3720 §12.1); a cut message fails it or its lengths.
func TestDamage(t *testing.T) {
	for _, g := range goldens() {
		b := g.encode()
		for n := range b {
			if _, err := g.read(b[:n]); err == nil {
				t.Errorf("%s cut to %d of %d bytes: no error", g.name, n, len(b))
			}
			if _, err := g.read(b[n+1:]); err == nil {
				t.Errorf("%s without its first %d bytes: no error", g.name, n+1)
			}
		}
		for i := range b {
			for bits := 1; bits < 256; bits++ {
				b[i] ^= byte(bits)
				if _, err := g.read(b); !errors.Is(err, ErrChecksum) {
					t.Fatalf("%s with byte %d flipped by %02x: got %v, want %v", g.name, i, bits, err, ErrChecksum)
				}
				b[i] ^= byte(bits)
			}
		}
		if _, err := g.read(append(b, 0)); err == nil {
			t.Errorf("%s with a byte more: no error", g.name)
		}
	}
}

func TestVersion(t *testing.T) {
	b := AppendBatch(nil, Header{Collector: "a"}, nil)
	b[0]++
	b = appendChecksum(b[:len(b)-crcBytes], 0)
	if _, _, err := ReadBatch(b, nil); !errors.Is(err, ErrVersion) {
		t.Errorf("version %d: got %v, want %v", b[0], err, ErrVersion)
	}
}

func TestCheckName(t *testing.T) {
	f := func(name string, want bool) {
		t.Helper()
		if err := CheckName(name); (err == nil) != want {
			t.Errorf("name %q: got %v, want good %v", name, err, want)
		}
	}
	f("pop-1", true)
	f(strings.Repeat("a", MaxName), true)
	f(strings.Repeat("a", MaxName+1), false)
	for _, bad := range []string{"", "POP", "a.b", "a b", "ä", "a>", "a*", "a\n"} {
		f(bad, false)
	}
}

func TestHeaderID(t *testing.T) {
	if got := (Header{Collector: "pop-1", Incarnation: 3, Shard: 7, Seq: 99}).ID(); got != "pop-1.3.7.99" {
		t.Errorf("id: got %s", got)
	}
}

// A writer's mistakes stop it at once, not the readers of the log later.
func TestWriterPanics(t *testing.T) {
	f := func(what string, write func()) {
		t.Helper()
		defer func() {
			if got, _ := recover().(string); !strings.HasPrefix(got, "BUG: ") {
				t.Errorf("%s: recovered %q, want a BUG", what, got)
			}
		}()
		write()
	}
	f("bad name", func() { AppendBatch(nil, Header{Collector: "A"}, nil) })
	f("foreign shard", func() { AppendBatch(nil, Header{Collector: "a", Shard: 1}, make([]flow.Contact, 1)) })
	f("many contacts", func() { AppendBatch(nil, Header{Collector: "a"}, make([]flow.Contact, MaxContacts+1)) })
	f("commit without a name", func() { Commit{}.Append(nil) })
	f("many seeds", func() { Seeds{Source: "a", Hosts: make([]Seed, MaxSeeds+1)}.Append(nil) })
	f("many collectors", func() { Close{Without: make([]string, MaxWithout+1)}.Append(nil) })
}
