package collector

import "time"

// Bounds of what is taken for a clock that was set wrongly: how far ahead it
// must jump, and for how long it must stay there to be believed after all (a
// machine that was suspended, a clock that was set at boot).
const (
	clockJump  = time.Hour
	clockTrust = 10 * time.Minute
)

// steady tells a clock that was set ahead from time that passed. A slice that
// has ended stays ended, in the log and over restarts, so one wrong setting of
// the clock would move every later contact into the future.
type steady struct {
	known   bool
	skewMS  int64 // wall clock minus monotonic clock when they last went together
	jumped  bool
	sinceMS int64 // monotonic time at which the jump was noticed
}

// ahead reports whether the wall clock has jumped ahead lately. Both times are
// in milliseconds; monoMS counts from any moment.
func (s *steady) ahead(wallMS, monoMS int64) bool {
	skewMS := wallMS - monoMS
	far := s.known && skewMS-s.skewMS > clockJump.Milliseconds()
	if far && !s.jumped {
		s.jumped, s.sinceMS = true, monoMS
	}
	if far && monoMS-s.sinceMS < clockTrust.Milliseconds() {
		return true
	}
	s.known, s.skewMS, s.jumped = true, skewMS, false
	return false
}
