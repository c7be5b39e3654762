package testbench

import (
	"bytes"
	"encoding/xml"
	"io"
	"math"
	"strings"
	"testing"
)

// linear returns results whose every figure is proportional to the links.
func linear(links ...uint64) (results []RankResult) {
	for _, n := range links {
		x := float64(n)
		results = append(results, RankResult{Links: n, Hosts: n / 4, BuildCPUSeconds: x / 1e6, EpochSeconds: x / 1e7,
			FreezeSeconds: x / 2e7, SuperstepSeconds: x / 1e8, ResidentBytes: 90 * n, StoreBytesPerLink: 30})
	}
	return results
}

// The plot is well-formed XML with a point for each figure.
func TestGrowthPlot(t *testing.T) {
	results := linear(100_000, 1_000_000, 57_000_000)
	var b bytes.Buffer
	if err := WriteGrowthPlot(&b, results); err != nil {
		t.Fatal(err)
	}
	points := 0
	for d := xml.NewDecoder(&b); ; {
		token, err := d.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if e, ok := token.(xml.StartElement); ok && e.Name.Local == "circle" {
			points++
		}
	}
	if want := 6 * len(results); points != want {
		t.Errorf("%d points, want %d", points, want)
	}
}

// Whole decades around the values, and equal factors at equal distances.
func TestAxis(t *testing.T) {
	a := axisOver([]float64{0, 3, 0.02, 500}, 100, 50)
	if a.from != -2 || a.to != 3 {
		t.Errorf("from 1e%v to 1e%v, want from 1e-2 to 1e3", a.from, a.to)
	}
	if got := a.at(10) - a.at(1); math.Abs(got-10) > 1e-9 {
		t.Errorf("a decade takes %v of 50 pixels for 5 decades", got)
	}
	if one := axisOver([]float64{10}, 0, 1); one.at(10) != 0 {
		t.Errorf("a single value is at %v, want 0", one.at(10))
	}
}

func TestGrowthTable(t *testing.T) {
	var b strings.Builder
	if err := WriteGrowthTable(&b, linear(100_000)); err != nil {
		t.Fatal(err)
	}
	if want := "100000  25000"; !strings.Contains(b.String(), want) {
		t.Errorf("no %q in\n%s", want, b.String())
	}
}

// Each size is measured by a command of its own, whose failure names the size.
func TestGrowth(t *testing.T) {
	c := DefaultGrowthConfig()
	c.Links = []int{57, 570}
	c.Self = []string{"sh", "-c", `printf '{"hosts":%d,"links":%d}' "$6" "$8"`, "rank", "--seed", "1"}
	got, err := Growth(t.Context(), c)
	if err != nil || len(got) != 2 || got[1].Hosts != 160 || got[1].Links != 570 {
		t.Fatalf("got %+v, %v", got, err)
	}
	c.Self = []string{"false"}
	if _, err := Growth(t.Context(), c); err == nil || !strings.Contains(err.Error(), "57 links") {
		t.Errorf("failing command: got %v", err)
	}
}
