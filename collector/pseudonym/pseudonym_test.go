package pseudonym

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	mathrand "math/rand/v2"
	"net/netip"
	"testing"

	"pgregory.net/rapid"

	"github.com/flowhound/flowhound/internal/flow"
)

func key16(t testing.TB, s string) (k [16]byte) {
	t.Helper()
	if n, err := hex.Decode(k[:], []byte(s)); err != nil || n != 16 {
		t.Fatalf("hex %q: %d bytes, %v", s, n, err)
	}
	return k
}

func testPermuter(t testing.TB, seed byte, prefix int) *Permuter {
	t.Helper()
	p, err := NewPermuter([16]byte{1, seed}, [16]byte{2, seed}, 1, prefix)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// The five ipcrypt-deterministic vectors of draft-denis-ipcrypt, repository
// ipcrypt-std/draft-denis-ipcrypt at e525566, file
// implementations/python/test_vectors.json. The IPv6 vector needs all 128 bits.
func TestDraftVectors(t *testing.T) {
	f := func(key, ip, want string) {
		t.Helper()
		p, err := NewPermuter(key16(t, key), [16]byte{}, 1, 128)
		if err != nil {
			t.Fatal(err)
		}
		addr := netip.MustParseAddr(ip)
		got := p.Host(flow.AddrFrom(addr)).Pseudonym
		if got != flow.Pseudonym(key16(t, want)) {
			t.Errorf("key %s ip %s: got %x, want %s", key, ip, got[:], want)
		}
		if back, err := p.Reveal(got); err != nil || back != addr {
			t.Errorf("key %s reveal %s: got %v, %v, want %s", key, want, back, err, ip)
		}
	}
	f("0123456789abcdeffedcba9876543210", "0.0.0.0", "bde96789d353824cd7c6f58a6bd226eb")
	f("1032547698badcfeefcdab8967452301", "255.255.255.255", "aed292f6ea2358c348fd08b874e845d8")
	f("2b7e151628aed2a6abf7158809cf4f3c", "192.0.2.1", "1dbdc1b9fff175867d0b67b4e76e4777")
	f("0123456789abcdeffedcba9876543210", "2001:db8:85a3::8a2e:370:7334", "1eef235264c818e664561373f6155032")
	f("1032547698badcfeefcdab8967452301", "192.0.2.1", "7fdea68095460ef20d3c7abb1b382659")
}

func drawAddr(t *rapid.T) flow.Addr {
	var a flow.Addr
	if rapid.Bool().Draw(t, "v4") {
		a[10], a[11] = 0xff, 0xff
		copy(a[12:], rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "addr"))
		return a
	}
	copy(a[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "addr"))
	return a
}

func TestHostEqualsPlainAES(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var key, route [16]byte
		copy(key[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "key"))
		copy(route[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "route"))
		prefix := rapid.IntRange(32, 128).Draw(t, "prefix")
		a := drawAddr(t)
		p, err := NewPermuter(key, route, 3, prefix)
		if err != nil {
			t.Fatal(err)
		}
		cut := netip.PrefixFrom(netip.AddrFrom16(a), prefix).Masked().Addr().As16()
		if a.Is4() {
			cut = a
		}
		want := flow.Host{Pseudonym: slowAES(key, cut), Shard: flow.Shard(slowAES(route, cut)[0])}
		if got := p.Host(a); got != want {
			t.Fatalf("key %x prefix %d address %x: got %v, want %v", key, prefix, [16]byte(a), got, want)
		}
		if got, err := p.Reveal(want.Pseudonym); err != nil || flow.AddrFrom(got) != cut {
			t.Fatalf("reveal of %x: got %v, %v, want %x", want.Pseudonym, got, err, cut)
		}
	})
}

func TestHostsIsABijectionOfA24(t *testing.T) {
	p := testPermuter(t, 0, 64)
	var addrs []flow.Addr
	for a := netip.MustParseAddr("198.51.100.0"); len(addrs) < 256; a = a.Next() {
		addrs = append(addrs, flow.AddrFrom(a))
	}
	seen := make(map[flow.Pseudonym]bool)
	for i, h := range p.Hosts(nil, addrs) {
		seen[h.Pseudonym] = true
		if a, err := p.Reveal(h.Pseudonym); err != nil || flow.AddrFrom(a) != addrs[i] {
			t.Fatalf("address %d of the /24: revealed as %v, %v", i, a, err)
		}
	}
	if len(seen) != 256 {
		t.Fatalf("256 addresses have %d pseudonyms", len(seen))
	}
}

