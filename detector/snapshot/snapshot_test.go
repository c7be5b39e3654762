package snapshot

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/flowhound/flowhound/detector/graph"
	"github.com/flowhound/flowhound/internal/flow"
)

func host(x int) flow.Host {
	return flow.Host{Pseudonym: flow.Pseudonym{byte(x * 37), byte(x), byte(x >> 8), byte(x >> 16)}, Shard: flow.Shard(x * 11)}
}

// contacts returns random contacts among n hosts in slices first to first+4.
func contacts(rng *rand.Rand, n, count int, first flow.Slice) (cs []flow.Contact) {
	for range count {
		cs = append(cs, flow.Contact{
			Local: host(rng.IntN(n)), Remote: host(rng.IntN(n)), Slice: first + flow.Slice(rng.IntN(5)),
			Bits: uint8(1 + rng.IntN(7)), Port: uint16(rng.Uint32()), Proto: 17,
			Out: flow.Counters{Flows: rng.Uint32(), Bytes: rng.Uint64N(1 << 41)},
		})
	}
	return cs
}

func makeGraph(rng *rand.Rand, cfg graph.Config, n, count int) *graph.Graph {
	g := graph.New(cfg)
	g.Expire(1000)
	g.Apply(3, contacts(rng, n, count, 1000))
	g.Expire(1002)
	return g
}

func write(t testing.TB, header []byte, g *graph.Graph) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, header, g); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// describe prints everything that a graph shows.
func describe(g *graph.Graph) string {
	var b strings.Builder
	v := g.Freeze()
	for x := range graph.Vertex(v.Len()) {
		fmt.Fprintln(&b, v.Host(x), v.Generation(x), slices.Collect(v.In(x)))
		for y := range v.Out(x) {
			l, _ := v.Link(x, y)
			fmt.Fprintln(&b, y, l)
		}
	}
	return b.String()
}

// A graph that was written and read behaves like the one that was not, also
// where sources exceed the degree cap.
func TestRoundTrip(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 1))
		cfg := graph.DefaultConfig()
		cfg.MaxOutDegree = []uint32{4, 1 << 20}[seed%2]
		g := makeGraph(rng, cfg, 300, 2000)
		header := []byte(fmt.Sprint("positions ", seed))
		got, h, err := Read(bytes.NewReader(write(t, header, g)), cfg)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if !bytes.Equal(got, header) {
			t.Errorf("seed %d: got header %q, want %q", seed, got, header)
		}
		for round := range 4 {
			if a, b := describe(g), describe(h); a != b {
				t.Fatalf("seed %d round %d: the restored graph differs", seed, round)
			}
			more := contacts(rng, 400, 500, flow.Slice(1002+round))
			g.Apply(4, more)
			h.Apply(4, more)
			g.Expire(flow.Slice(1003 + round))
			h.Expire(flow.Slice(1003 + round))
		}
	}
	empty := graph.New(graph.DefaultConfig())
	if _, g, err := Read(bytes.NewReader(write(t, nil, empty)), graph.DefaultConfig()); err != nil || g.Stats().Hosts != 0 {
		t.Errorf("empty graph: error %v", err)
	}
}

// small returns a snapshot with blocks of every kind.
func small(t testing.TB) []byte {
	return write(t, []byte("positions"), makeGraph(rand.New(rand.NewPCG(1, 1)), graph.DefaultConfig(), 12, 40))
}

// Every changed byte and every missing or additional one is found, and the
// error says where.
func TestEveryByteCounts(t *testing.T) {
	good := small(t)
	f := func(what string, b []byte, block int) {
		t.Helper()
		_, g, err := Read(bytes.NewReader(b), graph.DefaultConfig())
		if err == nil || g != nil {
			t.Fatalf("%s: got no error", what)
		}
		if block >= 0 && !strings.HasPrefix(err.Error(), fmt.Sprintf("read snapshot: block %d: ", block)) {
			t.Errorf("%s: got %v, want block %d named", what, err, block)
		}
	}
	for i := range good {
		for _, flip := range []byte{1, 0x80, 0xff} {
			b := slices.Clone(good)
			b[i] ^= flip
			f(fmt.Sprintf("byte %d of %d flipped by %#x", i, len(good), flip), b, blockAt(good, i))
		}
		f(fmt.Sprintf("cut to %d of %d bytes", i, len(good)), good[:i], blockAt(good, i))
	}
	blocks := cut(good)
	f("a byte more", append(slices.Clone(good), 0), len(blocks))
	f("twice", append(slices.Clone(good), good...), len(blocks))
	for i := range len(blocks) - 1 {
		swapped := slices.Clone(blocks)
		swapped[i], swapped[i+1] = swapped[i+1], swapped[i]
		f(fmt.Sprintf("block %d after the next", i), slices.Concat(good[:8], slices.Concat(swapped...)), i)
		f(fmt.Sprintf("block %d lost", i), slices.Concat(good[:8], slices.Concat(slices.Delete(slices.Clone(blocks), i, i+1)...)), i)
		f(fmt.Sprintf("block %d doubled", i), slices.Concat(good[:8], slices.Concat(slices.Insert(slices.Clone(blocks), i, blocks[i])...)), i+1)
	}
}

