package collector

import "testing"

func TestSteadyHoldsAClockSetAhead(t *testing.T) {
	const minute, hour, year = 60_000, 3600_000, 365 * 24 * 3600_000
	type step struct {
		mono, wall int64 // wall relative to the monotonic clock
		ahead      bool
	}
	f := func(what string, steps ...step) {
		t.Helper()
		var s steady
		for i, x := range steps {
			if got := s.ahead(1e12+x.mono+x.wall, x.mono); got != x.ahead {
				t.Errorf("%s, step %d: ahead %v, want %v", what, i, got, x.ahead)
			}
		}
	}
	f("in step", step{0, 0, false}, step{year, 0, false})
	f("slewed", step{0, 0, false}, step{minute, 30 * minute, false}, step{2 * minute, hour, false}, step{3 * minute, 2 * hour, false})
	f("set back", step{0, 0, false}, step{minute, -year, false}, step{2 * minute, -year, false})
	f("set ahead and back", step{0, 0, false}, step{minute, 10 * year, true}, step{10 * minute, 10 * year, true}, step{10*minute + 1, 0, false},
		step{30 * minute, 10 * year, true})
	f("suspended", step{0, 0, false}, step{minute, 9 * hour, true}, step{11 * minute, 9 * hour, false}, step{12 * minute, 9 * hour, false})
	f("set back, then right", step{0, 0, false}, step{minute, -2 * hour, false}, step{2 * minute, 0, true}, step{12 * minute, 0, false})
}
