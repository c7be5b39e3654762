package snapshot

import (
	"fmt"
	"iter"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/flowhound/flowhound/detector/graph"
	"github.com/flowhound/flowhound/internal/flow"
)

// part is all blocks of one kind and shard, which follow each other from block
// first on.
type part struct {
	kind     kind
	shard    flow.Shard
	first    uint64
	count    int // hosts or pairs
	payloads [][]byte
}

// blockError is an error in a block.
type blockError struct {
	number uint64
	err    error
}

// parts restores parts in the background, as many at once as there are
// processors.
type parts struct {
	slots   chan struct{} // has room while another part may start
	free    chan []byte   // payloads that can be used again
	working sync.WaitGroup
	failed  atomic.Pointer[blockError] // the first, in the order of blocks
}

func newParts() *parts {
	return &parts{slots: make(chan struct{}, runtime.GOMAXPROCS(0)), free: make(chan []byte, 256)}
}

// buffer returns room for a payload.
func (p *parts) buffer(size int) []byte {
	select {
	case b := <-p.free:
		if cap(b) >= size {
			return b[:size]
		}
	default:
	}
	return make([]byte, size)
}

// start restores a part, when it is its turn.
func (p *parts) start(x part, to *graph.Restorer, oldest flow.Slice) {
	p.slots <- struct{}{}
	p.working.Go(func() {
		defer func() { <-p.slots }()
		if err := x.restore(to, oldest); err != nil {
			p.fail(err)
		}
		for _, b := range x.payloads {
			select {
			case p.free <- b:
			default:
				return
			}
		}
	})
}

func (p *parts) fail(err *blockError) {
	for {
		first := p.failed.Load()
		if first != nil && first.number <= err.number || p.failed.CompareAndSwap(first, err) {
			return
		}
	}
}

// wait returns when all started parts are restored.
func (p *parts) wait() { p.working.Wait() }

// close waits too, and returns the first error.
func (p *parts) close() *blockError {
	p.wait()
	return p.failed.Load()
}

func (x part) restore(to *graph.Restorer, oldest flow.Slice) *blockError {
	at := x.first // the block in hand
	var err error
	if x.kind == kindHosts {
		err = to.Hosts(x.shard, x.count, chunks(x, &at, parseHosts))
	} else {
		err = to.Pairs(x.shard, x.count, chunks(x, &at, func(saved []graph.SavedPair, b []byte) ([]graph.SavedPair, error) {
			return parsePairs(saved, b, oldest)
		}))
	}
	if err == nil {
		return nil
	}
	return &blockError{at, fmt.Errorf("%v: %w", x.kind, err)}
}

// chunks yields what the blocks of a part hold, and keeps the number of the
// block in hand.
func chunks[T any](x part, at *uint64, parse func([]T, []byte) ([]T, error)) iter.Seq2[[]T, error] {
	return func(yield func([]T, error) bool) {
		var saved []T
		for i, b := range x.payloads {
			*at = x.first + uint64(i)
			var err error
			saved, err = parse(saved[:0], b)
			if !yield(saved, err) || err != nil {
				return
			}
		}
	}
}
