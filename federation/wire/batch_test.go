package wire

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"reflect"
	"runtime"
	"testing"

	"github.com/flowhound/flowhound/internal/flow"
)

// naive reads a batch field by field as the layout comment tells it.
func naive(b []byte) (h Header, cs []flow.Contact) {
	u := func(n int) (v uint64) {
		for i := range n {
			v |= uint64(b[i]) << (8 * i)
		}
		b = b[n:]
		return v
	}
	u(2)
	n := u(1)
	h.Collector = string(b[:n])
	b = b[n:]
	h.Incarnation, h.Seq = u(8), u(8)
	h.Shard, h.Generation = flow.Shard(u(1)), flow.Generation(u(1))
	cs = make([]flow.Contact, u(4))
	originMS, originSlice := int64(u(8)), flow.Slice(u(4))
	same, wide := make([]bool, len(cs)), make([]bool, len(cs))
	for i := range cs {
		c := &cs[i]
		words := []uint64{u(8), u(8), u(8)}
		field := func(bits int) (v uint64) { // of the first word
			v = words[0] % (1 << bits)
			words[0] >>= bits
			return v
		}
		c.Remote.Shard, c.Proto, c.Flags, c.Bits = flow.Shard(field(8)), uint8(field(8)), uint8(field(8)), uint8(field(8))
		c.Port, c.Out.Packets = uint16(field(16)), field(16)
		words = words[1:]
		c.LastMS = originMS + int64(field(21))
		c.FirstMS = c.LastMS - int64(field(21))
		c.Slice = originSlice + flow.Slice(field(4))
		same[i], wide[i] = field(1) == 1, field(1) == 1
		c.Out.Flows, c.In.Flows = uint32(field(8)), uint32(field(8))
		words = words[1:]
		c.Out.Bytes, c.In.Bytes, c.In.Packets = field(24), field(24), field(16)
		b = b[copy(c.Remote.Pseudonym[:], b):]
	}
	for i := range cs {
		c := &cs[i]
		c.Local.Shard = h.Shard
		if same[i] {
			c.Local = cs[i-1].Local
		} else {
			b = b[copy(c.Local.Pseudonym[:], b):]
		}
		if wide[i] {
			c.FirstMS, c.LastMS = int64(u(8)), int64(u(8))
			c.Out.Packets, c.Out.Bytes, c.In.Packets, c.In.Bytes = u(8), u(8), u(8), u(8)
			c.Slice, c.Out.Flows, c.In.Flows = flow.Slice(u(4)), uint32(u(4)), uint32(u(4))
		}
	}
	if len(b) != crcBytes {
		panic("bytes are left")
	}
	return h, cs
}

func TestBatchAgainstNaive(t *testing.T) {
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 0))
		h := Header{Collector: "pop-1", Incarnation: rng.Uint64(), Shard: flow.Shard(rng.Uint32()), Seq: rng.Uint64(), Generation: 1}
		cs := contacts(rng, rng.IntN(200), h.Shard, rng.IntN(4))
		if seed%3 == 0 {
			for _, c := range extremes() {
				c.Local.Shard = h.Shard
				cs = append(cs, c)
			}
			rng.Shuffle(len(cs), func(i, j int) { cs[i], cs[j] = cs[j], cs[i] })
		}
		prefix := []byte("prefix")
		b := AppendBatch(prefix, h, cs)[len(prefix):]
		if gotH, got := naive(b); gotH != h || !reflect.DeepEqual(got, cs) {
			t.Fatalf("seed %d: the naive reader got header %+v and %d contacts, want %+v and %d", seed, gotH, len(got), h, len(cs))
		}
		gotH, got, err := ReadBatch(b, make([]flow.Contact, 2))
		if err != nil || gotH != h || !reflect.DeepEqual(got[2:], cs) {
			t.Fatalf("seed %d: got header %+v, %d contacts, error %v, want %+v and %d", seed, gotH, len(got)-2, err, h, len(cs))
		}
		if gotH, err := ReadHeader(b); err != nil || gotH != h {
			t.Fatalf("seed %d: header only: got %+v, %v", seed, gotH, err)
		}
	}
}

