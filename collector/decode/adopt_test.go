package decode_test

import (
	"net/netip"
	"testing"

	"github.com/flowhound/flowhound/collector/decode"
	"github.com/flowhound/flowhound/internal/flow"
)

// Records that goflow2 decoded have their exporter, its rule and its accounts
// like all others.
func TestAdopt(t *testing.T) {
	rule := decode.SamplingRule{Rate: 50}
	x := newTester(t, decode.Config{Sampling: func(netip.Addr) decode.SamplingRule { return rule }})
	r := flow.Record{Src: flow.AddrFrom(netip.MustParseAddr("198.51.100.7")), Dst: flow.AddrFrom(netip.MustParseAddr("203.0.113.9")),
		Packets: 3, Bytes: 1000, Version: 9}
	f := func(told uint32, want uint32) {
		t.Helper()
		r.Sampling = told
		got := x.d.Adopt(nil, exporterA, r, now)
		if len(got) != 1 || got[0].Sampling != want || got[0].Packets != 3*uint64(want) || got[0].Bytes != 1000*uint64(want) {
			t.Errorf("told 1:%d: got %+v, want 1:%d", told, got, want)
		}
	}
	f(1, 1)
	f(100, 100)
	f(0, 50)
	rule.Force = true
	x.d.SetSampling(func(netip.Addr) decode.SamplingRule { return rule })
	f(100, 50)
	r.Dst = flow.Addr{}
	if got := x.d.Adopt(nil, exporterA, r, now); len(got) != 0 {
		t.Errorf("got %+v of a record without an address", got)
	}
	x.only(map[decode.Reason]uint64{decode.NoAddress: 1})
	s := x.d.Stats()
	checkLaws(t, &s)
	e := x.d.Exporters(nil)[0]
	if e.Packets != 5 || e.Records != 4 || e.Dropped != 1 || e.Sampling != 50 || e.LastSeenMS != now || len(e.Versions) != 1 || e.Versions[0] != 9 {
		t.Errorf("got %+v", e)
	}
}
