package verdict

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/flowhound/flowhound/detector/graph"
)

// describe fills in the suspects with their evidence.
func (v *Verdict) describe(in Input, order []graph.Vertex, cluster map[graph.Vertex]int, ratio map[graph.Vertex]float64) {
	n := float64(in.View.Len())
	client, server := Shares(in.Client, order), Shares(in.Server, order)
	for i, x := range order {
		s := Suspect{
			Vertex: x, Score: v.Scores[x],
			ClientRank: n * in.Client[x], ServerRank: n * in.Server[x],
			Core: in.Contrast.Core[x], Cap: in.Contrast.Cap[x],
			Cluster: cluster[x], Seed: in.isSeed(x),
		}
		inside, seeds := 0, 0
		for _, p := range in.View.Of(x) {
			y := p.Vertex()
			if cluster[y] == s.Cluster {
				inside++
			}
			if in.isSeed(y) {
				seeds++
			}
		}
		if s.Seed {
			s.Evidence = append(s.Evidence, "is a known bot (seed)")
		}
		if inside > 0 {
			s.Evidence = append(s.Evidence, v.company(in, s, inside))
		}
		if r, ok := ratio[x]; ok {
			s.Evidence = append(s.Evidence, fmt.Sprintf("rank from the seeds %s × its ordinary rank", times(r)))
		}
		if seeds > 0 {
			s.Evidence = append(s.Evidence, "linked to "+count(seeds, "seed"))
		}
		s.Evidence = append(s.Evidence,
			fmt.Sprintf("client rank %s × the average (top %s)", times(s.ClientRank), percent(client[i])),
			fmt.Sprintf("server rank %s × the average (top %s)", times(s.ServerRank), percent(server[i])))
		v.Suspects = append(v.Suspects, s)
	}
}

// company says how many peers a suspect keeps within its cluster, and how that
// compares with the null graph.
func (v *Verdict) company(in Input, s Suspect, inside int) string {
	text := fmt.Sprintf("keeps %s inside a group of %s", count(inside, "peer"), count(v.Clusters[s.Cluster-1].Hosts, "host"))
	if i := slices.Index(in.Contrast.Caps, s.Cap); i >= 0 && s.Core > in.Contrast.Null[i] {
		text += fmt.Sprintf(" whose members keep at least %d each, where a random graph with the same degrees has at most %d", s.Core, in.Contrast.Null[i])
	}
	return text
}

// Shares returns, for each of the given vertices, the share of all hosts whose
// value is at least as high as the vertex's: in (0, 1].
func Shares(values []float64, of []graph.Vertex) []float64 {
	marks := make([]float64, len(of))
	for i, x := range of {
		marks[i] = values[x]
	}
	slices.Sort(marks)
	marks = slices.Compact(marks)
	// at[i] counts the hosts with marks[i-1] ≤ value < marks[i].
	at := make([]int, len(marks)+1)
	for _, value := range values {
		i, exact := slices.BinarySearch(marks, value)
		if exact {
			i++
		}
		at[i]++
	}
	for i := len(marks) - 1; i >= 0; i-- {
		at[i] += at[i+1]
	}
	shares := make([]float64, len(of))
	for i, x := range of {
		j, _ := slices.BinarySearch(marks, values[x])
		shares[i] = float64(at[j+1]) / float64(len(values))
	}
	return shares
}

// times prints a multiple of the average with two digits that matter.
func times(x float64) string {
	switch {
	case x >= 10:
		return strconv.FormatFloat(x, 'f', 0, 64)
	case x >= 1:
		return strconv.FormatFloat(x, 'f', 1, 64)
	default:
		return strconv.FormatFloat(x, 'f', 2, 64)
	}
}

// percent prints a share, rounded up so that it never claims too much.
func percent(share float64) string {
	for _, step := range []float64{0.0001, 0.001, 0.01} {
		if share <= step {
			return strconv.FormatFloat(step*100, 'g', -1, 64) + " %"
		}
	}
	whole := int(share * 100)
	if float64(whole) < share*100 {
		whole++
	}
	return strconv.Itoa(whole) + " %"
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.Itoa(n) + " " + what + "s"
}
