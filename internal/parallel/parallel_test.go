package parallel

import (
	"sync/atomic"
	"testing"
)

// Every number is handed out once, to a worker that no one else is meanwhile.
func TestFor(t *testing.T) {
	for _, n := range []int{0, 1, 2, 1000} {
		for _, workers := range []int{1, 3, 8} {
			busy := make([]atomic.Bool, workers)
			seen := make([]atomic.Int32, n)
			For(n, workers, func(worker, i int) {
				if busy[worker].Swap(true) {
					t.Errorf("worker %d was called twice at once", worker)
				}
				seen[i].Add(1)
				busy[worker].Store(false)
			})
			for i := range seen {
				if got := seen[i].Load(); got != 1 {
					t.Errorf("n %d, %d workers: %d was called %d times", n, workers, i, got)
				}
			}
		}
	}
}

func TestRanges(t *testing.T) {
	for _, n := range []int{0, 1, 7, 8, 1001} {
		seen := make([]atomic.Int32, n)
		Ranges(n, 8, 3, func(lo, hi int) {
			if hi-lo > 8 || hi <= lo {
				t.Errorf("n %d: got the range %d to %d", n, lo, hi)
			}
			for i := lo; i < hi; i++ {
				seen[i].Add(1)
			}
		})
		for i := range seen {
			if got := seen[i].Load(); got != 1 {
				t.Errorf("n %d: %d was covered %d times", n, i, got)
			}
		}
	}
}
