package collector

import (
	"context"
	"errors"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flowhound/flowhound/collector/listen"
	"github.com/flowhound/flowhound/internal/flow"
)

func TestContactsReachTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startRig(t, setup{workers: 2})
		r.sources[0].feed(r.v5("127.0.0.1",
			record{src: "10.0.0.1", dst: "10.0.0.2", sport: 40000, dport: 443, start: -3 * time.Second, end: -time.Second, packets: 5, bytes: 500, flags: 0x1b},
			record{src: "10.0.0.1", dst: "10.0.0.2", sport: 40001, dport: 443, start: -9 * time.Second, end: -8 * time.Second, packets: 7, bytes: 70, flags: 2}))
		r.sources[1].feed(r.v5("127.0.0.2",
			record{src: "10.0.0.2", dst: "10.0.0.1", sport: 443, dport: 40000, start: -2 * time.Second, end: -time.Second, packets: 3, bytes: 300, flags: 0x12}))
		nowMS := r.nowMS()
		time.Sleep(r.cfg.Flush + time.Millisecond)
		synctest.Wait()
		got := r.log.read(t)
		a, b := r.host("10.0.0.1"), r.host("10.0.0.2")
		want := map[flow.Contact]bool{
			{Local: a, Remote: b, Slice: flow.SliceOf(nowMS-1000, 300_000), FirstMS: nowMS - 9000, LastMS: nowMS - 1000,
				Out: flow.Counters{Flows: 2, Packets: 12, Bytes: 570}, Port: 443, Proto: 6, Flags: 0x1b, Bits: flow.BitOut}: true,
			{Local: a, Remote: b, Slice: flow.SliceOf(nowMS-1000, 300_000), FirstMS: nowMS - 2000, LastMS: nowMS - 1000,
				In: flow.Counters{Flows: 1, Packets: 3, Bytes: 300}, Port: 443, Proto: 6, Flags: 0x12, Bits: flow.BitIn | flow.BitAnswered}: true,
		}
		pairs := paired(t, got.contacts)
		if len(pairs) != 2 {
			t.Fatalf("%d pairs, want 2", len(pairs))
		}
		for _, c := range pairs {
			if !want[c] && !want[c.Flip()] {
				t.Errorf("unexpected contact %+v", c)
			}
		}
		if n := len(got.commits); n != 2 {
			t.Errorf("%d commits, want the first and one flush", n)
		}
		if c := got.commits[len(got.commits)-1]; c.Records != 3 || c.Contacts != 4 || c.Late != 0 {
			t.Errorf("commit of %d records, %d contacts, %d late, want 3, 4, 0", c.Records, c.Contacts, c.Late)
		}
		r.stop()
		r.conserved()
	})
}

func TestStopWritesEverything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startRig(t, setup{})
		r.sources[0].feed(r.v5("127.0.0.1", record{src: "10.0.0.1", dst: "10.0.0.2"}))
		r.sources[0].last <- []listen.Packet{r.v5("127.0.0.1", record{src: "10.0.0.3", dst: "10.0.0.2"})}
		r.stop()
		if pairs := paired(t, r.log.read(t).contacts); len(pairs) != 2 {
			t.Errorf("%d pairs after Stop, want 2", len(pairs))
		}
		r.conserved()
		if err := r.Stop(context.Background()); err != nil {
			t.Errorf("second Stop: %v", err)
		}
	})
}

// While a stopping collector writes its last big flush, it goes on receiving.
func TestStopReceivesWhileItWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startRig(t, setup{})
		one := r.v5("192.0.2.1", record{src: "10.0.0.1", dst: "10.0.0.2"})
		r.sources[0].feed(one)
		writing, more := make(chan struct{}), make(chan struct{})
		r.log.setFault(func(_ int, op string) fault {
			if op == "sync" && more != nil {
				close(writing)
				<-more
				more = nil
			}
			return works
		})
		go func() {
			<-writing
			r.sources[0].feed(one, one)
			close(more)
		}()
		r.stop()
		if got := r.metric("committed_records_total"); got != 3 {
			t.Errorf("%v records in the log, want the one before and the two while Stop wrote it", got)
		}
		r.conserved()
	})
}

func TestStopSaysWhatIsNotWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startRig(t, setup{})
		r.sources[0].feed(r.v5("127.0.0.1", record{src: "10.0.0.1", dst: "10.0.0.2"}))
		r.log.setFault(func(int, string) fault { return refuses })
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := r.Stop(ctx); err == nil {
			t.Error("the log refuses everything, Stop returned no error")
		}
	})
}

