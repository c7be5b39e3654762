package rank

import (
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
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

// median returns the middle of the times between the calls of a lap function.
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
					p.Progress = func(int, float64) { lap() }
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
