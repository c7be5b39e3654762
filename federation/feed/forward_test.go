package feed

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/flowhound/flowhound/federation/wire"
	"github.com/flowhound/flowhound/internal/flow"
)

// Without trouble, the remote log gets the same bytes in the same order, seeds
// included, and others' messages stay.
func TestForward(t *testing.T) {
	ring, local := startRing(t), open(t, spoolConfig(t.TempDir()))
	p := startPop(t, local)
	f := startForwarder(t, local, ring.url())
	seeds := wire.Seeds{Source: collectorName, Hosts: []wire.Seed{{Generation: 1}}}
	if _, err := local.AppendControl(limit(t), seeds.Key(), 0, seeds.Append(nil)); err != nil {
		t.Fatal(err)
	}
	closing := wire.Close{Slice: 5}
	if _, err := local.AppendControl(limit(t), closing.Key(), 0, closing.Append(nil)); err != nil {
		t.Fatal(err)
	}
	p.flushes(t, 5)
	f.caughtUp(t)
	f.Stop(limit(t))
	p = startPop(t, local)
	p.flushes(t, 5)
	f = startForwarder(t, local, ring.url())
	f.caughtUp(t)

	same(t, history(t, ring.l), history(t, local))
	if got, want := commitsOf(t, ring.l), commitsOf(t, local); !slices.Equal(got, want) {
		t.Errorf("commits: got %v, want %v", got, want)
	}
	if _, b, err := ring.l.LastControl(limit(t), seeds.Key()); err != nil || !slices.Equal(b, seeds.Append(nil)) {
		t.Errorf("seeds: got %x, %v", b, err)
	}
	if _, last, _ := ring.l.ControlBounds(limit(t)); last != 13 { // 12 commits and the seeds
		t.Errorf("the remote log has %d control messages, want 13", last)
	}
	s := f.Status(limit(t))
	if !s.RemoteUp || s.WaitingMessages != 0 || s.WaitingBytes != 0 || s.LagSeconds != 0 || s.ForwardedFlushes != 6 || s.LostFlushes != 0 {
		t.Errorf("status: %+v", s)
	}
}

// Seeds behind the last commit are told once, however often a forwarder starts.
func TestForwardSeedsOnce(t *testing.T) {
	ring, local := startRing(t), open(t, spoolConfig(t.TempDir()))
	startPop(t, local).flushes(t, 1)
	last := uint64(0)
	for g := range 3 {
		seeds := wire.Seeds{Source: collectorName, Hosts: []wire.Seed{{Generation: flow.Generation(g)}}}
		var err error
		if last, err = local.AppendControl(limit(t), seeds.Key(), last, seeds.Append(nil)); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		f := startForwarder(t, local, ring.url())
		f.caughtUp(t)
		f.Stop(limit(t))
	}
	if _, last, _ := ring.l.ControlBounds(limit(t)); last != 5 {
		t.Errorf("the remote log has %d control messages, want 2 commits and 3 seeds", last)
	}
}

// A commit whose acknowledgement was lost is known by its mark and its bytes;
// another one in its place is somebody else's.
func TestForwardAppendInDoubt(t *testing.T) {
	ring, local := startRing(t), open(t, spoolConfig(t.TempDir()))
	r := &run{f: newForwarder(t, local, ring.url()), remote: ring.l, id: 1}
	c, m := wire.Commit{Collector: collectorName, Incarnation: 1, Flush: 1}, mark{1, 5, 9}
	for range 2 {
		r.place.seq = 0
		if err := r.append(limit(t), c, c.Append(nil), m); err != nil || r.place.seq != 1 {
			t.Fatalf("append: got %d, %v, want 1", r.place.seq, err)
		}
	}
	r.place.seq = 0
	if err := r.append(limit(t), c, c.Append(nil), mark{1, 6, 9}); !errors.Is(err, ErrReplaced) {
		t.Errorf("another message of this mark's log: got %v, want %v", err, ErrReplaced)
	}
	r.wrote = false
	if err := r.append(limit(t), c, c.Append(nil), mark{1, 6, 9}); !errors.Is(err, errMoved) {
		t.Errorf("a message of the forwarder before: got %v, want %v", err, errMoved)
	}
}

// The remote log is away at the start and goes away again: what the collector
// writes meanwhile waits, is counted, and arrives.
func TestForwardRemoteAway(t *testing.T) {
	ring, local := startRing(t), open(t, spoolConfig(t.TempDir()))
	ring.stop()
	f := startForwarder(t, local, ring.url())
	p := startPop(t, local)
	p.flushes(t, 10)
	time.Sleep(20 * time.Millisecond)
	s := f.Status(limit(t))
	if s.RemoteUp || s.Reason == "" || s.WaitingMessages < 11 || s.WaitingBytes == 0 || s.LagSeconds <= 0 {
		t.Errorf("status without a remote log: %+v", s)
	}
	if strings.Contains(s.Reason, "127.0.0.1") {
		t.Errorf("the status shows an address: %q", s.Reason)
	}
	ring.start()
	f.caughtUp(t)
	for range 3 {
		ring.stop()
		p.flushes(t, 10)
		ring.start()
	}
	f.caughtUp(t)
	same(t, history(t, ring.l), history(t, local))
}

