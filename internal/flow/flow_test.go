package flow

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

// Whatever verb or encoder meets a plain address, the address stays inside.
func TestAddrNeverPrints(t *testing.T) {
	a := AddrFrom(netip.MustParseAddr("192.0.2.77"))
	asJSON, err := json.Marshal(map[string]any{"a": a, "r": Record{Src: a, Dst: a}})
	if err != nil {
		t.Fatal(err)
	}
	for _, got := range []string{
		a.String(), fmt.Sprint(a), fmt.Sprintf("%v %+v %#v %x %X %d %s %q", a, a, a, a, a, a, a, a),
		fmt.Sprintf("%v %x", []Addr{a}, [1]Addr{a}), fmt.Sprintf("%+v", Record{Src: a}), string(asJSON),
	} {
		for _, leak := range []string{"192.0.2", "c000024d", "C000024D", "192 0 2 77", "192,0,2,77"} {
			if strings.Contains(got, leak) {
				t.Errorf("%q shows the address as %q", got, leak)
			}
		}
	}
	if got := a.NetIP().String(); got != "192.0.2.77" {
		t.Errorf("NetIP: got %s, want 192.0.2.77", got)
	}
}

func TestPseudonymText(t *testing.T) {
	p := Pseudonym{0, 1, 2, 0xff, 0x80, 15: 7}
	text := p.Text(3)
	got, g, err := ParsePseudonym(text)
	if err != nil || got != p || g != 3 {
		t.Fatalf("parse %s: got %v generation %d error %v, want %v generation 3", text, got, g, err, p)
	}
	for _, bad := range []string{"", "p1", "p1.3", "p1.300.aaaa", "p1.x." + text[5:], "p2" + text[2:], text[:len(text)-1], text + "a", strings.ToUpper(text)} {
		if _, _, err := ParsePseudonym(bad); err == nil {
			t.Errorf("parse %q: got no error", bad)
		}
	}
}

func TestFlip(t *testing.T) {
	c := Contact{
		Local: Host{Shard: 1}, Remote: Host{Shard: 2},
		Out: Counters{Flows: 1}, In: Counters{Flows: 2}, Bits: BitOut | BitAnswered,
	}
	f := c.Flip()
	if f.Local != c.Remote || f.Remote != c.Local || f.Out != c.In || f.In != c.Out || f.Bits != BitIn|BitAnswered {
		t.Errorf("flip: got %+v", f)
	}
	if f.Flip() != c {
		t.Errorf("flip twice: got %+v, want %+v", f.Flip(), c)
	}
}

func TestSliceOf(t *testing.T) {
	f := func(ms, length int64, want Slice) {
		t.Helper()
		if got := SliceOf(ms, length); got != want {
			t.Errorf("slice of %d by %d: got %d, want %d", ms, length, got, want)
		}
	}
	f(-1, 300_000, 0)
	f(299_999, 300_000, 0)
	f(300_000, 300_000, 1)
}