func TestIPv6IsOneHostPerPrefix(t *testing.T) {
	p := testPermuter(t, 0, 64)
	f := func(a, b string, same bool) {
		t.Helper()
		ha, hb := p.Host(flow.AddrFrom(netip.MustParseAddr(a))), p.Host(flow.AddrFrom(netip.MustParseAddr(b)))
		if (ha == hb) != same {
			t.Errorf("%s and %s: one host is %v, want %v", a, b, ha == hb, same)
		}
	}
	f("2001:db8:1:2::1", "2001:db8:1:2:ffff::", true)
	f("2001:db8:1:2::1", "2001:db8:1:3::1", false)
	f("192.0.2.1", "192.0.2.2", false)
}

func TestRevealRefusesOtherKeys(t *testing.T) {
	right, wrong := testPermuter(t, 0, 64), testPermuter(t, 1, 64)
	rng := mathrand.New(mathrand.NewPCG(1, 2))
	for i := range 10_000 {
		a := flow.AddrFrom(netip.AddrFrom4([4]byte{10, byte(rng.Uint32()), byte(rng.Uint32()), byte(i)}))
		if got, err := wrong.Reveal(right.Host(a).Pseudonym); !errors.Is(err, ErrWrongKey) {
			t.Fatalf("pseudonym %d under another key: got %v, %v, want ErrWrongKey", i, got, err)
		}
	}
}

func TestRotationKeepsShards(t *testing.T) {
	k, err := NewKeys(rand.Reader, "default", 64)
	if err != nil {
		t.Fatal(err)
	}
	if err := k.add(rand.Reader); err != nil {
		t.Fatal(err)
	}
	p1, err1 := k.Permuter(1)
	p2, err2 := k.Permuter(2)
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	shards := make(map[flow.Shard]bool)
	for i := range 5000 {
		a := flow.AddrFrom(netip.AddrFrom4([4]byte{100, 64, byte(i >> 8), byte(i)}))
		h1, h2 := p1.Host(a), p2.Host(a)
		if h1.Shard != h2.Shard || h1.Pseudonym == h2.Pseudonym {
			t.Fatalf("address %d: generation 1 %v, generation 2 %v: want one shard, two pseudonyms", i, h1, h2)
		}
		shards[h1.Shard] = true
	}
	if len(shards) != flow.Shards {
		t.Errorf("5000 hosts fill %d of %d shards", len(shards), flow.Shards)
	}
	if _, err := k.Permuter(3); !errors.Is(err, ErrNoGeneration) {
		t.Errorf("generation 3: %v, want ErrNoGeneration", err)
	}
}

func TestRealmsDiffer(t *testing.T) {
	a, err := NewKeys(rand.Reader, "vrf-a", 64)
	if err != nil {
		t.Fatal(err)
	}
	b := *a
	b.realm = "vrf-b"
	pa, _ := a.Permuter(1)
	pb, _ := b.Permuter(1)
	addr := flow.AddrFrom(netip.MustParseAddr("10.0.0.1"))
	if pa.Host(addr).Pseudonym == pb.Host(addr).Pseudonym {
		t.Error("10.0.0.1 has one pseudonym in two realms")
	}
	if _, err := NewKeys(rand.Reader, "a realm", 64); err == nil {
		t.Error("realm with a space: no error")
	}
}

func TestHostDoesNotAllocate(t *testing.T) {
	p := testPermuter(t, 0, 64)
	addrs := make([]flow.Addr, 64)
	dst := make([]flow.Host, 0, 64)
	if n := testing.AllocsPerRun(100, func() { dst = p.Hosts(dst[:0], addrs) }); n != 0 {
		t.Errorf("Hosts of 64 addresses: %v allocations, want 0", n)
	}
}

func BenchmarkHosts(b *testing.B) {
	p := testPermuter(b, 0, 64)
	addrs := make([]flow.Addr, 1024)
	for i := range addrs {
		addrs[i] = flow.AddrFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}))
	}
	dst := make([]flow.Host, 0, len(addrs))
	for b.Loop() {
		dst = p.Hosts(dst[:0], addrs)
	}
	b.ReportMetric(float64(b.N)*float64(len(addrs))/b.Elapsed().Seconds()/1e6, "Maddresses/s")
}

// Two routers of one IPv6 prefix are two, although their hosts are one.
func TestRouterIsNotCut(t *testing.T) {
	p, err := NewPermuter([KeySize]byte{1}, [KeySize]byte{2}, 1, DefaultIPv6Prefix)
	if err != nil {
		t.Fatal(err)
	}
	one, two := flow.AddrFrom(netip.MustParseAddr("2001:db8::1")), flow.AddrFrom(netip.MustParseAddr("2001:db8::2"))
	if p.Host(one) != p.Host(two) || p.Router(one) == p.Router(two) || p.Router(one) == flow.Pseudonym(one) {
		t.Error("routers of one prefix have one pseudonym, or their address")
	}
	four := flow.AddrFrom(netip.MustParseAddr("192.0.2.1"))
	if p.Router(four) != p.Host(four).Pseudonym {
		t.Error("an IPv4 router has another pseudonym than the host")
	}
}
