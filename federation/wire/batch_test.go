package wire

import (
	"encoding/binary"
	"math/rand/v2"
	"reflect"
	"runtime"
	"testing"

	"github.com/flowhound/flowhound/internal/flow"
)

// naive reads a batch column by column as the layout comment tells it, with
// none of ReadBatch's tricks.
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
	u(8)
	first, slice := int64(u(8)), flow.Slice(u(4))
	for i := range cs {
		cs[i].Local.Shard, cs[i].Remote.Shard = h.Shard, flow.Shard(u(1))
	}
	for i := range cs {
		cs[i].Proto = uint8(u(1))
	}
	for i := range cs {
		cs[i].Flags = uint8(u(1))
	}
	for i := range cs {
		cs[i].Bits = uint8(u(1))
	}
	var lengths [][10]int
	var same []bool
	for range cs {
		var l [10]int
		for k := 0; k < 10; k += 2 {
			l[k], l[k+1] = int(b[k/2]&15), int(b[k/2]>>4)
		}
		same = append(same, l[9] >= 8)
		l[9] %= 8
		lengths = append(lengths, l)
		b = b[5:]
	}
	for i := range cs {
		c, l := &cs[i], lengths[i]
		c.Slice = slice + flow.Slice(u(l[0]))
		c.FirstMS = first + int64(u(l[1]))
		c.LastMS = c.FirstMS + int64(u(l[2]))
		c.Out = flow.Counters{Flows: uint32(u(l[3])), Packets: u(l[4]), Bytes: u(l[5])}
		c.In = flow.Counters{Flows: uint32(u(l[6])), Packets: u(l[7]), Bytes: u(l[8])}
		c.Port = uint16(u(l[9]))
	}
	for i := range cs {
		if same[i] {
			cs[i].Local = cs[i-1].Local
			continue
		}
		b = b[copy(cs[i].Local.Pseudonym[:], b):]
	}
	for i := range cs {
		b = b[copy(cs[i].Remote.Pseudonym[:], b):]
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
	for _, at := range []int{counts, counts + 4, counts + 8} {
		for _, v := range []uint32{0, 1, 2, 4, 1 << 16, 1<<16 + 1, 1 << 31, 1<<32 - 1} {
			b := append([]byte(nil), good[:len(good)-crcBytes]...)
			if binary.LittleEndian.Uint32(b[at:]) == v {
				continue
			}
			binary.LittleEndian.PutUint32(b[at:], v)
			b = appendChecksum(b, 0)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, _, err := ReadBatch(b, nil)
			runtime.ReadMemStats(&after)
			if got := after.TotalAlloc - before.TotalAlloc; err == nil || got > 64<<10 {
				t.Errorf("count at %d set to %d: error %v after %d bytes of memory", at, v, err, got)
			}
		}
	}
	seeds := Seeds{Source: "api"}.Append(nil)
	seeds = append(seeds[:len(seeds)-crcBytes-1], 0xff, 0xff, 0x03)
	if _, err := ReadControl(appendChecksum(seeds, 0)); err == nil {
		t.Error("65535 seeds in no bytes: no error")
	}
}

// A tag that lies is refused, whatever its lengths add up to.
func TestBadTags(t *testing.T) {
	h := Header{Collector: "pop-1"}
	cs := []flow.Contact{{Out: flow.Counters{Flows: 1, Packets: 1<<64 - 1}}}
	good := AppendBatch(nil, h, cs)
	const tag = batchFixed + len("pop-1") + 4
	if got := tagAt(good[tag:], 0); got != 0x81000 {
		t.Fatalf("tag of one flow and 2⁶⁴−1 packets: got %x, want 81000", got)
	}
	f := func(tagged uint64) {
		t.Helper()
		b := append([]byte(nil), good[:len(good)-crcBytes]...)
		binary.LittleEndian.PutUint32(b[tag:], uint32(tagged))
		b[tag+4] = byte(tagged >> 32)
		if _, got, err := ReadBatch(appendChecksum(b, 0), nil); err == nil {
			t.Errorf("tag %x: no error, read %+v", tagged, got)
		}
	}
	f(0x18000)         // eight bytes of flows
	f(0x80000)         // a byte of the column is left
	f(0x810001)        // a byte too few
	f(0x90000)         // nine bytes of packets
	f(0x81000 | 8<<36) // no host before the first
	f(3 << 36)         // a port of three bytes
	f(0x8888888888)
	f(0xffffffffff)
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
