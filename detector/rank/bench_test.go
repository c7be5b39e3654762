package rank

import (
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/flowhound/flowhound/detector/graph"
)

var benchHosts = flag.Int("hosts", 1<<20, "hosts of the benchmarks' graph; BotCloud's operator had 16000000")

// benchLinks returns an operator's links: one of twenty hosts is a customer,
// with a Pareto activity; the others are leaves of one customer, and one of
// ten is a server too, with a Zipf popularity. Nine of ten links are answered.
// There are 3.5 links per host, and numbers are scrambled as pseudonyms are.
func benchLinks(hosts int) (src, dst []uint32) {
	rng := rand.New(rand.NewPCG(1, 1))
	name := make([]uint32, hosts)
	for x := range name {
		name[x] = uint32(x)
	}
	rng.Shuffle(hosts, func(i, j int) { name[i], name[j] = name[j], name[i] })
	customers, servers := hosts/20, hosts/10
	// Popular customers and servers have low numbers before the scrambling.
	customer := func() uint32 { return name[int(float64(customers)*math.Pow(rng.Float64(), 3))] }
	server := func() uint32 {
		return name[customers+int(math.Exp(rng.Float64()*math.Log(float64(servers))))-1]
	}
	link := func(x, y uint32) {
		src, dst = append(src, x), append(dst, y)
		if rng.IntN(10) > 0 {
			src, dst = append(src, y), append(dst, x)
		}
	}
	for x := customers; x < hosts; x++ {
		link(customer(), name[x])
	}
	for len(src) < hosts*57/16 {
		link(name[rng.IntN(customers)], server())
	}
	return src, dst
}

var benchView = sync.OnceValue(func() *graph.View {
	src, dst := benchLinks(*benchHosts)
	return graph.FromLinks(*benchHosts, src, dst)
})

// cpuSeconds returns the processor time of the process so far. It says more
// than the clock on a busy machine.
func cpuSeconds(b *testing.B) float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return float64(u.Utime.Sec+u.Stime.Sec) + float64(u.Utime.Usec+u.Stime.Usec)/1e6
}

// laps returns the middle of the times between the calls of a lap function.
func laps(run func(lap func())) time.Duration {
	last := time.Now()
	var took []time.Duration
	run(func() {
		now := time.Now()
		took = append(took, now.Sub(last))
		last = now
	})
	slices.Sort(took)
	return took[len(took)/2]
}

// BenchmarkWeights ranks by two weights at once, and compares with one.
func BenchmarkWeights(b *testing.B) {
	v := benchView()
	seeds := []graph.Vertex{1, 2, 3}
	for _, precision := range []Precision{Single, Double} {
		b.Run(fmt.Sprint("bytes=", 8>>precision), func(b *testing.B) {
			p := Params{Damping: 0.5, Iterations: 10, Precision: precision, Memory: new(Memory)}
			var cpu [2]float64
			var took [2]time.Duration
			for b.Loop() {
				for i, weights := range [][]Weight{{{}}, {{}, {seeds, 1}}} {
					p.Weights = weights
					begin := cpuSeconds(b)
					took[i] = laps(func(lap func()) {
						p.Progress = func(int) { lap() }
						mustRunAll(b, v, p)
					})
					cpu[i] += cpuSeconds(b) - begin
				}
				b.ReportMetric(took[0].Seconds()*1e3, "ms/one")
				b.ReportMetric(took[1].Seconds()*1e3, "ms/two")
				b.ReportMetric(took[1].Seconds()/took[0].Seconds(), "two/one")
			}
			b.ReportMetric(cpu[1]/cpu[0], "cpu-two/one")
		})
	}
}