// The largest batch must stay below the log's message limit.
func TestLargestBatch(t *testing.T) {
	cs := make([]flow.Contact, MaxContacts)
	for i := range cs {
		cs[i] = extremes()[1]
		cs[i].Local.Pseudonym[0] = byte(i)
		if i == 0 {
			cs[i].FirstMS, cs[i].Slice = 0, 0
		}
	}
	b := AppendBatch(nil, Header{Collector: "pop-1", Shard: 255}, cs)
	if len(b) > 8<<20-1024 {
		t.Errorf("%d contacts take %d bytes, want less than 8 MiB", len(cs), len(b))
	}
	if _, got, err := ReadBatch(b, nil); err != nil || !reflect.DeepEqual(got, cs) {
		t.Errorf("read back: error %v", err)
	}
}

// A count that lies costs nothing: the reader refuses it before it allocates.
func TestLyingCounts(t *testing.T) {
	cs := contacts(rand.New(rand.NewPCG(5, 5)), 3, 1, 0)
	good := AppendBatch(nil, Header{Collector: "pop-1", Shard: 1}, cs)
	const counts = 2 + 1 + len("pop-1") + 8 + 8 + 2
	for _, v := range []uint32{0, 1, 2, 4, 1 << 16, 1<<16 + 1, 1 << 31, 1<<32 - 1} {
		b := append([]byte(nil), good[:len(good)-crcBytes]...)
		binary.LittleEndian.PutUint32(b[counts:], v)
		b = appendChecksum(b, 0)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, _, err := ReadBatch(b, nil)
		runtime.ReadMemStats(&after)
		if got := after.TotalAlloc - before.TotalAlloc; err == nil || got > 64<<10 {
			t.Errorf("count set to %d: error %v after %d bytes of memory", v, err, got)
		}
	}
	seeds := Seeds{Source: "api"}.Append(nil)
	seeds = append(seeds[:len(seeds)-crcBytes-1], 0xff, 0xff, 0x03)
	if _, err := ReadControl(appendChecksum(seeds, 0)); err == nil {
		t.Error("65535 seeds in no bytes: no error")
	}
}

// A row that lies about what follows is refused.
func TestBadRows(t *testing.T) {
	h := Header{Collector: "pop-1"}
	host := flow.Host{Pseudonym: flow.Pseudonym{7}}
	cs := []flow.Contact{{Local: host}, {Local: host, Out: flow.Counters{Packets: 1 << 16}}}
	good := AppendBatch(nil, h, cs)
	const first, second = batchFixed + len("pop-1"), batchFixed + len("pop-1") + rowBytes
	f := func(what string, row int, word int, flip uint64) {
		t.Helper()
		b := append([]byte(nil), good[:len(good)-crcBytes]...)
		at := b[row+8*word:]
		binary.LittleEndian.PutUint64(at, binary.LittleEndian.Uint64(at)^flip)
		if _, got, err := ReadBatch(appendChecksum(b, 0), nil); err == nil {
			t.Errorf("%s: no error, read %+v", what, got)
		}
	}
	f("no host before the first", first, 1, sameLocal)
	f("a host too few", second, 1, sameLocal)
	f("a wide contact too few", first, 1, wide)
	f("a wide contact too many", second, 1, wide)
	for word, bits := range [][]int{{48, 63}, {0, 20, 21, 41, 42, 45, 48, 55, 56, 63}, {0, 23, 24, 47, 48, 63}} {
		for _, bit := range bits {
			f(fmt.Sprintf("wide with bit %d of word %d", bit, word), second, word, 1<<bit)
		}
	}
}

