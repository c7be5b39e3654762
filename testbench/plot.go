package testbench

import (
	"fmt"
	"math"
	"strings"
)

// curve is a figure of each result.
type curve struct {
	name string
	of   func(RankResult) float64
}

// panel is a plot of curves over the number of links, with logarithmic axes.
type panel struct {
	title  string
	curves []curve
}

// colours of curves, told apart by who sees no red or green as well (Okabe and
// Ito 2008).
var colours = []string{"#0072b2", "#d55e00", "#009e73", "#cc79a7"}

// axis maps values to places on a line.
type axis struct{ from, to, begin, length float64 } // exponents of ten; pixels

// axisOver returns an axis of whole decades around the values.
func axisOver(values []float64, begin, length float64) axis {
	a := axis{from: math.Inf(1), to: math.Inf(-1), begin: begin, length: length}
	for _, v := range values {
		if v > 0 {
			a.from, a.to = min(a.from, math.Floor(math.Log10(v))), max(a.to, math.Ceil(math.Log10(v)))
		}
	}
	if a.from >= a.to { // a single power of ten, or nothing
		a.to = a.from + 1
	}
	return a
}

func (a axis) at(v float64) float64 {
	return a.begin + (math.Log10(v)-a.from)/(a.to-a.from)*a.length
}

// draw writes the panel as SVG, its plane at (x, y).
func (p panel) draw(b *strings.Builder, results []RankResult, x, y, width, height float64) {
	var links, values []float64
	for _, r := range results {
		links = append(links, float64(r.Links))
		for _, c := range p.curves {
			values = append(values, c.of(r))
		}
	}
	across, up := axisOver(links, x, width), axisOver(values, y+height, -height)
	fmt.Fprintf(b, `<text x="%.0f" y="%.0f" font-weight="bold">%s</text>`+"\n", x, y-14, p.title)
	grid(b, across, up)
	fmt.Fprintf(b, `<text x="%.0f" y="%.0f" text-anchor="middle">links</text>`+"\n", x+width/2, y+height+36)
	slope(b, across, up)
	for i, c := range p.curves {
		fmt.Fprintf(b, `<polyline fill="none" stroke="%s" stroke-width="2" points="`, colours[i])
		for _, r := range results {
			if v := c.of(r); v > 0 {
				fmt.Fprintf(b, "%.1f,%.1f ", across.at(float64(r.Links)), up.at(v))
			}
		}
		b.WriteString("\"/>\n")
		for _, r := range results {
			if v := c.of(r); v > 0 {
				fmt.Fprintf(b, `<circle cx="%.1f" cy="%.1f" r="3" fill="%s"/>`+"\n", across.at(float64(r.Links)), up.at(v), colours[i])
			}
		}
		fmt.Fprintf(b, `<text x="%.0f" y="%.0f" fill="%s">%s</text>`+"\n", x+10, y+16+16*float64(i), colours[i], c.name)
	}
}

// grid draws a line for each power of ten.
func grid(b *strings.Builder, across, up axis) {
	line := func(x1, y1, x2, y2 float64) {
		fmt.Fprintf(b, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="#ddd"/>`+"\n", x1, y1, x2, y2)
	}
	for e := across.from; e <= across.to; e++ {
		at := across.at(math.Pow(10, e))
		line(at, up.begin, at, up.begin+up.length)
		power(b, at, up.begin+18, "middle", e)
	}
	for e := up.from; e <= up.to; e++ {
		at := up.at(math.Pow(10, e))
		line(across.begin, at, across.begin+across.length, at)
		power(b, across.begin-6, at+4, "end", e)
	}
}

func power(b *strings.Builder, x, y float64, anchor string, e float64) {
	fmt.Fprintf(b, `<text x="%.1f" y="%.1f" text-anchor="%s">10<tspan dy="-5" font-size="9">%.0f</tspan></text>`+"\n", x, y, anchor, e)
}

// slope draws what is proportional to the links, through the plane's corner.
func slope(b *strings.Builder, across, up axis) {
	decades := min(across.to-across.from, up.to-up.from)
	fmt.Fprintf(b, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="#999" stroke-dasharray="2 4"/>`+"\n",
		across.begin, up.begin, across.at(math.Pow(10, across.from+decades)), up.at(math.Pow(10, up.from+decades)))
}
