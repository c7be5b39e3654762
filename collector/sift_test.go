package collector

import (
	"net/netip"
	"testing"

	"pgregory.net/rapid"

	"github.com/flowhound/flowhound/collector/pseudonym"
	"github.com/flowhound/flowhound/internal/flow"
)

const siftNow = 1_700_000_000_000

func testSift(t testing.TB) *sift {
	t.Helper()
	p, err := pseudonym.NewPermuter([16]byte{1}, [16]byte{2}, 1, 64)
	if err != nil {
		t.Fatal(err)
	}
	return &sift{sliceMS: 300_000, cut: p.Cut}
}

func siftOne(s *sift, src, dst string, startMS, endMS int64) (r flow.Record, kept bool, slice flow.Slice) {
	records := []flow.Record{{Src: flow.AddrFrom(netip.MustParseAddr(src)), Dst: flow.AddrFrom(netip.MustParseAddr(dst)),
		StartMS: startMS, EndMS: endMS}}
	out, slices := s.run(records, []run{{end: len(records)}}, nil, siftNow)
	if len(out) == 0 {
		return r, false, 0
	}
	return out[0], true, slices[0]
}

func TestFilters(t *testing.T) {
	f := func(src, dst string, want filterReason) {
		t.Helper()
		for _, pair := range [][2]string{{src, dst}, {dst, src}} {
			s := testSift(t)
			s.ignore = []netip.Prefix{netip.MustParsePrefix("10.53.0.0/16"), netip.MustParsePrefix("2001:db8:53::/48")}
			_, kept, _ := siftOne(s, pair[0], pair[1], siftNow, siftNow)
			if kept != (want == keep) || want != keep && s.counts.filtered[want] != 1 {
				t.Errorf("%s → %s: kept %v, counts %v, want %q", pair[0], pair[1], kept, s.counts.filtered, filterNames[want])
			}
		}
	}
	const host, host6 = "10.0.0.1", "2001:db8::1"
	f(host, "10.0.0.2", keep)
	f(host, "169.253.0.1", keep)
	f(host, "255.255.255.254", keep)
	f(host, "223.255.255.255", keep)
	f(host, "240.0.0.1", keep)
	f(host, "0.0.0.0", filterUnspecified)
	f(host, "0.1.2.3", filterUnspecified)
	f(host, "127.0.0.1", filterLoopback)
	f(host, "169.254.1.1", filterLinkLocal)
	f(host, "224.0.0.5", filterMulticast)
	f(host, "239.255.255.250", filterMulticast)
	f(host, "255.255.255.255", filterBroadcast)
	f(host, "10.53.1.2", filterIgnored)
	f(host, host, filterSameHost)
	f(host6, "2001:db8:0:1::1", keep)
	f(host6, "::", filterUnspecified)
	f(host6, "::1", filterLoopback)
	f(host6, "fe80::1", filterLinkLocal)
	f(host6, "febf::1", filterLinkLocal)
	f(host6, "fec0::1", keep)
	f(host6, "ff02::1", filterMulticast)
	f(host6, "2001:db8:53::53", filterIgnored)
	f(host6, "2001:db8::2", filterSameHost) // one /64 is one host
}

func TestKeepLoopback(t *testing.T) {
	s := testSift(t)
	s.keepLoopback = true
	if _, kept, _ := siftOne(s, "127.0.0.1", "127.0.0.2", siftNow, siftNow); !kept {
		t.Error("127.0.0.1 → 127.0.0.2 was dropped")
	}
}

func TestClamps(t *testing.T) {
	const day, fiveMin = 24 * 3600_000, 300_000
	f := func(startMS, endMS, wantStart, wantEnd int64, why ...clampReason) {
		t.Helper()
		s := testSift(t)
		r, _, slice := siftOne(s, "10.0.0.1", "10.0.0.2", startMS, endMS)
		if r.StartMS != wantStart || r.EndMS != wantEnd || slice != flow.SliceOf(wantEnd, 300_000) {
			t.Errorf("[%d, %d]: got [%d, %d] in slice %d, want [%d, %d]", startMS, endMS, r.StartMS, r.EndMS, slice, wantStart, wantEnd)
		}
		var want [clampReasons]uint64
		for _, c := range why {
			want[c]++
		}
		if s.counts.clamped != want {
			t.Errorf("[%d, %d]: clamps %v, want %v", startMS, endMS, s.counts.clamped, want)
		}
	}
	f(siftNow-5, siftNow, siftNow-5, siftNow)
	f(siftNow-day, siftNow-day, siftNow-day, siftNow-day)
	f(siftNow, siftNow+fiveMin, siftNow, siftNow+fiveMin)
	f(siftNow, siftNow+fiveMin+1, siftNow, siftNow, clampEndFuture)
	f(siftNow-day-1, siftNow-day-1, siftNow, siftNow, clampEndPast, clampStart)
	f(siftNow-day-1, siftNow, siftNow, siftNow, clampStart)
	f(siftNow+1, siftNow, siftNow, siftNow, clampStart)
	f(0, 0, siftNow, siftNow, clampEndPast, clampStart)
	f(-1<<63, 1<<63-1, siftNow, siftNow, clampEndFuture, clampStart)
	f(1<<63-1, -1<<63, siftNow, siftNow, clampEndPast, clampStart)
}

// The sift keeps order, conserves records, and what it keeps is credible.
func TestSiftConserves(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, _ := pseudonym.NewPermuter([16]byte{1}, [16]byte{2}, 1, 64)
		s := &sift{sliceMS: 300_000, cut: p.Cut}
		var records []flow.Record
		for i := range rapid.IntRange(0, 50).Draw(t, "n") {
			a := netip.AddrFrom4([4]byte{rapid.SampledFrom([]byte{0, 10, 127, 169, 224, 255}).Draw(t, "a"), 254, 0, 1})
			b := netip.AddrFrom4([4]byte{10, 254, 0, rapid.ByteRange(0, 2).Draw(t, "b")})
			records = append(records, flow.Record{Src: flow.AddrFrom(a), Dst: flow.AddrFrom(b), Domain: uint32(i),
				StartMS: siftNow + rapid.Int64Range(-1e9, 1e9).Draw(t, "start"), EndMS: siftNow + rapid.Int64Range(-1e9, 1e9).Draw(t, "end")})
		}
		n := len(records)
		kept, slices := s.run(records, []run{{end: len(records)}}, nil, siftNow)
		dropped := uint64(0)
		for _, c := range s.counts.filtered {
			dropped += c
		}
		if uint64(len(kept))+dropped != uint64(n) || len(slices) != len(kept) {
			t.Fatalf("%d records: %d kept with %d slices, %d dropped", n, len(kept), len(slices), dropped)
		}
		for i, r := range kept {
			if i > 0 && kept[i-1].Domain >= r.Domain {
				t.Fatalf("order changed at %d", i)
			}
			if r.StartMS > r.EndMS || r.StartMS < siftNow-24*3600_000 || r.EndMS > siftNow+300_000 || slices[i] != flow.SliceOf(r.EndMS, 300_000) {
				t.Fatalf("kept [%d, %d] in slice %d", r.StartMS, r.EndMS, slices[i])
			}
		}
	})
}