// A collector whose state directory is lost begins with incarnation 1 again;
// in the ring it goes on above its earlier life's, also when the remote log was
// away at its start.
func TestForwardLostState(t *testing.T) {
	ring := startRing(t)
	first := open(t, spoolConfig(t.TempDir()))
	f := startForwarder(t, first, ring.url())
	for range 7 {
		startPop(t, first).flushes(t, 2)
	}
	f.caughtUp(t)
	f.Stop(limit(t))
	ring.stop()

	second := open(t, spoolConfig(t.TempDir()))
	f = startForwarder(t, second, ring.url())
	p := startPop(t, second)
	p.flushes(t, 3)
	ring.start()
	f.caughtUp(t)
	p.flushes(t, 3)
	f.caughtUp(t)
	f.Stop(limit(t))
	p = startPop(t, second)
	p.flushes(t, 3)
	f = startForwarder(t, second, ring.url())
	f.caughtUp(t)
	got := history(t, ring.l)
	same(t, got, slices.Concat(history(t, first), history(t, second)))
	if got[len(got)-1].incarnation != 9 {
		t.Errorf("the second state's second incarnation is %d in the ring, want 9", got[len(got)-1].incarnation)
	}
	if s := f.Status(limit(t)); s.LostFlushes != 0 {
		t.Errorf("status: %+v", s)
	}
}

// Two machines of one name: the one that was there first stops, and does not
// start again.
func TestForwardConflict(t *testing.T) {
	ring := startRing(t)
	first, second := open(t, spoolConfig(t.TempDir())), open(t, spoolConfig(t.TempDir()))
	one := startForwarder(t, first, ring.url())
	p := startPop(t, first)
	p.flushes(t, 3)
	one.caughtUp(t)
	two := startForwarder(t, second, ring.url())
	q := startPop(t, second)
	q.flushes(t, 2)
	two.caughtUp(t)
	p.flushes(t, 1)
	stopped := func(f *Forwarder) {
		t.Helper()
		select {
		case err := <-f.Failed():
			if !errors.Is(err, ErrReplaced) || !strings.Contains(err.Error(), `collector "pop-1": another collector runs under this name`) {
				t.Errorf("got %v, want %v", err, ErrReplaced)
			}
		case <-time.After(20 * time.Second):
			t.Error("two machines of one name: the first goes on")
		}
	}
	stopped(one)
	if s := one.Status(limit(t)); s.RemoteUp || s.Reason == "" {
		t.Errorf("status: %+v", s)
	}
	one.Stop(limit(t))
	stopped(startForwarder(t, first, ring.url()))
	q.flushes(t, 2)
	two.caughtUp(t)
	same(t, history(t, ring.l), slices.Concat(history(t, first)[:3], history(t, second)))
}

// The spool overflows while the remote log is away: what arrives are whole
// flushes, under a new incarnation behind each gap, and the rest is counted.
func TestForwardOverflow(t *testing.T) {
	ring, local := startRing(t), open(t, spoolConfig(t.TempDir()))
	f := startForwarder(t, local, ring.url())
	p := startPop(t, local)
	p.flushes(t, 5)
	f.caughtUp(t)
	before := history(t, local)
	f.Stop(limit(t)) // it would read ahead what is about to go
	ring.stop()
	p.flushes(t, 60)
	all := commitsOf(t, local)
	// One stream loses its oldest half, the others nothing.
	shrink(t, local, contactStream(3))
	kept := wholeFlushes(t, local)
	if len(kept) < 5 || len(kept) > 55 {
		t.Fatalf("%d of 60 flushes are whole: the test shows nothing", len(kept))
	}
	reg := prometheus.NewPedanticRegistry()
	remote := DefaultConfig()
	remote.URL = ring.url()
	f, err := NewForwarder(local, ForwardConfig{Collector: collectorName, Remote: remote, Keep: DefaultKeep},
		Deps{Registerer: reg, Logger: quiet().Logger})
	if err != nil {
		t.Fatal(err)
	}
	f.Start()
	ring.start()
	f.caughtUp(t)
	p.flushes(t, 5)
	f.caughtUp(t)
	got := history(t, ring.l)
	arrived := func() []told { // before the gap and after it
		return slices.Concat(before, slices.DeleteFunc(wholeFlushes(t, local), func(x told) bool { return slices.Contains(before, x) }))
	}
	want := arrived()
	same(t, got, want)
	if last := got[len(got)-1].incarnation; last < 2 {
		t.Errorf("the incarnation behind a gap is %d, want a new one", last)
	}
	lost := uint64(len(all) + 5 - 1 - len(want))
	if s := f.Status(limit(t)); s.LostFlushes != lost || s.LostContacts == 0 {
		t.Errorf("status: %+v, want %d lost flushes", s, lost)
	}
	metrics, err := reg.Gather()
	if err != nil || len(metrics) != 11 {
		t.Errorf("%d metrics, %v", len(metrics), err)
	}
	// A forwarder that starts now goes on, and so does the next incarnation.
	f.Stop(limit(t))
	p.flushes(t, 2)
	startPop(t, local).flushes(t, 2)
	f = startForwarder(t, local, ring.url())
	f.caughtUp(t)
	same(t, history(t, ring.l), arrived())
}

