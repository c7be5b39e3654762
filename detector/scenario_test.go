package detector

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/flowhound/flowhound/federation/wire"
	"github.com/flowhound/flowhound/internal/flow"
	"github.com/flowhound/flowhound/testbench/botnet"
)

// firstSlice is the slice in which scenarios begin.
const firstSlice flow.Slice = 1000

// testConfig has slices of one second, so that tests can name times by slice.
func testConfig() Config {
	c := DefaultConfig()
	c.Slice, c.Window, c.Patience = time.Second, 8*time.Second, 400*time.Millisecond
	c.SnapshotSlices, c.FullEvery = 3, 4
	return c
}

// frozen is a clock for which no slice of a scenario is over: a detector with
// it closes none.
func frozen() time.Time { return time.UnixMilli(0) }

var testStart = time.Now()

// farFuture is a running clock for which every slice of a scenario is over.
func farFuture() time.Time { return time.UnixMilli(1 << 40).Add(time.Since(testStart)) }

// host returns the host of a number, with a shard and pseudonym that scramble
// it.
func host(i uint32) flow.Host {
	var p flow.Pseudonym
	binary.LittleEndian.PutUint32(p[3:], i*2654435761)
	binary.LittleEndian.PutUint32(p[9:], i)
	return flow.Host{Pseudonym: p, Shard: flow.Shard(i * 167)}
}

// fakeCollector writes flushes as a collector does.
type fakeCollector struct {
	log    *memLog
	commit wire.Commit
	at     uint64 // place of the last commit
}

func newFakeCollector(l *memLog, name string) *fakeCollector {
	return &fakeCollector{log: l, commit: wire.Commit{Collector: name, Incarnation: 1, Ended: firstSlice - 1}}
}

// flush writes both halves of the contacts from → to in slice s, and a commit
// that ends the slices up to ended.
func (c *fakeCollector) flush(s flow.Slice, links [][2]uint32, ended flow.Slice) {
	c.send(s, links)
	c.end(ended)
}

// send writes batches that no commit covers yet.
func (c *fakeCollector) send(s flow.Slice, links [][2]uint32) {
	byShard := map[flow.Shard][]flow.Contact{}
	for i, l := range links {
		at := int64(s)*1000 + int64(i%1000)
		k := flow.Contact{
			Local: host(l[0]), Remote: host(l[1]), Slice: s, FirstMS: at, LastMS: at, Proto: 17, Port: 4672,
			Out: flow.Counters{Flows: 1, Packets: 3, Bytes: 300}, Bits: flow.BitOut,
		}
		for _, half := range []flow.Contact{k, k.Flip()} {
			byShard[half.Local.Shard] = append(byShard[half.Local.Shard], half)
		}
	}
	for shard := range flow.Shards {
		if cs := byShard[flow.Shard(shard)]; len(cs) > 0 {
			c.commit.Last[shard]++
			h := wire.Header{Collector: c.commit.Collector, Incarnation: c.commit.Incarnation, Shard: flow.Shard(shard), Seq: c.commit.Last[shard]}
			c.log.publish(h.Shard, wire.AppendBatch(nil, h, cs))
		}
	}
}

// end writes the commit.
func (c *fakeCollector) end(ended flow.Slice) {
	c.commit.Flush++
	c.commit.Ended = ended
	seq, err := c.log.AppendControl(context.Background(), c.commit.Key(), c.at, c.commit.Append(nil))
	if err != nil {
		panic(err)
	}
	c.at = seq
}

// die loses the batches that no commit covers, and starts again.
func (c *fakeCollector) die() {
	c.commit = wire.Commit{Collector: c.commit.Collector, Incarnation: c.commit.Incarnation + 1, Ended: c.commit.Ended}
}

// backgroundLinks draws links of n hosts: clients that visit popular servers and some
// unpopular ones, a few of them often.
func backgroundLinks(rng *rand.Rand, n uint32) [][2]uint32 {
	var links [][2]uint32
	for i := range n {
		visits := 1 + rng.IntN(4)
		if rng.IntN(50) == 0 {
			visits = 40
		}
		for range visits {
			server := rng.Uint32N(n)
			if rng.IntN(6) > 0 {
				f := rng.Float64()
				server = uint32(f * f * f * float64(n/10))
			}
			if server != i {
				links = append(links, [2]uint32{i, server}, [2]uint32{server, i})
			}
		}
	}
	return links
}

// botLinks draws a Kademlia overlay among the hosts that bots names.
func botLinks(rng *rand.Rand, bots []uint32) [][2]uint32 {
	o, err := botnet.Build(botnet.Kademlia, len(bots), rng)
	if err != nil {
		panic(err)
	}
	var links [][2]uint32
	for _, l := range o.Links {
		links = append(links, [2]uint32{bots[l.From], bots[l.To]})
	}
	return links
}