// feedMany feeds n records of distinct pairs.
func (r *rig) feedMany(rng *rand.Rand, n int) {
	for n > 0 {
		var batch []record
		for range min(n, 30) {
			batch = append(batch, record{src: addr(rng), dst: addr(rng), sport: 1000, dport: 2000})
		}
		n -= len(batch)
		r.sources[rng.IntN(len(r.sources))].feed(r.v5("127.0.0.1", batch...))
	}
}

func addr(rng *rand.Rand) string {
	return flowAddr(10, byte(rng.Uint32()), byte(rng.Uint32()), byte(rng.Uint32()))
}

// Whatever single operation fails, with or without effect, every contact is
// in the log once.
func TestTransientErrorsLoseNothing(t *testing.T) {
	scenario := func(t *testing.T, f func(n int, op string) fault) (ops int) {
		synctest.Test(t, func(t *testing.T) {
			r := startRig(t, setup{})
			r.log.setFault(f)
			rng := rand.New(rand.NewPCG(1, 2))
			for range 3 {
				r.feedMany(rng, 20)
				time.Sleep(r.cfg.Flush + time.Second)
			}
			r.stop()
			if got := flows(paired(t, r.log.read(t).contacts)); got != 60 {
				t.Fatalf("%d flows in the log, want 60", got)
			}
			r.conserved()
			ops = r.log.operations()
		})
		return ops
	}
	ops := scenario(t, nil)
	for k := 1; k <= ops; k++ {
		for _, f := range []fault{refuses, unanswered} {
			scenario(t, func(n int, op string) fault {
				if n == k {
					return f
				}
				return works
			})
		}
	}
}

// Killed before or after any operation, both halves of each contact are in or
// out together, everything committed before stays, and the next incarnation
// goes on.
func TestCrashAtEachPoint(t *testing.T) {
	scenario := func(t *testing.T, k int, f fault) (ops int) {
		synctest.Test(t, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(uint64(k), uint64(f)))
			keys := filepath.Join(t.TempDir(), "keys")
			r := startRig(t, setup{keys: keys})
			r.log.setFault(func(n int, _ string) fault {
				switch {
				case k == 0 || n < k:
					return works
				case n == k:
					return f
				}
				return refuses
			})
			for range 2 {
				r.feedMany(rng, 20)
				time.Sleep(r.cfg.Flush + time.Second)
			}
			ops = r.log.operations()
			committed := r.metric("committed_records_total")
			r.kill()
			r.log.crash(rng)
			before := flows(paired(t, r.log.read(t).contacts))
			if before%20 != 0 || before < uint64(committed) {
				t.Fatalf("operation %d, fault %d: %d flows in the log, %v were committed", k, f, before, committed)
			}

			again := startRig(t, setup{keys: keys, log: r.log})
			again.feedMany(rng, 10)
			again.stop()
			if after := flows(paired(t, r.log.read(t).contacts)); after != before+10 {
				t.Fatalf("operation %d, fault %d: %d flows after the restart, want %d", k, f, after, before+10)
			}
		})
		return ops
	}
	ops := scenario(t, 0, works)
	if ops < 40 {
		t.Fatalf("only %d operations", ops)
	}
	for k := 1; k <= ops; k++ {
		scenario(t, k, refuses)
		scenario(t, k, unanswered)
	}
}

func TestSecondCollectorTakesOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		keys := filepath.Join(t.TempDir(), "keys")
		first := startRig(t, setup{keys: keys})
		second := startRig(t, setup{keys: keys, log: first.log})
		first.sources[0].feed(first.v5("127.0.0.1", record{src: "10.0.0.1", dst: "10.0.0.2"}))
		time.Sleep(first.cfg.Flush + time.Second)
		select {
		case err := <-first.Failed():
			if !errors.Is(err, ErrReplaced) {
				t.Errorf("the first died of %v, want ErrReplaced", err)
			}
		default:
			t.Error("the first collector still runs")
		}
		if err := first.Stop(context.Background()); err == nil {
			t.Error("Stop of the first: no error")
		}
		second.stop()
		got := second.log.read(t)
		if n := len(got.contacts); n != 0 {
			t.Errorf("%d contacts of the replaced collector count", n)
		}
	})
}

func TestSlicesEndWithoutTraffic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startRig(t, setup{})
		time.Sleep(time.Hour)
		r.stop()
		commits := r.log.read(t).commits
		if n := len(commits); n < 13 || n > 14 {
			t.Errorf("%d commits in an hour without traffic, want one per slice of 5 min and the first", n)
		}
		for _, c := range commits[1:] {
			if want := flow.SliceOf(c.AtMS-30_000, 300_000) - 1; c.Ended != want {
				t.Errorf("commit at %d: ended %d, want %d", c.AtMS, c.Ended, want)
			}
		}
	})
}

func TestLateRecordsMoveOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		keys := filepath.Join(t.TempDir(), "keys")
		r := startRig(t, setup{keys: keys})
		time.Sleep(11 * time.Minute)
		ended := r.Status().Ended
		r.sources[0].feed(r.v5("127.0.0.1",
			record{src: "10.0.0.1", dst: "10.0.0.2", start: -5 * time.Minute, end: -5 * time.Minute}, // late
			record{src: "10.0.0.1", dst: "10.0.0.3"}))
		lastMS := r.nowMS() - 300_000 // in the slice that ended last
		r.stop()
		again := startRig(t, setup{keys: keys, log: r.log})
		if got := again.Status().Ended; got != ended {
			t.Errorf("ended slice %d after the restart, want %d", got, ended)
		}
		again.sources[0].feed(again.v5("127.0.0.1",
			record{src: "10.0.0.1", dst: "10.0.0.4", start: -20 * time.Minute, end: -20 * time.Minute}))
		again.stop()
		if n := r.metric("records_late_total") + again.metric("records_late_total"); n != 2 {
			t.Errorf("%v late records, want 2", n)
		}
		late := 0
		for _, c := range paired(t, r.log.read(t).contacts) {
			if c.Slice <= ended {
				t.Errorf("contact in slice %d, %d had ended", c.Slice, ended)
			}
			if c.Slice == ended+1 && c.LastMS == lastMS {
				late++
			}
		}
		if late != 1 {
			t.Errorf("%d contacts of slice %d keep the time of the late record, want 1", late, ended+1)
		}
		commits := r.log.read(t).commits
		if n := commits[len(commits)-1].Late; n != 1 {
			t.Errorf("last commit: %d late, want 1", n)
		}
	})
}

func TestClockJumps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startRig(t, setup{})
		for _, jump := range []time.Duration{0, -3 * time.Hour, 2 * time.Hour, -10 * 365 * 24 * time.Hour, 0} {
			r.clock.Store(int64(jump))
			r.sources[0].feed(r.v5("127.0.0.1", record{src: "10.0.0.1", dst: "10.0.0.2"}))
			time.Sleep(6 * time.Minute)
		}
		r.stop()
		if n := flows(paired(t, r.log.read(t).contacts)); n != 5 { // read checks that Ended never goes back
			t.Errorf("%d flows in the log, want 5", n)
		}
		r.conserved()
	})
}

// While the log is away the receivers go on, whole flushes are dropped beyond
// the bound, and what is kept arrives.
func TestLogAwayDropsWholeFlushes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startRig(t, setup{config: func(c *Config) { c.Queue = 100 }})
		rng := rand.New(rand.NewPCG(3, 4))
		r.log.setFault(func(int, string) fault { return refuses })
		time.Sleep(time.Second) // not at the moment of a flush
		for range 12 {
			r.feedMany(rng, 40)
			time.Sleep(r.cfg.Flush)
		}
		if r.Status().LogFailing == 0 || r.metric("queue_contacts") > 100 {
			t.Errorf("status %+v: want a failing log and at most 100 contacts", r.Status())
		}
		r.log.setFault(nil)
		time.Sleep(time.Minute)
		r.stop()
		dropped := r.metric("dropped_records_total")
		got := flows(paired(t, r.log.read(t).contacts))
		if dropped == 0 || got+uint64(dropped) != 480 || got < 80 {
			t.Errorf("%d flows arrived, %v were dropped, want 480 in all and two flushes at least", got, dropped)
		}
		if r.metric("dropped_flushes_total")*40 != dropped {
			t.Errorf("%v records in %v flushes of 40 dropped", dropped, r.metric("dropped_flushes_total"))
		}
		r.conserved()
	})
}

// A table that fills up before the interval is flushed early; nothing is lost
// and nothing waits for the interval.
func TestFullTableFlushesEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startRig(t, setup{workers: 2})
		r.feedMany(rand.New(rand.NewPCG(5, 6)), 20_000)
		synctest.Wait()
		if n := r.metric("flushes_total", "full"); n < 10 {
			t.Errorf("%v early flushes of tables of 1024 after 20000 contacts", n)
		}
		r.stop()
		if n := flows(paired(t, r.log.read(t).contacts)); n != 20_000 {
			t.Errorf("%d flows in the log, want 20000", n)
		}
		r.conserved()
	})
}