// The control stream overflows too: the flushes whose predecessor is gone are
// given up, the others arrive.
func TestForwardControlOverflow(t *testing.T) {
	ring, local := startRing(t), open(t, spoolConfig(t.TempDir()))
	f := startForwarder(t, local, ring.url())
	p := startPop(t, local)
	p.flushes(t, 3)
	f.caughtUp(t)
	before := history(t, ring.l)
	f.Stop(limit(t))
	p.flushes(t, 40)
	all := history(t, local)
	shrink(t, local, controlStream)
	first, last, err := local.ControlBounds(limit(t))
	if err != nil {
		t.Fatal(err)
	}
	f = startForwarder(t, local, ring.url())
	f.caughtUp(t)
	want := all[len(all)-int(last-first):]
	same(t, history(t, ring.l), slices.Concat(before, want))
	if s := f.Status(limit(t)); s.LostFlushes != 1 || f.metrics.lostMessages.Load() == 0 {
		t.Errorf("status: %+v, %d control messages lost", s, f.metrics.lostMessages.Load())
	}
}

// The remote log loses its newest messages, or all: the forwarder goes on from
// what it still has.
func TestForwardRemoteLoses(t *testing.T) {
	ring, local := startRing(t), open(t, spoolConfig(t.TempDir()))
	f := startForwarder(t, local, ring.url())
	p := startPop(t, local)
	p.flushes(t, 10)
	f.caughtUp(t)
	ring.stop()
	ring.cfg.Dir = t.TempDir()
	ring.start()
	p.flushes(t, 3)
	f.caughtUp(t)
	same(t, history(t, ring.l), history(t, local))
}

// The local log goes back to an older state, as a machine restored from a
// snapshot does: nothing is forwarded twice.
func TestForwardLocalRestored(t *testing.T) {
	ring := startRing(t)
	dir := t.TempDir()
	local := open(t, spoolConfig(dir))
	p := startPop(t, local)
	p.flushes(t, 4)
	shut(t, local)
	saved := t.TempDir()
	copyDir(t, dir, saved)
	local = open(t, spoolConfig(dir))
	startPop(t, local).flushes(t, 4)
	f := startForwarder(t, local, ring.url())
	f.caughtUp(t)
	want := history(t, local)
	f.Stop(limit(t))
	shut(t, local)

	local = open(t, spoolConfig(saved))
	old := len(history(t, local))
	startPop(t, local).flushes(t, 20) // more than were lost: the places are taken again
	f = startForwarder(t, local, ring.url())
	f.caughtUp(t)
	same(t, history(t, ring.l), slices.Concat(want, history(t, local)[old:]))
}

// What is forwarded goes after a while, what is not stays.
func TestForwardKeep(t *testing.T) {
	ring, local := startRing(t), open(t, spoolConfig(t.TempDir()))
	remote := DefaultConfig()
	remote.URL = ring.url()
	f, err := NewForwarder(local, ForwardConfig{Collector: collectorName, Remote: remote, Keep: 60 * time.Millisecond}, quiet())
	if err != nil {
		t.Fatal(err)
	}
	f.Start()
	p := startPop(t, local)
	var want []told
	for range 5 {
		p.flushes(t, 3)
		f.caughtUp(t)
		time.Sleep(50 * time.Millisecond)
	}
	for i := range Streams {
		first, _, err := local.BatchBounds(limit(t), i)
		if err != nil {
			t.Fatal(err)
		}
		if i < 4 && first == 1 {
			t.Errorf("stream %d still has its first message", i)
		}
	}
	want = history(t, ring.l)
	if len(want) != 15 {
		t.Errorf("%d flushes in the remote log, want 15", len(want))
	}
	f.Stop(limit(t))
	p.flushes(t, 3)
	f = startForwarder(t, local, ring.url())
	f.caughtUp(t)
	if got := history(t, ring.l); len(got) != 18 {
		t.Errorf("%d flushes in the remote log, want 18", len(got))
	}
	if s := f.Status(limit(t)); s.LostFlushes != 0 {
		t.Errorf("status: %+v", s)
	}

	// A log that was not made as a spool keeps all, and forwards as well.
	dir := t.TempDir()
	shut(t, open(t, testConfig(dir)))
	local = open(t, spoolConfig(dir))
	if err := local.forget(limit(t), 0, 1); err == nil {
		t.Error("a log that may not drop anything did")
	}
	shut(t, local)
	shut(t, open(t, testConfig(dir)))
}
