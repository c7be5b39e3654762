package traffic

import (
	"slices"
	"testing"

	"github.com/flowhound/flowhound/internal/flow"
	"github.com/flowhound/flowhound/testbench/botnet"
)

var hour = Span{1_700_000_000_000, 1_700_003_600_000}

func mixed(t testing.TB) *Network {
	c, err := Background("isp", 20_000)
	c.IPv6 = .1
	return draw(t, c.Infect(botnet.Kademlia, .01), err, 8)
}

// tuple is a five-tuple.
type tuple struct {
	src, dst         flow.Addr
	srcPort, dstPort uint16
	proto            uint8
}

func TestRecordsTellTheLinks(t *testing.T) {
	n := mixed(t)
	type pair struct{ src, dst flow.Addr }
	want := map[pair]bool{}
	src, dst := n.Links()
	for i := range src {
		want[pair{flow.AddrFrom(n.Addr(src[i])), flow.AddrFrom(n.Addr(dst[i]))}] = true
	}
	got, tuples, count := map[pair]bool{}, map[tuple]bool{}, 0
	last := hour.FromMS
	for r := range n.Records(hour) {
		count++
		got[pair{r.Src, r.Dst}] = true
		tuples[tuple{r.Src, r.Dst, r.SrcPort, r.DstPort, r.Proto}] = true
		if r.EndMS < last || r.EndMS > hour.ToMS || r.StartMS < hour.FromMS || r.StartMS > r.EndMS {
			t.Fatalf("record %d: %d … %d, want ends in order within the span", count, r.StartMS, r.EndMS)
		}
		last = r.EndMS
		if r.Packets == 0 || r.Bytes < 28*r.Packets || r.Bytes > 1500*r.Packets || r.Sampling != 1 || r.SrcPort == 0 || r.DstPort == 0 {
			t.Fatalf("record %d: %+v is implausible", count, r)
		}
	}
	if len(got) != len(want) {
		t.Errorf("links: got %d, want %d", len(got), len(want))
	}
	for p := range got {
		if !want[p] {
			t.Fatal("a record of a link that is not in the network")
		}
	}
	if count != n.NumRecords() || len(tuples) != count {
		t.Errorf("records: got %d with %d five-tuples, want %d with as many", count, len(tuples), n.NumRecords())
	}
	if last != hour.ToMS {
		t.Errorf("last end: got %d, want %d", last, hour.ToMS)
	}
	if n.Events() < len(n.Calls)*19/10 || n.Events() > len(n.Calls)*21/10 {
		t.Errorf("flows: %d for %d calls, want twice as many ± 5 %%", n.Events(), len(n.Calls))
	}
}

// A biflow meter must take the two records of an answered call for one flow,
// and never those of two calls.
func TestAnswersMirrorTheirCalls(t *testing.T) {
	n := mixed(t)
	var before *flow.Record
	open := map[tuple]bool{}
	answers := 0
	for r := range n.Records(hour) {
		back := tuple{r.Dst, r.Src, r.DstPort, r.SrcPort, r.Proto}
		if open[back] {
			answers++
			if before.Src != r.Dst || before.SrcPort != r.DstPort || before.InIf != r.OutIf {
				t.Fatal("an answer that does not follow its call")
			}
		}
		open[tuple{r.Src, r.Dst, r.SrcPort, r.DstPort, r.Proto}] = true
		before = &r
	}
	if want := n.NumRecords() - n.Events(); answers != want {
		t.Errorf("answers: got %d, want %d", answers, want)
	}
}

func TestRecordsRepeatAndStop(t *testing.T) {
	n := mixed(t)
	a := slices.Collect(n.Records(hour))
	if b := slices.Collect(n.Records(hour)); !slices.Equal(a, b) {
		t.Error("two readings differ")
	}
	seen := 0
	for range n.Records(hour) {
		if seen++; seen == 10 {
			break
		}
	}
}

func BenchmarkRecords(b *testing.B) {
	c, err := Background("isp", 50_000)
	n := draw(b, c, err, 1)
	b.ReportAllocs()
	b.ResetTimer()
	count := 0
	for b.Loop() {
		for range n.Records(hour) {
			count++
		}
	}
	b.ReportMetric(float64(count)/b.Elapsed().Seconds(), "records/s")
}
