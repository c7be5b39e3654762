// Package parallel shares the work of one call among processors.
package parallel

import (
	"sync"
	"sync/atomic"
)

// For calls f(worker, 0) … f(worker, n-1) from as many goroutines as there are
// workers, 0 ≤ worker < workers, and returns when all are done. Each takes the
// next number when it is free, so that uneven work is shared too.
func For(n, workers int, f func(worker, i int)) {
	var next atomic.Int64
	var wait sync.WaitGroup
	for worker := range min(n, workers) {
		wait.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				f(worker, i)
			}
		})
	}
	wait.Wait()
}

// Ranges calls f for ranges of at most step that cover 0 ≤ i < n.
func Ranges(n, step, workers int, f func(lo, hi int)) {
	For((n+step-1)/step, workers, func(_, i int) { f(i*step, min(n, (i+1)*step)) })
}
