package roc

import (
	"math"
	"math/rand/v2"
	"testing"
)

// naive measures by definition, one threshold and one pair at a time.
type naive struct {
	score []float64
	bot   []bool
}

func (n naive) at(th float64) (tpr, fpr float64) {
	var tp, fp, p, q float64
	for i, s := range n.score {
		flagged := 0.0
		if s >= th {
			flagged = 1
		}
		if n.bot[i] {
			p, tp = p+1, tp+flagged
		} else {
			q, fp = q+1, fp+flagged
		}
	}
	if p > 0 {
		tpr = tp / p
	}
	if q > 0 {
		fpr = fp / q
	}
	return tpr, fpr
}

func (n naive) tprAt(limit float64) float64 {
	best := 0.0
	for _, th := range n.score {
		if tpr, fpr := n.at(th); fpr <= limit {
			best = max(best, tpr)
		}
	}
	return best
}

func (n naive) fprAt(want float64) float64 {
	best := 1.0
	for _, th := range n.score {
		if tpr, fpr := n.at(th); tpr >= want {
			best = min(best, fpr)
		}
	}
	return best
}

func (n naive) auc() float64 {
	var wins, pairs float64
	for i := range n.score {
		for j := range n.score {
			if n.bot[i] && !n.bot[j] {
				pairs++
				if n.score[i] > n.score[j] {
					wins++
				} else if n.score[i] == n.score[j] {
					wins += 0.5
				}
			}
		}
	}
	if pairs == 0 {
		return 0.5
	}
	return wins / pairs
}

// precisionAt averages over the places: a host's chance to be in the top k is
// given by how many score higher and how many tie with it.
func (n naive) precisionAt(k int) float64 {
	k = min(k, len(n.score))
	sum := 0.0
	for i := range n.score {
		var above, tied float64
		for j := range n.score {
			if n.score[j] > n.score[i] {
				above++
			} else if n.score[j] == n.score[i] {
				tied++
			}
		}
		if n.bot[i] {
			sum += math.Min(1, math.Max(0, (float64(k)-above)/tied))
		}
	}
	return sum / float64(k)
}

func TestAgainstDefinition(t *testing.T) {
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 9))
		n := naive{}
		levels := 1 + rng.IntN(12) // few levels make many ties
		for range 1 + rng.IntN(40) {
			bot := rng.IntN(4) == 0
			s := float64(rng.IntN(levels))
			if bot {
				s += float64(rng.IntN(3))
			}
			n.score, n.bot = append(n.score, s), append(n.bot, bot)
		}
		c := New(n.score, n.bot)
		check := func(what string, arg, got, want float64) {
			if math.Abs(got-want) > 1e-12 {
				t.Fatalf("seed %d %s(%v): got %v, want %v", seed, what, arg, got, want)
			}
		}
		check("AUC", 0, c.AUC(), n.auc())
		for _, x := range []float64{0, .01, .1, .3, .99, 1} {
			check("TPRAt", x, c.TPRAt(x), n.tprAt(x))
			if x > 0 && n.tprAt(1) > 0 {
				check("FPRAt", x, c.FPRAt(x), n.fprAt(x))
			}
		}
		for _, th := range []float64{-1, 0, 1.5, 3, 20} {
			gt, gf := c.At(th)
			wt, wf := n.at(th)
			check("At.tpr", th, gt, wt)
			check("At.fpr", th, gf, wf)
		}
		for _, k := range []int{1, 2, 5, 100} {
			check("PrecisionAt", float64(k), c.PrecisionAt(k), n.precisionAt(k))
		}
	}
}

func TestPerfectReversedAndEmpty(t *testing.T) {
	bot := []bool{true, true, false, false, false}
	if c := New([]float64{5, 4, 3, 2, 1}, bot); c.AUC() != 1 || c.TPRAt(0) != 1 || c.PrecisionAt(2) != 1 {
		t.Errorf("perfect scores: AUC %v, TPR@0 %v, P@2 %v, want 1", c.AUC(), c.TPRAt(0), c.PrecisionAt(2))
	}
	if c := New([]float64{1, 2, 3, 4, 5}, bot); c.AUC() != 0 || c.TPRAt(.5) != 0 || c.FPRAt(1) != 1 {
		t.Errorf("reversed scores: AUC %v, TPR@.5 %v, FPR@TPR1 %v, want 0 0 1", c.AUC(), c.TPRAt(.5), c.FPRAt(1))
	}
	if c := New(nil, nil); c.AUC() != .5 || c.TPRAt(1) != 0 || c.PrecisionAt(3) != 0 {
		t.Error("no hosts: want AUC 0.5, TPR 0, precision 0")
	}
	nan := math.NaN()
	if c := New([]float64{nan, 1, nan, 0}, []bool{false, true, false, false}); c.TPRAt(0) != 1 {
		t.Error("NaN scores: want them below all others")
	}
}