// A component's header may be larger than a block: a detector under load holds
// megabytes of contacts whose slice is still to come.
func TestLargeHeader(t *testing.T) {
	for _, size := range []int{0, 1, maxPayload, maxPayload + 1, 5*maxPayload - 1} {
		header := make([]byte, size)
		rand.NewChaCha8([32]byte{1}).Read(header)
		got, _, err := Read(bytes.NewReader(write(t, header, graph.New(graph.DefaultConfig()))), graph.DefaultConfig())
		if err != nil || !bytes.Equal(got, header) {
			t.Errorf("header of %d bytes: read back %d bytes, equal %t, %v", size, len(got), bytes.Equal(got, header), err)
		}
	}
}

// cut returns the blocks of a good snapshot.
func cut(good []byte) (blocks [][]byte) {
	for b := good[8:]; len(b) > 0; {
		size := headSize + int(binary.LittleEndian.Uint32(b[1:]))
		blocks = append(blocks, b[:size])
		b = b[size:]
	}
	return blocks
}

// blockAt returns the number of the block that holds byte i, -1 if none does.
func blockAt(good []byte, i int) int {
	if i < 8 {
		return -1
	}
	i -= 8
	for n, b := range cut(good) {
		if i < len(b) {
			return n
		}
		i -= len(b)
	}
	return -1
}

func TestErrors(t *testing.T) {
	f := func(b []byte, want error) {
		t.Helper()
		if _, _, err := Read(bytes.NewReader(b), graph.DefaultConfig()); !errors.Is(err, want) {
			t.Errorf("%q: got %v, want %v", b[:min(8, len(b))], err, want)
		} else {
			t.Log(err)
		}
	}
	f(nil, ErrNotSnapshot)
	f([]byte("PK\x03\x04 something else"), ErrNotSnapshot)
	f([]byte("FHSNAP\x01\x00"), ErrVersion)
	f([]byte("FHSNAP\x02\x00"), io.ErrUnexpectedEOF)
	if err := Write(failing{}, nil, makeGraph(rand.New(rand.NewPCG(1, 1)), graph.DefaultConfig(), 20_000, 50_000)); !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("a full disk: got %v", err)
	}
	cfg := graph.DefaultConfig()
	cfg.Owned = []flow.Shard{1}
	if _, _, err := Read(bytes.NewReader(small(t)), cfg); err == nil || !strings.Contains(err.Error(), "neither shard is this node's") {
		t.Errorf("another node's snapshot: got %v", err)
	}
}

// randomPairs returns pairs with all that a graph may hold, the extremes often.
func randomPairs(rng *rand.Rand, n int, oldest flow.Slice, numbers uint32) (pairs []graph.SavedPair) {
	upTo := func(most uint64) uint64 {
		return []uint64{0, most, rng.Uint64N(most + 1), min(rng.Uint64N(300), most)}[rng.IntN(4)]
	}
	for range n {
		p := graph.SavedPair{
			Lo: uint32(upTo(uint64(numbers))), Hi: uint32(upTo(uint64(numbers))), HiShard: flow.Shard(rng.Uint32()),
			Live: uint8(1 + rng.IntN(3)), Answered: rng.IntN(2) == 0, Due: oldest + flow.Slice(upTo(1<<13)),
			Flows: uint32(upTo(1<<24 - 1)), Bytes: upTo(1<<40 - 1), Port: uint16(upTo(1<<16 - 1)), Proto: uint8(rng.Uint32()),
		}
		for dir := range p.Seen {
			if p.Live&(1<<dir) != 0 {
				p.Seen[dir] = p.Due + flow.Slice(rng.IntN(2)*rng.IntN(1<<13))
			}
		}
		pairs = append(pairs, p)
	}
	return pairs
}