// BenchmarkSuperstep ranks clients and servers, and compares with one rank of
// the baseline in the same run.
func BenchmarkSuperstep(b *testing.B) {
	v := benchView()
	for _, precision := range []Precision{Single, Double} {
		b.Run(fmt.Sprint("bytes=", 8>>precision), func(b *testing.B) {
			b.ReportAllocs()
			memory := new(Memory)
			p := Params{Damping: 0.5, Iterations: 1, Precision: precision, Memory: memory}
			begin := time.Now()
			mustRun(b, v, p)
			first := time.Since(begin)
			for b.Loop() {
				p.Iterations = 10
				p.Progress = nil
				both := laps(func(lap func()) {
					p.Progress = func(int) { lap() }
					mustRun(b, v, p)
				})
				one := laps(func(lap func()) { Baseline(v, 0.5, 10, lap) })
				memory.view = nil
				begin = time.Now()
				p.Progress, p.Iterations = nil, 1
				mustRun(b, v, p)
				b.ReportMetric(both.Seconds()*1e3, "ms/superstep")
				b.ReportMetric(one.Seconds()*1e3, "ms/baseline")
				b.ReportMetric(both.Seconds()/one.Seconds(), "of-baseline")
				b.ReportMetric((time.Since(begin)-both).Seconds()*1e3, "ms/prepare")
				b.ReportMetric((first-both).Seconds()*1e3, "ms/first-prepare")
			}
			b.ReportMetric(float64(v.Links()), "links")
		})
	}
}

var benchTolerance = flag.Float64("tolerance", 1e-6, "tolerance of BenchmarkResume")

// changeLinks replaces one link of a hundred, and its reverse if there is one.
func changeLinks(hosts int, src, dst []uint32) (newSrc, newDst []uint32) {
	rng := rand.New(rand.NewPCG(2, 1))
	newSrc, newDst = make([]uint32, 0, len(src)), make([]uint32, 0, len(dst))
	goes := false
	for i := range src {
		if i == 0 || src[i] != dst[i-1] || dst[i] != src[i-1] { // not the answer to the last link
			if goes = rng.IntN(100) == 0; goes {
				// One end stays; the other becomes that of another link, so that
				// popular hosts stay popular.
				x, y := src[i], dst[rng.IntN(len(dst))]
				newSrc, newDst = append(newSrc, x), append(newDst, y)
				if rng.IntN(10) > 0 {
					newSrc, newDst = append(newSrc, y), append(newDst, x)
				}
			}
		}
		if !goes {
			newSrc, newDst = append(newSrc, src[i]), append(newDst, dst[i])
		}
	}
	return newSrc, newDst
}

// BenchmarkResume ranks after 1 % of the links were replaced, and compares with
// a cold ranking of the same guarantee in the same run.
func BenchmarkResume(b *testing.B) {
	src, dst := benchLinks(*benchHosts)
	old := graph.FromLinks(*benchHosts, src, dst)
	src, dst = changeLinks(*benchHosts, src, dst)
	v := graph.FromLinks(*benchHosts, src, dst)
	src, dst = nil, nil
	memory := new(Memory)
	p := Params{Damping: 0.5, Tolerance: *benchTolerance, Precision: Single, Memory: memory}
	if *benchTolerance < 1e-7 { // out of the reach of float32
		p.Precision = Double
	}
	full := mustRunAll(b, old, p)
	for b.Loop() {
		runtime.GC()
		begin, cpu := time.Now(), cpuSeconds(b)
		cold := mustRun(b, v, p)
		coldTook, coldCPU := time.Since(begin), cpuSeconds(b)-cpu
		runtime.GC()
		begin, cpu = time.Now(), cpuSeconds(b)
		carried := Carry(v, old, full)
		carryTook := time.Since(begin)
		r := mustResume(b, v, carried, p)[0]
		took, tookCPU := time.Since(begin), cpuSeconds(b)-cpu
		b.ReportMetric(carryTook.Seconds()*1e3, "ms/carry")
		b.ReportMetric(coldTook.Seconds()*1e3, "ms/cold")
		b.ReportMetric(took.Seconds()*1e3, "ms/resumed")
		b.ReportMetric(coldCPU*1e3, "cpu-ms/cold")
		b.ReportMetric(tookCPU*1e3, "cpu-ms/resumed")
		b.ReportMetric(took.Seconds()/coldTook.Seconds(), "of-cold")
		b.ReportMetric(tookCPU/coldCPU, "cpu-of-cold")
		b.ReportMetric(float64(cold.Supersteps), "supersteps")
		b.ReportMetric(float64(r.Supersteps), "sweeps")
		b.ReportMetric(r.Delta*1e9, "n-delta")
		b.ReportMetric(Distance(cold, r)*1e9, "n-distance")
	}
}
