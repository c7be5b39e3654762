package collector

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/flowhound/flowhound/federation/wire"
	"github.com/flowhound/flowhound/internal/flow"
)

// memLog is a Log in memory. As in life, a batch is stored some time between
// its Publish and the end of the next Sync; payloads are read only then, so
// that a caller who changes one too early is found out.
type memLog struct {
	mu      sync.Mutex // guards all below
	pending []stored
	batches []stored
	ids     map[string]bool
	control []stored // sequence number = index + 1
	ops     int
	// fault decides what happens to the n-th operation, n = 1, 2, …
	fault func(n int, op string) fault
}

type stored struct {
	key     string // message id or control key
	shard   flow.Shard
	payload []byte
}

// fault is how an operation fails.
type fault int

const (
	works      fault = iota
	refuses          // nothing happens, the caller gets an error
	unanswered       // it happens, the caller gets an error
)

var errFault = errors.New("injected fault")

func newMemLog() *memLog { return &memLog{ids: make(map[string]bool)} }

// begin counts an operation; mu is held.
func (l *memLog) begin(op string) fault {
	l.ops++
	if l.fault == nil {
		return works
	}
	return l.fault(l.ops, op)
}

func (f fault) err() error {
	if f == works {
		return nil
	}
	return errFault
}

func (l *memLog) Publish(shard flow.Shard, id string, payload []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.begin("publish")
	if f != refuses {
		l.pending = append(l.pending, stored{id, shard, payload})
	}
	return f.err()
}

func (l *memLog) Sync(context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.begin("sync")
	if f != refuses {
		l.settle(func() bool { return true })
	}
	return f.err()
}

// settle stores those pending batches that arrives says; mu is held.
func (l *memLog) settle(arrives func() bool) {
	for _, b := range l.pending {
		if !l.ids[b.key] && arrives() {
			l.ids[b.key] = true
			b.payload = bytes.Clone(b.payload)
			l.batches = append(l.batches, b)
		}
	}
	l.pending = nil
}

// crash is what the end of the writing process does to batches on their way.
func (l *memLog) crash(rng *rand.Rand) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.settle(func() bool { return rng.IntN(2) == 0 })
	l.fault = nil
}

func (l *memLog) AppendControl(_ context.Context, key string, last uint64, payload []byte) (uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.begin("append")
	if f == refuses {
		return 0, errFault
	}
	if seq, _ := l.last(key); seq != last {
		return 0, fmt.Errorf("last sequence of %s is %d, not %d", key, seq, last)
	}
	l.control = append(l.control, stored{key: key, payload: bytes.Clone(payload)})
	return uint64(len(l.control)), f.err()
}

func (l *memLog) LastControl(_ context.Context, key string) (uint64, []byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if f := l.begin("last"); f != works {
		return 0, nil, errFault
	}
	seq, payload := l.last(key)
	return seq, payload, nil
}

func (l *memLog) last(key string) (uint64, []byte) {
	for i := len(l.control) - 1; i >= 0; i-- {
		if l.control[i].key == key {
			return uint64(i + 1), l.control[i].payload
		}
	}
	return 0, nil
}

// operations returns how many there were since setFault.
func (l *memLog) operations() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ops
}

func (l *memLog) setFault(f func(n int, op string) fault) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ops, l.fault = 0, f
}

// reading is what a reader of the log makes of it.
type reading struct {
	commits  []wire.Commit
	seeds    []wire.Seeds
	contacts []flow.Contact // covered by commits, both halves
}

// read follows the rules for readers: the control stream in order, a batch
// counts when a commit of its incarnation covers it, and every batch that is
// covered must be there.
func (l *memLog) read(t *testing.T) (r reading) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	byID := make(map[string][]byte)
	for _, b := range l.batches {
		byID[b.key] = b.payload
	}
	var last wire.Commit
	for _, m := range l.control {
		c, err := wire.ReadControl(m.payload)
		if err != nil {
			t.Fatal(err)
		}
		commit, ok := c.(wire.Commit)
		if !ok {
			r.seeds = append(r.seeds, c.(wire.Seeds))
			continue
		}
		if commit.Incarnation != last.Incarnation {
			if commit.Incarnation < last.Incarnation || commit.Flush != 1 || commit.Last != [256]uint64{} {
				t.Fatalf("after incarnation %d flush %d: incarnation %d begins with flush %d", last.Incarnation, last.Flush, commit.Incarnation, commit.Flush)
			}
			last.Last = [256]uint64{}
		} else if commit.Flush != last.Flush+1 {
			t.Fatalf("incarnation %d: flush %d after %d", commit.Incarnation, commit.Flush, last.Flush)
		}
		contacts := covered(t, byID, last, commit)
		if uint64(len(contacts)) != commit.Contacts {
			t.Fatalf("flush %d covers %d contacts, says %d", commit.Flush, len(contacts), commit.Contacts)
		}
		for _, c := range contacts {
			if c.Slice <= last.Ended {
				t.Fatalf("flush %d brings slice %d after %d had ended", commit.Flush, c.Slice, last.Ended)
			}
		}
		if commit.Ended < last.Ended {
			t.Fatalf("flush %d: ended slice went back from %d to %d", commit.Flush, last.Ended, commit.Ended)
		}
		r.contacts = append(r.contacts, contacts...)
		r.commits = append(r.commits, commit)
		last = commit
	}
	return r
}

func covered(t *testing.T, byID map[string][]byte, last, c wire.Commit) (contacts []flow.Contact) {
	t.Helper()
	for s := range c.Last {
		for seq := last.Last[s] + 1; seq <= c.Last[s]; seq++ {
			id := wire.Header{Collector: c.Collector, Incarnation: c.Incarnation, Shard: flow.Shard(s), Seq: seq}.ID()
			h, batch, err := wire.ReadBatch(byID[id], nil)
			if err != nil {
				t.Fatalf("batch %s, covered by flush %d: %v", id, c.Flush, err)
			}
			if h.ID() != id {
				t.Fatalf("batch %s says it is %s", id, h.ID())
			}
			contacts = append(contacts, batch...)
		}
	}
	return contacts
}

// paired fails unless every half has its other half, or the greater host's
// one was told already in its slice; it returns one of each pair: that of the
// lower host.
func paired(t *testing.T, contacts []flow.Contact) (pairs []flow.Contact) {
	t.Helper()
	balance := make(map[flow.Contact]int)
	told := make(map[topology]bool)
	for _, c := range contacts {
		if c.Local.Compare(c.Remote) < 0 {
			balance[c]++
			pairs = append(pairs, c)
		} else {
			balance[c.Flip()]--
			told[topologyOf(c.Flip())] = true
		}
	}
	for c, n := range balance {
		if n < 0 || n > 0 && !told[topologyOf(c)] {
			t.Fatalf("contact %v – %v: %+d halves more of the one than of the other", c.Local.Pseudonym, c.Remote.Pseudonym, n)
		}
	}
	return pairs
}

// topology is what of a contact the graph keeps once per slice.
type topology struct {
	local, remote flow.Host
	slice         flow.Slice
	port          uint16
	proto, bits   uint8
}

func topologyOf(c flow.Contact) topology {
	return topology{c.Local, c.Remote, c.Slice, c.Port, c.Proto, c.Bits}
}