// Each field holds its largest number in the row, and one more in the rest.
func TestWide(t *testing.T) {
	near := flow.Contact{FirstMS: 5_000_000, LastMS: 5_000_000, Slice: 100}
	f := func(what string, atMost uint64, set func(*flow.Contact, uint64)) {
		t.Helper()
		for _, over := range []uint64{0, 1} {
			cs := []flow.Contact{near, near, near}
			set(&cs[2], atMost+over)
			b := AppendBatch(nil, Header{Collector: "a"}, cs)
			want := batchFixed + 1 + 3*rowBytes + hostBytes + int(over)*wideBytes + crcBytes
			if len(b) != want {
				t.Errorf("%s %d: %d bytes, want %d", what, atMost+over, len(b), want)
			}
			if _, got, err := ReadBatch(b, nil); err != nil || !reflect.DeepEqual(got, cs) {
				t.Errorf("%s %d: got %+v, %v, want %+v", what, atMost+over, got, err, cs)
			}
		}
	}
	f("flows out", 255, func(c *flow.Contact, v uint64) { c.Out.Flows = uint32(v) })
	f("flows in", 255, func(c *flow.Contact, v uint64) { c.In.Flows = uint32(v) })
	f("packets out", 1<<16-1, func(c *flow.Contact, v uint64) { c.Out.Packets = v })
	f("packets in", 1<<16-1, func(c *flow.Contact, v uint64) { c.In.Packets = v })
	f("bytes out", 1<<24-1, func(c *flow.Contact, v uint64) { c.Out.Bytes = v })
	f("bytes in", 1<<24-1, func(c *flow.Contact, v uint64) { c.In.Bytes = v })
	f("duration", 1<<21-1, func(c *flow.Contact, v uint64) { c.FirstMS -= int64(v) })
	f("slices later", 7, func(c *flow.Contact, v uint64) { c.Slice += flow.Slice(v) })
	f("slices earlier", 8, func(c *flow.Contact, v uint64) { c.Slice -= flow.Slice(v) })
	f("later", 1<<20-1, func(c *flow.Contact, v uint64) { c.LastMS += int64(v); c.FirstMS = c.LastMS })
	f("earlier", 1<<20, func(c *flow.Contact, v uint64) { c.LastMS -= int64(v); c.FirstMS = c.LastMS })
}

// The other end of a contact is encoded as the flipped contact would be.
func TestEncoderFlips(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	h := Header{Collector: "pop-1", Shard: 7}
	var there, back []flow.Contact
	for bits := range 256 {
		c := contacts(rng, 1, 3, 0)[0]
		c.Remote.Shard, c.Bits = h.Shard, uint8(bits)
		there, back = append(there, c), append(back, c.Flip())
	}
	var e Encoder
	e.Begin(nil, h, len(there), OriginOf(there))
	for i := range there {
		e.Add(&there[i], 1)
	}
	if got, want := e.End(), AppendBatch(nil, h, back); !bytes.Equal(got, want) {
		t.Errorf("got %x, want %x", got, want)
	}
}

func TestReadBatchAllocs(t *testing.T) {
	b := AppendBatch(nil, Header{Collector: "pop-1"}, contacts(rand.New(rand.NewPCG(1, 1)), 1000, 0, 1))
	var cs []flow.Contact
	allocs := testing.AllocsPerRun(10, func() { _, cs, _ = ReadBatch(b, cs[:0]) })
	if allocs > 1 {
		t.Errorf("reading into a reused slice: %v allocations, want only the name's", allocs)
	}
	allocs = testing.AllocsPerRun(10, func() { b = AppendBatch(b[:0], Header{Collector: "pop-1"}, cs) })
	if allocs > 0 {
		t.Errorf("writing into a reused slice: %v allocations, want 0", allocs)
	}
}

func benchBatch(repeats int) []flow.Contact {
	return contacts(rand.New(rand.NewPCG(9, 9)), 2000, 3, repeats)
}

func BenchmarkAppendBatch(b *testing.B) {
	for name, repeats := range map[string]int{"mixed": 0, "sorted": 3} {
		b.Run(name, func(b *testing.B) {
			cs := benchBatch(repeats)
			var buf []byte
			b.ReportAllocs()
			for b.Loop() {
				buf = AppendBatch(buf[:0], Header{Collector: "pop-1", Shard: 3}, cs)
			}
			b.SetBytes(int64(len(buf)))
			b.ReportMetric(float64(b.N)*float64(len(cs))/b.Elapsed().Seconds()/1e6, "Mcontacts/s")
			b.ReportMetric(float64(len(buf))/float64(len(cs)), "B/contact")
		})
	}
}

func BenchmarkReadBatch(b *testing.B) {
	for name, repeats := range map[string]int{"mixed": 0, "sorted": 3} {
		b.Run(name, func(b *testing.B) {
			buf := AppendBatch(nil, Header{Collector: "pop-1", Shard: 3}, benchBatch(repeats))
			var cs []flow.Contact
			var err error
			b.ReportAllocs()
			b.SetBytes(int64(len(buf)))
			for b.Loop() {
				if _, cs, err = ReadBatch(buf, cs[:0]); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)*float64(len(cs))/b.Elapsed().Seconds()/1e6, "Mcontacts/s")
		})
	}
}
