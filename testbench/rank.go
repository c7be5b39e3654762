package testbench

import (
	"context"
	"fmt"
	"io"
	"runtime/debug"
	"slices"
	"time"

	"github.com/flowhound/flowhound/detector"
	"github.com/flowhound/flowhound/detector/graph"
	"github.com/flowhound/flowhound/detector/rank"
	"github.com/flowhound/flowhound/internal/flow"
)

// RankConfig describes a measurement of the graph and its ranks.
type RankConfig struct {
	Hosts, Links int    // default 1,000,000 and 3,600,000
	Seed         uint64 // of the network, default 1
	Repetitions  int    // of each figure, default 5; the median counts
	Dir          string // for the snapshot; empty means a temporary directory
	Progress     io.Writer
}

// DefaultRankConfig returns the defaults; the paper's operator has 16,000,000
// hosts and 57,000,000 links.
func DefaultRankConfig() RankConfig {
	return RankConfig{Hosts: 1_000_000, Links: 3_600_000, Seed: 1, Repetitions: 5, Progress: io.Discard}
}

// Validate reports a size that cannot be measured.
func (c RankConfig) Validate() error {
	switch {
	case c.Hosts < 100 || c.Links < c.Hosts:
		return fmt.Errorf("%d hosts, %d links: want at least 100 hosts and a link for each", c.Hosts, c.Links)
	case c.Repetitions < 1:
		return fmt.Errorf("repetitions %d: want at least 1", c.Repetitions)
	}
	return nil
}

// linkBytes is the memory that a link takes at its peak, all included, in a
// graph of the paper's size.
const linkBytes = 105

// fits reports a size that needs more memory than the machine has: the kernel
// would kill this process after some minutes, or another.
func (c RankConfig) fits(machine uint64) error {
	if need := float64(c.Links) * linkBytes; need > float64(machine) {
		return fmt.Errorf("%d links need about %.1f GB of memory: the machine has %.1f GB", c.Links, need/1e9, float64(machine)/1e9)
	}
	return nil
}

// Rank builds a network's graph from contacts and measures the detector's work
// on it. It takes about four minutes and 6 GB at the paper's size.
func Rank(ctx context.Context, c RankConfig) (r RankResult, err error) {
	if err := c.Validate(); err != nil {
		return r, fmt.Errorf("testbench rank: %w", err)
	}
	if err := c.fits(memoryBytes()); err != nil {
		return r, fmt.Errorf("testbench rank: %w", err)
	}
	defer debug.SetGCPercent(debug.SetGCPercent(detector.GCPercent))
	m := &rankRun{cfg: c, graph: graph.New(graph.DefaultConfig())}
	m.generator.seed = c.Seed
	m.pairs = uint64(float64(c.Links) / genLinks)
	m.generator.hosts = uint64(max(c.Hosts/2, (16*c.Hosts-int(m.pairs))/15))
	for _, step := range []func(context.Context) error{
		m.build, m.freeze, m.supersteps, m.baseline, m.changes, m.judge, m.judge, m.steady, m.snapshots,
	} {
		if err := step(ctx); err != nil {
			return r, fmt.Errorf("testbench rank: %w", err)
		}
		if err := ctx.Err(); err != nil {
			return r, fmt.Errorf("testbench rank: %w", err)
		}
	}
	return m.result, nil
}

// rankRun is a measurement under way.
type rankRun struct {
	cfg       RankConfig
	generator generator
	graph     *graph.Graph
	view      *graph.View
	before    *graph.View   // the view before, as readers of the last epoch have it
	ranks     []rank.Result // cold ones of view
	judged    detector.Judgement
	pairs     uint64 // that give about the wanted number of links
	drawn     uint64
	newest    flow.Slice
	result    RankResult
}

// params are the parameters of the measured epochs, those of the detector.
func (m *rankRun) params() rank.Params { return rank.DefaultParams() }

