package detector

import (
	"runtime/debug"
	"slices"
	"time"

	"github.com/flowhound/flowhound/detector/core"
	"github.com/flowhound/flowhound/detector/graph"
	"github.com/flowhound/flowhound/detector/rank"
	"github.com/flowhound/flowhound/detector/verdict"
	"github.com/flowhound/flowhound/federation/wire"
	"github.com/flowhound/flowhound/internal/flow"
)

// nullSeed draws the null graph of every epoch. It is a constant, so that
// scores are a function of the graph.
const nullSeed = 1

// recentEpochs is how many epochs the API remembers.
const recentEpochs = 64

// Stages of an epoch, in order; labels of its duration.
var stages = []string{"freeze", "rank", "core", "verdict"}

// Weights of the rankings, W of the client and server rank; labels.
const (
	uniform = iota
	fromSeeds
)

var weights = [...]string{uniform: "uniform", fromSeeds: "seeds"}

// epoch is one ranking of one window. It is immutable once published, except
// for the links' evidence that its view shows as it is now.
type epoch struct {
	slice   flow.Slice
	full    bool   // its ranks start from nothing
	seq     uint64 // of its Close in the control stream
	without []string
	at      time.Time // when it was published

	view                 *graph.View
	seeds                []graph.Vertex
	ranks                rank.Result
	seeded               rank.Result          // without seeds, zero
	checks               [len(weights)]*check // nil if there was nothing to compare
	contrast             core.Result
	verdict              verdict.Verdict
	suspects             map[graph.Vertex]int // place in verdict.Suspects
	since                []flow.Slice         // by place
	took                 map[string]time.Duration
	clientSum, serverSum float64
	recent               []epochSummary // newest first, this one included
	scoreHistogram       []uint64       // by scoreBounds
}

// rankNow freezes the graph and ranks it in the background, from the epoch
// before unless it is to be full. Another ranking under way is waited for:
// epochs are published in the order of their slices. Of slices closed before
// the newest one that the log held at the start, only the ranks are needed, and
// only in its run.
func (d *Detector) rankNow(c wire.Close, full bool) {
	d.awaitRanking()
	before, newest := d.chain.take(), d.ingest.closeSeq >= d.start.close
	if !newest && d.chain.run(c.Slice) != d.chain.run(d.start.slice) {
		return
	}
	begin := time.Now()
	e := &epoch{slice: c.Slice, seq: d.ingest.closeSeq, without: c.Without, took: map[string]time.Duration{}}
	e.full = full || before == nil || d.cfg.Iterations > 0
	e.view = d.graph.Freeze()
	e.seeds = findSeeds(e.view, d.ingest.seeds)
	e.took["freeze"] = time.Since(begin)
	done := make(chan struct{})
	d.ranked = done
	go func() {
		defer close(done)
		p := d.cfg.params()
		if err := e.rank(p, before, d.cfg.SeedLambda); err != nil {
			d.deps.Logger.Error("epoch not ranked", "err", err, "slice", e.slice)
			return
		}
		d.chain.last = e
		d.noteCheck(e)
		if !newest {
			return
		}
		if err := e.judge(p, d.cfg.Verdict); err != nil {
			d.deps.Logger.Error("epoch not judged", "err", err, "slice", e.slice)
			return
		}
		d.publish(e)
	}()
}

// rankRecovered ranks the slice that the snapshot ends with, if it is needed.
// It is the first of its run.
func (d *Detector) rankRecovered() {
	if d.ingest.closeSeq > 0 {
		d.rankNow(wire.Close{Slice: d.ingest.closed, Without: d.start.without}, true)
	}
}

// awaitRanking waits for the ranking under way.
func (d *Detector) awaitRanking() {
	if d.ranked != nil {
		<-d.ranked
	}
}

