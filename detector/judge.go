package detector

import (
	"time"

	"github.com/flowhound/flowhound/detector/core"
	"github.com/flowhound/flowhound/detector/graph"
	"github.com/flowhound/flowhound/detector/verdict"
)

// Judgement is what an epoch finds out about a graph; slices are by vertex.
type Judgement struct {
	Client, Server             []float64   // ranks; each sums to 1
	SeededClient, SeededServer []float64   // ranks from the seeds; nil without any
	Contrast                   core.Result // without Score, of which Verdict.Scores are made
	Verdict                    verdict.Verdict
}

// Judge judges a graph as an epoch does, without a log or a clock: for files
// and for tests. Seeds are ascending and without duplicates.
func Judge(v *graph.View, seeds []graph.Vertex, cfg Config) (Judgement, error) {
	e, p := &epoch{view: v, full: true, seeds: seeds, took: map[string]time.Duration{}}, cfg.params()
	if err := e.rank(p, nil, cfg.SeedLambda); err != nil {
		return Judgement{}, err
	}
	if err := e.judge(p, cfg.Verdict); err != nil {
		return Judgement{}, err
	}
	return Judgement{
		Client: e.ranks.Client, Server: e.ranks.Server, SeededClient: e.seeded.Client, SeededServer: e.seeded.Server,
		Contrast: e.contrast, Verdict: e.verdict,
	}, nil
}
