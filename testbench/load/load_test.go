package load

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/flowhound/flowhound/collector/decode"
	"github.com/flowhound/flowhound/internal/flow"
	"github.com/flowhound/flowhound/testbench/exporter"
)

// TestRun measures on a tiny scale: every figure that issue 3 names is there
// and positive, whatever it is, and absent peers are null.
func TestRun(t *testing.T) {
	c := DefaultConfig()
	c.Repetitions, c.Packets, c.Hosts, c.Dir = 1, 256, 2000, t.TempDir()
	r, err := Run(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	positive := func(name string, v any) {
		if n, ok := v.(float64); !ok || n <= 0 {
			t.Errorf("%s: got %v, want a positive number\n%s", name, v, text)
		}
	}
	for _, name := range []string{"decode_v9_ns_per_flow", "decode_ipfix_ns_per_flow", "decode_v5_ns_per_flow", "to_log_mflows_per_cpu_s", "to_log_records_per_contact"} {
		positive(name, got[name])
	}
	pipeline, _ := got["pipeline_mflows_per_cpu_s"].(map[string]any)
	for _, n := range []string{"24", "5", "1"} {
		positive("pipeline "+n, pipeline[n])
	}
	for _, name := range []string{"nfcapd_ratio", "nfacctd_ratio", "goflow2_ratio"} {
		if v, ok := got[name]; !ok || v != nil {
			t.Errorf("%s: got %v, present %v, want null: there was no program to compare with", name, v, ok)
		}
	}
	var table strings.Builder
	if err := r.WriteTable(&table); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"WHAT", "TARGET", "MET", "decode IPFIX", "against nfacctd", "not measured: "} {
		if !strings.Contains(table.String(), want) {
			t.Errorf("no %q in the table\n%s", want, &table)
		}
	}
}

// TestEncode compares what the decoder makes of the packets with the records
// that they were made of.
func TestEncode(t *testing.T) {
	const nowMS = 1_700_000_000_123
	records, err := drawRecords(2000, 3, 240)
	if err != nil {
		t.Fatal(err)
	}
	records = records[:240]
	for _, protocol := range []exporter.Protocol{exporter.NetFlow9, exporter.IPFIX, exporter.NetFlow5} {
		for _, n := range perPackets {
			p, err := encode(protocol, records, n, nowMS)
			if err != nil {
				t.Fatal(err)
			}
			d := decode.New(decode.Config{})
			from := netip.MustParseAddr("192.0.2.1")
			if p.template != nil {
				d.Decode(nil, from, p.template, nowMS)
			}
			var got []flow.Record
			for _, b := range p.data {
				if len(b) > 1508 {
					t.Fatalf("%s: a packet of %d bytes", protocol, len(b))
				}
				got = d.Decode(got, from, b, nowMS)
			}
			for i, g := range got {
				want := records[i]
				want.StartMS += nowMS - 60_000
				want.EndMS += nowMS - 60_000
				if g.Src != want.Src || g.Dst != want.Dst || g.SrcPort != want.SrcPort || g.DstPort != want.DstPort ||
					g.Packets != want.Packets || g.Bytes != want.Bytes || g.Proto != want.Proto || g.TCPFlags != want.TCPFlags ||
					g.StartMS != want.StartMS || g.EndMS != want.EndMS || g.InIf != want.InIf || g.OutIf != want.OutIf {
					t.Fatalf("%s, %d a packet, record %d: got %+v, want %+v", protocol, n, i, g, want)
				}
			}
			if want := len(records) / n * n; len(got) != want {
				t.Errorf("%s, %d a packet: %d records, want %d", protocol, n, len(got), want)
			}
		}
	}
}

// TestBombs gives every bomb to the decoder, which must come back.
func TestBombs(t *testing.T) {
	d := decode.New(decode.Config{})
	begin := time.Now()
	for i, b := range append(Bombs(), wideTemplate()) {
		if len(b) > 1400 {
			t.Errorf("bomb %d: %d bytes", i, len(b))
		}
		d.Decode(nil, netip.MustParseAddr("192.0.2.1"), b, 1_700_000_000_000)
	}
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("the bombs took %v", took)
	}
}

// TestMove decodes packets before and after their hosts were moved.
func TestMove(t *testing.T) {
	const nowMS = 1_700_000_000_000
	records, err := drawRecords(2000, 3, 48)
	if err != nil {
		t.Fatal(err)
	}
	p, err := encode(exporter.NetFlow9, records[:48], 24, nowMS)
	if err != nil {
		t.Fatal(err)
	}
	p.move(5)
	d := decode.New(decode.Config{})
	d.Decode(nil, netip.MustParseAddr("192.0.2.1"), p.template, nowMS)
	for i, b := range p.data {
		for k, r := range d.Decode(nil, netip.MustParseAddr("192.0.2.1"), b, nowMS) {
			want := records[24*i+k]
			want.Src[13] ^= 5
			want.Dst[13] ^= 5
			if r.Src != want.Src || r.Dst != want.Dst || r.Bytes != want.Bytes {
				t.Fatalf("packet %d record %d: got %v, want %v", i, k, r, want)
			}
		}
	}
}

func TestMedian(t *testing.T) {
	m := medians{}
	for _, v := range []float64{3, 1, 2, 9} {
		m.add("x", v)
	}
	if got := m.of("x"); got != 2 {
		t.Errorf("median of 3 1 2 9: got %v, want 2", got)
	}
}