// findSeeds returns the vertices of all sources' seeds, ascending and without
// duplicates. A seed whose shard is not known is looked up by pseudonym.
func findSeeds(v *graph.View, sources map[string][]wire.Seed) []graph.Vertex {
	var found []graph.Vertex
	for _, seeds := range sources {
		for _, s := range seeds {
			x, ok := v.Find(s.Host)
			if !ok {
				x, ok = v.FindPseudonym(s.Host.Pseudonym)
			}
			if ok {
				found = append(found, x)
			}
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// params returns the parameters of the rankings of one epoch, which share a
// memory.
func (c Config) params() rank.Params {
	p := rank.DefaultParams()
	p.Damping, p.Iterations, p.Tolerance = c.Damping, c.Iterations, c.Tolerance
	p.Memory = new(rank.Memory)
	return p
}

// stage runs one stage of the epoch and notes how long it took.
func (e *epoch) stage(name string, f func() error) error {
	begin := time.Now()
	err := f()
	e.took[name] = time.Since(begin)
	return err
}

// rank computes the ranks by all weights at once. They follow from the view, the
// seeds and, unless it is nil, the epoch before, and from nothing else: no clock,
// no order of arrival.
func (e *epoch) rank(p rank.Params, before *epoch, seedLambda float64) error {
	p.Weights = []rank.Weight{uniform: {}}
	if len(e.seeds) > 0 {
		p.Weights = append(p.Weights, rank.Weight{Seeds: e.seeds, Lambda: seedLambda})
	}
	return e.stage("rank", func() error {
		results, err := e.rankings(p, before)
		if err != nil {
			return err
		}
		e.ranks = results[uniform]
		if len(e.seeds) > 0 {
			e.seeded = results[fromSeeds]
		}
		return nil
	})
}

// judge computes what follows from the ranks.
func (e *epoch) judge(p rank.Params, cfg verdict.Config) error {
	if err := e.stage("core", func() error { return e.contrastCores(p) }); err != nil {
		return err
	}
	_ = e.stage("verdict", func() error {
		e.verdict = verdict.Judge(verdict.Input{
			View: e.view, Client: e.ranks.Client, Server: e.ranks.Server, Contrast: e.contrast,
			Seeds: e.seeds, SeededClient: e.seeded.Client, SeededServer: e.seeded.Server,
		}, cfg)
		e.contrast.Score = nil // the verdict has its own
		return nil
	})
	e.summarise()
	return nil
}

// contrastCores computes the contrast, with the undirected rank to order hosts
// of equal contrast.
func (e *epoch) contrastCores(p rank.Params) error {
	release(p.Memory)
	p.Undirected = true
	ranks, err := rank.Run(e.view, p)
	if err != nil {
		return err
	}
	release(p.Memory)
	tie := ranks[0].Client
	for x := range tie {
		tie[x] *= float64(len(tie))
	}
	e.contrast = core.Contrast(e.view, core.Params{Seed: nullSeed, Tie: tie})
	return nil
}

// release gives the memory of a ranking back, to the system: what comes next has
// arrays of other sizes, which do not fit into what is left free between others.
func release(m *rank.Memory) {
	*m = rank.Memory{}
	debug.FreeOSMemory()
}

// scoreBounds are the upper bounds of the score distribution.
var scoreBounds = []float64{0.25, 0.5, 0.75, 1, 1.15, 1.5, 2, 3, 5}

// summarise fills in what readers would otherwise compute each time.
func (e *epoch) summarise() {
	e.suspects = make(map[graph.Vertex]int, len(e.verdict.Suspects))
	for i, s := range e.verdict.Suspects {
		e.suspects[s.Vertex] = i
	}
	for x := range e.ranks.Client {
		e.clientSum += e.ranks.Client[x]
		e.serverSum += e.ranks.Server[x]
	}
	e.scoreHistogram = make([]uint64, len(scoreBounds)+1)
	for _, score := range e.verdict.Scores {
		i, _ := slices.BinarySearch(scoreBounds, score)
		e.scoreHistogram[i]++
	}
}

// publish makes an epoch the one that readers see, and tells what changed.
func (d *Detector) publish(e *epoch) {
	e.at = d.deps.Now()
	fresh, cleared := d.history.advance(e)
	e.recent = []epochSummary{e.summary(d.cfg)}
	if old := d.epoch.Load(); old != nil {
		e.recent = append(e.recent, old.recent[:min(len(old.recent), recentEpochs-1)]...)
	}
	d.epoch.Store(e)
	d.epochs.Add(1)
	d.deps.Logger.Info("epoch ranked", "slice", e.slice, "hosts", e.view.Len(), "links", e.view.Links(),
		"suspects", len(e.verdict.Suspects), "new", len(fresh), "full", e.full, "supersteps", e.ranks.Supersteps, "took", e.seconds())
	if err := d.writeEvents(e, fresh, cleared); err != nil {
		d.eventErrors.Add(1)
		d.deps.Logger.Error("events not written", "err", err, "slice", e.slice)
	}
	if err := d.history.save(d.deps.Dir); err != nil {
		d.eventErrors.Add(1)
		d.deps.Logger.Error("suspects not saved", "err", err, "slice", e.slice)
	}
}

// seconds is how long the whole epoch took.
func (e *epoch) seconds() time.Duration {
	var sum time.Duration
	for _, d := range e.took {
		sum += d
	}
	return sum
}

// bytes returns the memory that the epoch holds.
func (e *epoch) bytes() uint64 {
	if e.view == nil {
		return 0
	}
	words := len(e.verdict.Scores) + (len(e.contrast.Cap)+len(e.contrast.Core))/4
	for _, r := range []rank.Result{e.ranks, e.seeded} {
		words += len(r.Client) + len(r.Server)
	}
	return e.view.Bytes() + 8*uint64(words)
}

// pseudonym returns the printed form of a vertex.
func (e *epoch) pseudonym(x graph.Vertex) string {
	return e.view.Host(x).Pseudonym.Text(e.view.Generation(x))
}

// epochSummary is an epoch in the API.
type epochSummary struct {
	Slice      flow.Slice         `json:"slice"`
	End        time.Time          `json:"end"`
	Ranked     time.Time          `json:"ranked"`
	Seq        uint64             `json:"seq"`
	Full       bool               `json:"full"`
	Without    []string           `json:"without"`
	Hosts      int                `json:"hosts"`
	Links      int                `json:"links"`
	Suspects   int                `json:"suspects"`
	LeftOut    int                `json:"left_out"`
	Clusters   int                `json:"clusters"`
	Seeds      int                `json:"seeds"`
	Supersteps int                `json:"supersteps"`
	Delta      float64            `json:"delta"`
	Seconds    map[string]float64 `json:"seconds"`
}

func (e *epoch) summary(cfg Config) epochSummary {
	s := epochSummary{
		Slice: e.slice, End: cfg.end(e.slice), Ranked: e.at.UTC(), Seq: e.seq, Full: e.full, Without: e.without,
		Hosts: e.view.Len(), Links: e.view.Links(), Suspects: len(e.verdict.Suspects),
		LeftOut: e.verdict.LeftOut, Clusters: len(e.verdict.Clusters), Seeds: len(e.seeds),
		Supersteps: e.ranks.Supersteps, Delta: e.ranks.Delta, Seconds: map[string]float64{},
	}
	if s.Without == nil {
		s.Without = []string{}
	}
	for name, d := range e.took {
		s.Seconds[name] = d.Seconds()
	}
	return s
}