// choose returns k of the numbers below n, ascending.
func choose(rng *rand.Rand, n, k int) []uint32 {
	var out []uint32
	for _, i := range rng.Perm(n)[:k] {
		out = append(out, uint32(i))
	}
	slices.Sort(out)
	return out
}

// scenario writes a log of two collectors over n slices with the closes in it,
// a crash of a collector, late contacts and seeds.
func scenario(n int) *memLog {
	rng := rand.New(rand.NewPCG(7, 7))
	l := newMemLog()
	a, b := newFakeCollector(l, "pop-a"), newFakeCollector(l, "pop-b")
	links := backgroundLinks(rng, 300)
	bots := choose(rng, 300, 24)
	links = append(links, botLinks(rng, bots)...)
	var closeAt uint64
	for i := range n {
		s := firstSlice + flow.Slice(i)
		part := func() [][2]uint32 {
			var some [][2]uint32
			for _, l := range links {
				if rng.IntN(4) == 0 {
					some = append(some, l)
				}
			}
			return some
		}
		a.flush(s, part(), s-1)
		b.flush(s, part(), s-1)
		a.send(s+1, part()) // the next slice has begun
		if i%5 == 3 {
			a.die()
			a.send(s+1, part())
		}
		a.end(s)
		if i == 2 {
			l.append(wire.Seeds{Source: "api", Hosts: []wire.Seed{{Host: host(bots[0])}, {Host: host(bots[1])}}}, 0)
		}
		a.send(s+1, part()) // no commit covers this before the close
		b.flush(s, part(), s)
		if i%4 != 2 { // else the next close ends two slices at once
			closeAt = l.append(wire.Close{Slice: s}, closeAt)
		}
		b.flush(s, part(), s) // too late
	}
	return l
}

func (l *memLog) append(c wire.Control, last uint64) uint64 {
	seq, err := l.AppendControl(context.Background(), c.Key(), last, c.Append(nil))
	if err != nil {
		panic(err)
	}
	return seq
}

// boot starts a detector that closes no slices. It is stopped at the end of the
// test at the latest.
func boot(t *testing.T, l Log, dir string, cfg Config) *Detector {
	t.Helper()
	d, err := tryBoot(t, l, dir, cfg, frozen)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// bootClosing starts a detector that closes slices.
func bootClosing(t *testing.T, l Log, dir string, cfg Config) *Detector {
	t.Helper()
	d, err := tryBoot(t, l, dir, cfg, farFuture)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func tryBoot(t *testing.T, l Log, dir string, cfg Config, now func() time.Time) (*Detector, error) {
	t.Helper()
	d, err := New(cfg, Deps{Log: l, Registerer: prometheus.NewRegistry(), Logger: slog.New(slog.NewTextHandler(testWriter(t), nil)), Dir: dir, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Start(t.Context()); err != nil {
		return nil, err
	}
	t.Cleanup(func() { stop(t, d) })
	return d, nil
}

// testWriter shows a log in the test's output, as long as the test runs.
func testWriter(t *testing.T) io.Writer {
	w := &testLog{t: t}
	t.Cleanup(func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.t = nil
	})
	return w
}

type testLog struct {
	mu sync.Mutex // guards t
	t  *testing.T
}

func (w *testLog) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.t != nil {
		w.t.Log(strings.TrimSpace(string(b)))
	}
	return len(b), nil
}

func stop(t *testing.T, d *Detector) {
	t.Helper()
	if err := d.Stop(context.Background()); err != nil {
		t.Error(err)
	}
}

// wait polls until ok, and fails the test after 20 seconds.
func wait(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for range 4000 {
		if ok() {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatalf("waited 20 s for %s", what)
}

// settled waits until the detector has taken all of the log's control messages
// and ranked the last Close.
func settled(t *testing.T, d *Detector) {
	t.Helper()
	wait(t, "the detector to be ready", func() bool { return d.Ready() == nil })
}

// ask sends a request to the API.
func ask(d *Detector, method, path, body string) (int, string) {
	w := httptest.NewRecorder()
	d.Handler().ServeHTTP(w, httptest.NewRequest(method, path, strings.NewReader(body)))
	return w.Code, w.Body.String()
}

// scores returns the scores of all hosts, with the slice they belong to.
func scores(t *testing.T, d *Detector) string {
	t.Helper()
	w := httptest.NewRecorder()
	d.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/api/v1/scores", nil))
	if w.Code != http.StatusOK {
		t.Fatalf("scores: %d %s", w.Code, w.Body)
	}
	return fmt.Sprint(w.Header().Get("Flowhound-Slice"), "\n", w.Body.String())
}
