package rank

import (
	"bufio"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/flowhound/flowhound/detector/graph"
)

// published opens a file of the published references, which are not part of
// the tree.
func published(t *testing.T, path string) *os.File {
	t.Helper()
	dir := os.Getenv("FLOWHOUND_SHARED")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared")
	}
	f, err := os.Open(filepath.Join(dir, "data", path))
	if err != nil {
		t.Skipf("published reference results are not here: %v", err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// fieldsOf returns the blank-separated fields of each line.
func fieldsOf(t *testing.T, path string) (lines [][]string) {
	t.Helper()
	s := bufio.NewScanner(published(t, path))
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		if fields := strings.Fields(s.Text()); len(fields) > 0 {
			lines = append(lines, fields)
		}
	}
	if err := s.Err(); err != nil {
		t.Fatal(err)
	}
	return lines
}

// Every published result that the data's INDEX names. The undirected graphs
// have one rank; the directed ones check the server rank, and the client rank
// on the reversed links.
func TestPublishedRanks(t *testing.T) {
	f := func(input, output string, edges, undirected bool, p Params, tolerance float64) {
		t.Helper()
		number := map[string]uint32{}
		want := []float64{}
		for _, l := range fieldsOf(t, output) {
			value, err := strconv.ParseFloat(l[1], 64)
			if err != nil {
				t.Fatal(err)
			}
			number[l[0]] = uint32(len(want))
			want = append(want, value)
		}
		var src, dst []uint32
		for _, l := range fieldsOf(t, input) {
			if edges {
				l = l[:2]
			}
			for _, to := range l[1:] {
				src, dst = append(src, number[l[0]]), append(dst, number[to])
			}
		}
		v, reversed := graph.FromLinks(len(want), src, dst), graph.FromLinks(len(want), dst, src)
		p.Undirected = undirected
		for _, p.Precision = range []Precision{Double, Single} {
			tolerance := tolerance
			if p.Precision == Single {
				tolerance = max(tolerance, 1e-6)
			}
			a, b := mustRun(t, v, p), mustRun(t, reversed, p)
			worst := 0.0
			for x := range want {
				worst = max(worst, math.Abs(a.Server[x]/want[x]-1), math.Abs(b.Client[x]/want[x]-1))
			}
			t.Logf("%s precision %d: worst relative error %.2g after %d supersteps", output, p.Precision, worst, a.Supersteps)
			if worst > tolerance || a.Supersteps != p.Iterations {
				t.Errorf("%s: got error %g after %d supersteps, want %g after %d", output, worst, a.Supersteps, tolerance, p.Iterations)
			}
		}
	}
	d := func(iterations int) Params { return Params{Damping: 0.85, Iterations: iterations, Workers: 2} }
	f("ldbc/pr/dir-input", "ldbc/pr/dir-output", false, false, d(14), 1e-4)
	f("ldbc/pr/undir-input", "ldbc/pr/undir-output", false, true, d(26), 1e-4)
	f("ldbc/example/example-directed-input", "ldbc/example/example-directed-PR", false, false, d(2), 1e-12)
	f("ldbc/example/example-undirected-input", "ldbc/example/example-undirected-PR", false, true, d(2), 1e-12)
	f("libgrape-lite/dataset/p2p-31.e", "libgrape-lite/dataset/p2p-31-PR", true, true, d(10), 1e-12)
}