// A block of pairs holds every value that a graph may, whatever came before it
// in the same memory, and only just what it says.
func TestPairs(t *testing.T) {
	const oldest = 5_900_000
	var b []byte
	var got []graph.SavedPair
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 2))
		want := randomPairs(rng, 1+rng.IntN(50), oldest, []uint32{1<<16 - 1, 1 << 16, 1<<24 - 1}[seed%3])
		b = appendPairs(b[:0], 7, oldest, want)
		var err error
		if got, err = parsePairs(got[:0], b, oldest); err != nil || !slices.Equal(got, want) {
			t.Fatalf("seed %d: got %v, %v, want %v", seed, got, err, want)
		}
		f := func(what string, at int, value byte) {
			t.Helper()
			bad := slices.Clone(b)
			if bad[at] == value {
				return
			}
			bad[at] = value
			if _, err := parsePairs(nil, bad, oldest); err == nil {
				t.Errorf("seed %d: %s: got no error", seed, what)
			}
		}
		f("a pair more", 1, b[1]+1)
		f("a pair less", 1, b[1]-1)
		f("numbers of four bytes", 3, 4)
		f("a pair that is not live", pairsHead, 0)
		f("one direction seen twice", pairsHead, 1|bitSame)
		f("padding with something in it", len(b)-1, 1)
		for n := range b {
			if _, err := parsePairs(nil, b[:n], oldest); err == nil {
				t.Errorf("seed %d: cut to %d of %d bytes: got no error", seed, n, len(b))
			}
		}
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, io.ErrShortWrite }

// FuzzRead: a hostile snapshot, checksums put right, is an error or a graph
// that works, and never allocates much more than its size.
func FuzzRead(f *testing.F) {
	f.Add(small(f))
	f.Fuzz(func(t *testing.T, b []byte) {
		b = reseal(b)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, g, err := Read(bytes.NewReader(b), graph.DefaultConfig())
		runtime.ReadMemStats(&after)
		if grown := after.TotalAlloc - before.TotalAlloc; grown > 8<<20+100*uint64(len(b)) {
			t.Fatalf("%d bytes of input allocated %d", len(b), grown)
		}
		if err != nil {
			return
		}
		want := describe(g)
		if _, again, err := Read(bytes.NewReader(write(t, nil, g)), graph.DefaultConfig()); err != nil || describe(again) != want {
			t.Fatalf("what was read cannot be written and read again: %v", err)
		}
		g.Expire(1 << 31)
		if s := g.Stats(); s.Hosts+s.Links+s.Pairs != 0 {
			t.Fatalf("after everything expired there are %d hosts, %d links, %d pairs", s.Hosts, s.Links, s.Pairs)
		}
	})
}

// reseal puts the checksums of a damaged snapshot right, so that fuzzing gets
// past them.
func reseal(b []byte) []byte {
	if len(b) < 8 {
		return b
	}
	var out bytes.Buffer
	w := &writer{w: &out}
	w.write(append([]byte(magic), Version, 0))
	for b = b[8:]; len(b) >= headSize; {
		size := min(int(b[1])|int(b[2])<<8, len(b)-headSize)
		if kind(b[0]) == kindEnd {
			break
		}
		w.block(kind(b[0]), b[headSize:headSize+size])
		b = b[headSize+size:]
	}
	end := binary.LittleEndian.AppendUint64(nil, w.blocks)
	w.block(kindEnd, binary.LittleEndian.AppendUint32(end, w.total))
	return out.Bytes()
}

// The benchmarks' graph has 1 M hosts and 3.6 M links or so.
func benchGraph() *graph.Graph {
	g := graph.New(graph.DefaultConfig())
	rng := rand.New(rand.NewPCG(1, 1))
	for range 500 {
		cs := make([]flow.Contact, 4000)
		for i := range cs {
			cs[i] = flow.Contact{
				Local: spread(rng.Uint32N(1 << 20)), Remote: spread(rng.Uint32N(1 << 20)), Slice: flow.Slice(1000 + rng.IntN(288)),
				Bits: flow.BitOut | uint8(rng.IntN(2))*flow.BitIn, Port: 443, Proto: 6, Out: flow.Counters{Flows: 9, Bytes: rng.Uint64N(1 << 20)},
			}
		}
		g.Apply(1, cs)
	}
	return g
}

func spread(x uint32) (h flow.Host) {
	a := uint64(x+1) * 0x9e3779b97f4a7c15
	for i := range 8 {
		h.Pseudonym[i], h.Pseudonym[15-i] = byte(a>>(8*i)), byte(a>>(4*i))
	}
	h.Shard = flow.Shard(a >> 40)
	return h
}

func BenchmarkWrite(b *testing.B) {
	g := benchGraph()
	size := len(write(b, nil, g))
	b.SetBytes(int64(size))
	for b.Loop() {
		if err := Write(io.Discard, nil, g); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(size)/float64(g.Stats().Links), "B/link")
}

func BenchmarkRead(b *testing.B) {
	data := write(b, nil, benchGraph())
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		if _, _, err := Read(bytes.NewReader(data), graph.DefaultConfig()); err != nil {
			b.Fatal(err)
		}
	}
}