// build fills the graph, slice after slice of one window.
func (m *rankRun) build(ctx context.Context) error {
	bar := newProgressOf(m.cfg.Progress, "building", "links", uint64(m.cfg.Links))
	var spent time.Duration
	m.newest = genFirst + genWindow - 1
	m.graph.Expire(genFirst)
	at := func(i uint64) flow.Slice { return genFirst + flow.Slice(min(i*genWindow/m.pairs, genWindow-1)) }
	for m.graph.Stats().Links < uint64(m.cfg.Links) {
		if err := ctx.Err(); err != nil {
			return err
		}
		cpu, _ := m.apply(min(genRound, (uint64(m.cfg.Links)-m.graph.Stats().Links)/2+1), at)
		spent += cpu
		bar.at(m.graph.Stats().Links)
	}
	s := m.graph.Stats()
	m.result = RankResult{
		Machine: thisMachine(), Hosts: s.Hosts, Links: s.Links,
		BuildContactsPerCPU: float64(s.Contacts) / spent.Seconds(), BuildCPUSeconds: spent.Seconds(),
		StoreBytesPerLink: float64(s.Bytes) / float64(s.Links),
	}
	return nil
}

// apply draws count new pairs and enters them. It returns the time of the
// entering only.
func (m *rankRun) apply(count uint64, at func(uint64) flow.Slice) (cpu, wall time.Duration) {
	batches := m.generator.batches(m.drawn, count, at)
	m.drawn += count
	begin := processCPU()
	wall = timed(func() {
		for _, b := range batches {
			m.graph.Apply(1, b)
		}
	})
	return processCPU() - begin, wall
}

// freeze measures a view made from nothing.
func (m *rankRun) freeze(context.Context) error {
	m.result.FreezeSeconds = m.median(func() time.Duration {
		m.view = nil
		m.graph.Forget()
		return timed(func() { m.view = m.graph.Freeze() })
	})
	return nil
}

// supersteps measures both ranks, with float32 and with float64 shares, by one
// weight and by two, and a cold epoch.
func (m *rankRun) supersteps(context.Context) (err error) {
	step := func(precision rank.Precision, weights ...rank.Weight) (float64, error) {
		p := m.params()
		p.Precision, p.Weights, p.Iterations = precision, weights, 3+2*m.cfg.Repetitions
		var took []time.Duration
		last := time.Now()
		p.Progress = func(int) {
			took = append(took, time.Since(last))
			last = time.Now()
		}
		_, err := rank.Run(m.view, p)
		// The first two also touch the vectors' memory for the first time.
		return median(took[min(2, len(took)-1):]), err
	}
	if m.result.SuperstepSeconds, err = step(rank.Single); err != nil {
		return err
	}
	seeded := rank.Weight{Seeds: []graph.Vertex{0}, Lambda: 1}
	if m.result.SuperstepSeededSeconds, err = step(rank.Single, rank.Weight{}, seeded); err != nil {
		return err
	}
	if m.result.SuperstepDoubleSeconds, err = step(rank.Double); err != nil {
		return err
	}
	begin := time.Now()
	m.ranks, err = rank.Run(m.view, m.params())
	m.result.EpochSeconds, m.result.EpochSupersteps = time.Since(begin).Seconds(), m.ranks[0].Supersteps
	return err
}

func (m *rankRun) baseline(context.Context) error {
	var took []time.Duration
	last := time.Now()
	rank.Baseline(m.view, float32(m.params().Damping), 1+m.repetitions(), func() {
		took = append(took, time.Since(last))
		last = time.Now()
	})
	m.result.BaselineSeconds = median(took[1:]) // the first also touches fresh memory
	return nil
}

