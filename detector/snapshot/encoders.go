package snapshot

import (
	"runtime"
	"sync"
)

// buffers is how many buffers an encoder has. Chunks take some ten microseconds:
// with more of them goroutines wait, and wake each other, less often.
const buffers = 16

// encoder appends the payload of a chunk.
type encoder func(b []byte, chunk int) []byte

// chunks writes a block of kind k for each of n chunks, in order, unless it is
// empty. One goroutine a processor encodes them, each with an encoder of its
// own: of p goroutines the first has chunks 0, p, 2p and so on. Each has some
// buffers: one is filled while the others wait to be written.
func (w *writer) chunks(k kind, n int, newEncoder func() encoder) {
	type lane struct{ full, empty chan []byte }
	lanes := make([]lane, min(n, runtime.GOMAXPROCS(0)))
	var working sync.WaitGroup
	defer working.Wait()
	for first := range lanes {
		l := lane{make(chan []byte, buffers), make(chan []byte, buffers)}
		for range buffers {
			l.empty <- nil
		}
		lanes[first] = l
		working.Go(func() {
			encode := newEncoder()
			for chunk := first; chunk < n; chunk += len(lanes) {
				b, more := <-l.empty
				if !more {
					return
				}
				l.full <- encode(b[:0], chunk)
			}
		})
	}
	for _, l := range lanes {
		defer close(l.empty)
	}
	for chunk := 0; chunk < n && w.err == nil; chunk++ {
		l := lanes[chunk%len(lanes)]
		b := <-l.full
		if len(b) > 0 {
			w.block(k, b)
		}
		l.empty <- b
	}
}
