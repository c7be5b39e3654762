// Package roc measures how well scores separate bots from other hosts: true
// positive rate at a false positive rate, area under the ROC curve, precision
// at k (Fawcett 2006). Hosts of equal score are judged together, because no
// threshold can part them.
package roc

import (
	"cmp"
	"slices"
)

// Curve is the ROC curve of one scoring, made by [New]. It is immutable and
// safe for concurrent use.
type Curve struct {
	steps    []step // thresholds, strictest first
	bots     int
	harmless int
}

// step counts the hosts that a threshold at one distinct score flags.
type step struct {
	score  float64
	tp, fp int
}

// New returns the curve of the hosts' scores, where higher means more suspect.
// bot tells the truth and has the same length. NaN scores count as the lowest.
func New(score []float64, bot []bool) *Curve {
	if len(score) != len(bot) {
		panic("BUG: roc: scores and truth differ in length")
	}
	order := make([]int, len(score))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(score[b], score[a]) })
	c := &Curve{}
	for _, i := range order {
		if last := len(c.steps) - 1; last < 0 || cmp.Compare(score[i], c.steps[last].score) != 0 {
			c.steps = append(c.steps, step{score[i], c.bots, c.harmless})
		}
		if bot[i] {
			c.bots++
		} else {
			c.harmless++
		}
		last := &c.steps[len(c.steps)-1]
		last.tp, last.fp = c.bots, c.harmless
	}
	return c
}

// TPRAt returns the largest share of bots that a threshold flags whose false
// positive rate is at most fpr, in 0 … 1; 0 without bots.
func (c *Curve) TPRAt(fpr float64) float64 {
	best := 0
	for _, s := range c.steps {
		if rate(s.fp, c.harmless) <= fpr {
			best = s.tp
		}
	}
	return rate(best, c.bots)
}

// FPRAt returns the smallest false positive rate of a threshold that flags at
// least the share tpr of the bots, in 0 … 1.
func (c *Curve) FPRAt(tpr float64) float64 {
	if tpr <= 0 {
		return 0
	}
	for _, s := range c.steps {
		if rate(s.tp, c.bots) >= tpr {
			return rate(s.fp, c.harmless)
		}
	}
	return 1
}

// At returns the true and false positive rates of flagging every host whose
// score is at least threshold.
func (c *Curve) At(threshold float64) (tpr, fpr float64) {
	for _, s := range c.steps {
		if s.score >= threshold {
			tpr, fpr = rate(s.tp, c.bots), rate(s.fp, c.harmless)
		}
	}
	return tpr, fpr
}

// AUC returns the area under the curve: the probability that a random bot
// scores above a random other host, ties counting one half. It is 0.5 when
// either kind is missing.
func (c *Curve) AUC() float64 {
	if c.bots == 0 || c.harmless == 0 {
		return 0.5
	}
	var wins float64
	var before step
	for _, s := range c.steps {
		tp, fp := float64(s.tp-before.tp), float64(s.fp-before.fp)
		wins += fp * (float64(before.tp) + tp/2)
		before = s
	}
	return wins / float64(c.bots) / float64(c.harmless)
}

// PrecisionAt returns the expected share of bots among the k hosts of highest
// score when hosts of equal score are ordered at random; 0 for k ≤ 0. A k
// beyond the number of hosts counts as that number.
func (c *Curve) PrecisionAt(k int) float64 {
	k = min(k, c.bots+c.harmless)
	if k <= 0 {
		return 0
	}
	var before step
	for _, s := range c.steps {
		taken, size := before.tp+before.fp, s.tp+s.fp-before.tp-before.fp
		if taken+size >= k {
			share := float64(k-taken) / float64(size)
			return (float64(before.tp) + share*float64(s.tp-before.tp)) / float64(k)
		}
		before = s
	}
	panic("BUG: roc: steps do not cover the hosts")
}

func rate(part, whole int) float64 {
	if whole == 0 {
		return 0
	}
	return float64(part) / float64(whole)
}
