package decode_test

import (
	"fmt"
	"testing"

	"github.com/flowhound/flowhound/collector/decode"
)

// A template sent under a known id with another layout changes nothing by
// itself (notes/security.md T2). Whatever decides, every record is read by the
// layout that it was written by, those in between too.
func TestContest(t *testing.T) {
	old := set(2, templateRecord(256, with(pair4, field{id: 2, length: 4})...))                   // 12 bytes
	wide := set(2, templateRecord(256, with(pair4, field{id: 96, length: 7}, field{2, 4, 0})...)) // 19 bytes
	swapped := set(2, templateRecord(256, pair4[1], pair4[0], field{id: 2, length: 4}))           // 12 bytes
	oldData := func(n uint32) []byte { return set(256, bytes4, u32(n)) }
	wideData := func(n uint32) []byte { return set(256, bytes4, make([]byte, 7), u32(n)) }
	f := func(what string, changes, waiting uint64, want string, sets ...[]byte) {
		t.Helper()
		x := newTester(t, decode.Config{})
		x.decode(packet10(header{secs: secs}, old))
		got := ""
		for _, s := range sets {
			for _, r := range x.decode(packet10(header{secs: secs}, s)) {
				got += fmt.Sprintf("%v>%v:%d ", r.Src.NetIP(), r.Dst.NetIP(), r.Packets)
			}
		}
		st := x.d.Stats()
		if got != want || st.TemplateChanges != changes || st.HeldSets != waiting || st.TemplateContests == 0 {
			t.Errorf("%s: got %q, %d changes, %d sets waiting, %d contests, want %q, %d and %d", what, got, st.TemplateChanges, st.HeldSets, st.TemplateContests, want, changes, waiting)
		}
		conserve(t, st)
	}
	line := func(ns ...int) (s string) {
		for _, n := range ns {
			s += fmt.Sprintf("%v>%v:%d ", src4, dst4, n)
		}
		return s
	}
	f("forged, then the exporter repeats its own", 0, 0, line(1, 2, 3), oldData(1), wide, oldData(2), old, oldData(3))
	f("forged, and data tells", 0, 0, line(1, 2, 3, 4, 5), wide, oldData(1), oldData(2), oldData(3), oldData(4), oldData(5))
	f("forged with fields swapped, then repeated", 0, 0, line(1, 2), swapped, oldData(1), old, oldData(2))
	f("forged with fields swapped: data cannot tell", 0, 6, "", swapped, oldData(1), oldData(1), oldData(1), oldData(1), oldData(1), oldData(1))
	f("changed, sent twice", 1, 0, line(1, 2), wide, wideData(1), wide, wideData(2))
	f("changed, and data tells", 1, 0, line(1, 2, 3, 4, 5), wide, wideData(1), wideData(2), wideData(3), wideData(4), wideData(5))
	f("forged twice, each otherwise", 0, 0, line(1), swapped, wide, oldData(1), old)
	f("changed back", 2, 0, line(1, 2), wide, wide, wideData(1), old, old, oldData(2))
}

// conserve checks the laws of Stats.
func conserve(t *testing.T, s decode.Stats) {
	t.Helper()
	if s.DataSets != s.DecodedSets+s.Drops[decode.NoTemplate]+s.HeldSets || s.DataRecords+s.FlowSamples+s.Reversed != s.Records+s.Drops[decode.NoAddress] {
		t.Errorf("not conserved: %+v", s)
	}
}

// In a session over TCP nobody else can speak: a change holds at once.
func TestNoContestInSession(t *testing.T) {
	x := newTester(t, decode.Config{})
	x.d.SetSession(1)
	files := newTester(t, decode.Config{TrustTemplates: true}) // nor into a file
	for what, x := range map[string]tester{"session": x, "file": files} {
		x.decode(packet10(header{secs: secs}, set(2, templateRecord(256, pair4...))))
		if n := len(x.decode(packet10(header{secs: secs}, set(2, templateRecord(256, pair4[1], pair4[0])), set(256, bytes4)))); n != 1 {
			t.Errorf("%s: got %d records, want 1", what, n)
		}
	}
}

// Two senders that interleave their numbers are a fork; one that restarts is
// not.
func TestFork(t *testing.T) {
	for name, proto := range protocols {
		f := func(what string, want uint64, steps ...step) {
			t.Helper()
			x := newTester(t, decode.Config{})
			for _, s := range steps {
				x.from(exporterA, proto.packet(s), now+s.ms)
			}
			if got := x.d.Stats().Forks; got != want || x.d.Exporters(nil)[0].Forks != want {
				t.Errorf("%s, %s: got %d forks, want %d", name, what, got, want)
			}
		}
		u := uint32(1)
		if proto.perRecord {
			u = 6
		}
		a := func(k uint32) step { return step{1000 + k*u, u, 1000, 0} }
		b := func(k uint32) step { return step{3_000_000_000 + k*u, u, 1000, 0} }
		f("steady", 0, steady(1000, u, 100)...)
		f("restarted", 0, a(0), a(1), b(0), b(1), b(2))
		f("restarted twice", 0, a(0), b(0), step{6_000_000, u, 1000, 0})
		f("one forged packet", 1, a(0), a(1), b(0), a(2), a(3))
		f("interleaved", 4, a(0), b(0), a(1), b(1), a(2), b(2))
	}
}