// changes measures freeze and epoch after 1 % of the links expired and as many
// new ones came.
func (m *rankRun) changes(context.Context) error {
	var freezes, epochs, colds []time.Duration
	for range min(3, m.cfg.Repetitions) {
		m.change()
		ranks := m.ranks
		m.before = m.view
		freezes = append(freezes, timed(func() { m.view = m.graph.Freeze() }))
		var err error
		epochs = append(epochs, timed(func() {
			m.ranks, err = rank.Resume(m.view, rank.Carry(m.view, m.before, ranks), m.params())
		}))
		if err != nil {
			return err
		}
		colds = append(colds, timed(func() { _, err = rank.Run(m.view, m.params()) }))
		if err != nil {
			return err
		}
	}
	m.result.FreezeAfterSeconds, m.result.EpochAfterSeconds, m.result.EpochSeconds = median(freezes), median(epochs), median(colds)
	m.result.FreezeFraction = m.result.FreezeAfterSeconds / m.result.FreezeSeconds
	m.result.EpochFraction = m.result.EpochAfterSeconds / m.result.EpochSeconds
	m.ranks, m.result.RankedBytes = nil, peakMemory()
	return nil
}

// change moves the window on until 1 % of the links have expired, and enters
// as many new ones.
func (m *rankRun) change() {
	s := m.graph.Stats()
	share, expired, links := s.Links/100+1, s.Expired, s.Links
	for m.graph.Stats().Expired < expired+share {
		m.graph.Expire(m.graph.Oldest() + 1)
		m.newest = max(m.newest, m.graph.Oldest())
	}
	m.newest++
	for m.graph.Stats().Links < links {
		missing := links - m.graph.Stats().Links
		m.apply(min(genRound, missing/2+1), func(uint64) flow.Slice { return m.newest })
	}
}

// judge measures an epoch from the frozen view to the verdict, with two seeds. The
// second time it holds the epoch before, as a detector does for its readers.
func (m *rankRun) judge(context.Context) error {
	m.ranks = nil // a detector has those of the epoch before, in judged
	seeds := []graph.Vertex{0, graph.Vertex(m.view.Len() / 2)}
	var judged detector.Judgement
	var err error
	m.result.JudgeSeconds = timed(func() { judged, err = detector.Judge(m.view, seeds, detector.DefaultConfig()) }).Seconds()
	m.result.resident(m.graph.Stats())
	m.judged = judged
	return err
}

// steady measures contacts as a day brings them.
func (m *rankRun) steady(context.Context) error {
	before := m.graph.Stats().Contacts
	cpu, _ := m.usual(min(usualRounds*genRound, m.pairs/5))
	m.result.ApplyContactsPerCPU = float64(m.graph.Stats().Contacts-before) / cpu.Seconds()
	return nil
}

// usualRounds is the number of rounds in which one has new pairs.
const usualRounds = 12

// usual enters about count pairs, of which eleven of twelve are known, as in 720
// million flows over 57 million links. It returns the time of the entering.
func (m *rankRun) usual(count uint64) (cpu, wall time.Duration) {
	for round := range uint64(usualRounds) {
		m.newest++
		drawn := m.drawn
		if round != usualRounds/2 {
			// Known pairs are drawn again from the newer half, which no change expired.
			m.drawn = drawn/2 + round*drawn/(2*usualRounds+2)
		}
		c, w := m.apply(count/usualRounds+1, func(uint64) flow.Slice { return m.newest })
		cpu, wall = cpu+c, wall+w
		m.drawn = max(m.drawn, drawn)
	}
	return cpu, wall
}

// repetitions is how often a figure is measured: large graphs three times at
// most.
func (m *rankRun) repetitions() int {
	if m.cfg.Links > 20_000_000 {
		return min(m.cfg.Repetitions, 3)
	}
	return m.cfg.Repetitions
}

// median returns the median of the repetitions of f, in seconds.
func (m *rankRun) median(f func() time.Duration) float64 {
	var took []time.Duration
	for range m.repetitions() {
		took = append(took, f())
	}
	return median(took)
}

func median(took []time.Duration) float64 {
	slices.Sort(took)
	return took[len(took)/2].Seconds()
}

func timed(f func()) time.Duration {
	begin := time.Now()
	f()
	return time.Since(begin)
}
