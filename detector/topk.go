package detector

import (
	"strconv"
	"sync"
)

// topK chooses which suspects become metric labels. A suspect that is shown
// stays until it falls below place 1.5·k, so that two of equal strength do not
// take turns and leave a new series behind each time.
type topK struct {
	k int

	mu    sync.Mutex // guards what follows
	seq   uint64     // of the epoch that shown belongs to
	shown map[string]bool
}

// choose returns the places of the suspects to show, at most k.
func (t *topK) choose(e *epoch) []int {
	t.mu.Lock()
	defer t.mu.Unlock()
	suspects := e.verdict.Suspects
	reach := min(t.k+t.k/2, len(suspects))
	var places []int
	taken := make(map[int]bool, t.k)
	take := func(i int) {
		if len(places) < t.k && !taken[i] {
			places, taken[i] = append(places, i), true
		}
	}
	for i := range reach {
		if t.shown[e.pseudonym(suspects[i].Vertex)] {
			take(i)
		}
	}
	for i := range reach {
		take(i)
	}
	if e.seq != t.seq {
		t.seq, t.shown = e.seq, make(map[string]bool, len(places))
		for _, i := range places {
			t.shown[e.pseudonym(suspects[i].Vertex)] = true
		}
	}
	return places
}

func (t *topK) collect(out emitter, e *epoch) {
	places := t.choose(e)
	for _, i := range places {
		s := e.verdict.Suspects[i]
		out.gauge(descTopScore, s.Score, e.pseudonym(s.Vertex))
	}
	out.gauge(descTopTruncate, float64(len(e.verdict.Suspects)-len(places)))
}

// scoreLabel is the label of a bucket of the score distribution.
func scoreLabel(i int) string {
	if i == len(scoreBounds) {
		return "+Inf"
	}
	return strconv.FormatFloat(scoreBounds[i], 'g', -1, 64)
}
