package testbench

import (
	"github.com/flowhound/flowhound/detector/graph"
	"github.com/flowhound/flowhound/detector/rank"
)

// rankAgain ranks a view that follows an already ranked one, to the accuracy
// of p.
func rankAgain(old, view *graph.View, ranks rank.Result, p rank.Params) (rank.Result, error) {
	return rank.Resume(view, rank.Carry(view, old, ranks), p)
}
