package core

import (
	"flag"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/flowhound/flowhound/detector/graph"
)

var benchHosts = flag.Int("hosts", 2_000_000, "hosts of the benchmark's graph; BotCloud's operator had 16000000")

// benchView has 1.9 undirected links a host: each calls one, and some more, the
// called side by a popularity that falls with its number to the power of 2/3.
// Numbers are then scrambled, as pseudonyms are.
var benchView = sync.OnceValue(func() *graph.View {
	rng := rand.New(rand.NewPCG(1, 1))
	n := *benchHosts
	scrambled := func(x int) uint32 { return uint32(uint64(x) * 2_654_435_761 % uint64(n)) } // by a prime
	src, dst := make([]uint32, n*19/10), make([]uint32, n*19/10)
	for i := range src {
		caller := i
		if i >= n {
			caller = rng.IntN(n)
		}
		u := rng.Float64()
		src[i], dst[i] = scrambled(caller), scrambled(int(float64(n)*u*u*u))
	}
	return graph.FromLinks(n, src, dst)
})

// BenchmarkContrast reports the memory beyond the view, too: B/op is
// all of it, and peak-B what lives at once, with a fifth of it as garbage.
func BenchmarkContrast(b *testing.B) {
	v := benchView()
	defer debug.SetGCPercent(debug.SetGCPercent(20))
	b.ReportAllocs()
	cpu, peak := cpuSeconds(b), uint64(0)
	for b.Loop() {
		peak = max(peak, peakOf(func() { Contrast(v, Params{}) }))
	}
	n := float64(b.N)
	b.ReportMetric((cpuSeconds(b)-cpu)/n, "cpu-s/op")
	b.ReportMetric(float64(peak), "peak-B")
	b.ReportMetric(float64(len(v.Peers))*n/b.Elapsed().Seconds()/1e6, "Mlinks/s")
}

// peakOf returns by how many bytes the heap grows while f runs, as looked at
// each millisecond.
func peakOf(f func()) uint64 {
	heap := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	read := func() uint64 {
		metrics.Read(heap)
		return heap[0].Value.Uint64()
	}
	runtime.GC()
	before := read()
	done, peak := make(chan struct{}), make(chan uint64)
	go func() {
		most := before
		for {
			select {
			case <-done:
				peak <- most - before
				return
			case <-time.After(time.Millisecond):
				most = max(most, read())
			}
		}
	}()
	f()
	close(done)
	return <-peak
}

// cpuSeconds returns the processor time of the process so far. It says more
// than the clock on a busy machine.
func cpuSeconds(b *testing.B) float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
}
