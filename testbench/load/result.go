package load

import (
	"fmt"
	"io"
	"runtime"
	"strings"
	"text/tabwriter"
)

// Result is what was measured. Rates are per CPU-second.
type Result struct {
	Machine Machine `json:"machine"`

	// Nanoseconds of one thread per flow record, 24 records a packet (v5: 30),
	// and heap allocations per packet.
	DecodeV9     float64 `json:"decode_v9_ns_per_flow"`
	DecodeIPFIX  float64 `json:"decode_ipfix_ns_per_flow"`
	DecodeV5     float64 `json:"decode_v5_ns_per_flow"`
	DecodeAllocs float64 `json:"decode_allocs_per_packet"`

	// Millions of v9 records that one thread receives, decodes and collects
	// into contacts per second of its CPU time, by records a packet.
	Pipeline map[string]float64 `json:"pipeline_mflows_per_cpu_s"`
	// The same of packets that the kernel joined before it handed them over.
	Joined map[string]float64 `json:"pipeline_joined_mflows_per_cpu_s"`

	// The same through to the log: the whole process's CPU time.
	ToLog        float64 `json:"to_log_mflows_per_cpu_s"`
	ToLogRecords float64 `json:"to_log_records_per_contact"`

	// How many times more v9 records, 24 a packet, FlowHound takes into its
	// log per CPU-second than a peer; nil where the peer is not there.
	Nfcapd  *float64 `json:"nfcapd_ratio"`
	Nfacctd *float64 `json:"nfacctd_ratio"`
	Goflow2 *float64 `json:"goflow2_ratio"`
	// Receivers are the figures that the ratios are made of, by name.
	Receivers map[string]*Receiver `json:"receivers"`

	Loss    *Loss    `json:"loss,omitempty"`
	Restart *Restart `json:"restart,omitempty"`
	Sources *Sources `json:"sources,omitempty"`
}

// Machine is where the figures were measured.
type Machine struct {
	CPU    string `json:"cpu"`
	Cores  int    `json:"cores"`
	System string `json:"system"`
	Go     string `json:"go"`
}

// Receiver is what one collector did with the traffic.
type Receiver struct {
	MFlows float64 `json:"mflows_per_cpu_s"` // records taken per CPU-second of its processes
	Sent   uint64  `json:"flows_sent"`       // in the median repetition
	Taken  uint64  `json:"flows_taken"`      // of those, by its own account
	Reason string  `json:"absent,omitempty"` // why it was not measured
}

func newResult() *Result {
	return &Result{
		Machine:  Machine{CPU: cpuModel(), Cores: runtime.NumCPU(), System: runtime.GOOS + "/" + runtime.GOARCH, Go: runtime.Version()},
		Pipeline: map[string]float64{}, Joined: map[string]float64{}, Receivers: map[string]*Receiver{},
	}
}

// row is a line of the table: what was measured, how much, and how much is
// wanted.
type row struct {
	what, value, target string
	met                 bool
	absent              bool
}

// atLeast and atMost make rows.
func atLeast(what string, got, want float64, format, unit string) row {
	return row{what: what, value: fmt.Sprintf(format, got) + unit, target: "≥ " + fmt.Sprintf(format, want) + unit, met: got >= want}
}

func atMost(what string, got, want float64, format, unit string) row {
	return row{what: what, value: fmt.Sprintf(format, got) + unit, target: "≤ " + fmt.Sprintf(format, want) + unit, met: got <= want}
}

// rows compares the result with the targets of notes/collector.md §6.
func (r Result) rows() []row {
	const rates, mflows = "%.2f", " Mflows/CPU-s"
	decode := func(what string, ns, want float64) row {
		x := atLeast(what, 1e3/ns, want, "%.1f", mflows)
		x.value += fmt.Sprintf(", %.1f ns/flow", ns)
		return x
	}
	rows := []row{
		decode("decode v9, 24 records a packet", r.DecodeV9, 40),
		decode("decode IPFIX, 24 records a packet", r.DecodeIPFIX, 40),
		decode("decode v5, 30 records a packet", r.DecodeV5, 200),
		atMost("allocations of the decoder", r.DecodeAllocs, 0, "%.0f", " per packet"),
	}
	for i, want := range []float64{8, 3.5, .85} {
		n := key(perPackets[i])
		x := atLeast("receive + decode + contacts, "+n+" records a packet", r.Pipeline[n], want, rates, mflows)
		x.value += fmt.Sprintf(", %.2f of joined packets", r.Joined[n])
		rows = append(rows, x)
	}
	rows = append(rows, atLeast(fmt.Sprintf("to the log, 24 records a packet, %.1f a contact", r.ToLogRecords), r.ToLog, 5, rates, mflows))
	for _, p := range []struct {
		name  string
		ratio *float64
		want  float64
	}{{"nfcapd", r.Nfcapd, 1.5}, {"nfacctd", r.Nfacctd, 10}, {"goflow2", r.Goflow2, 30}} {
		rows = append(rows, r.peerRow(p.name, p.ratio, p.want))
	}
	rows = append(rows, r.Loss.rows()...)
	rows = append(rows, r.Restart.rows()...)
	return append(rows, r.Sources.rows()...)
}

func (r Result) peerRow(name string, ratio *float64, want float64) row {
	what := "to the log against " + name
	if ratio == nil {
		reason := ""
		if x := r.Receivers[name]; x != nil {
			reason = ": " + x.Reason
		}
		return row{what: what, value: "not measured" + reason, target: fmt.Sprintf("≥ %g×", want), absent: true}
	}
	x := atLeast(what, *ratio, want, "%.1f", "×")
	own, peer := r.Receivers[ownName], r.Receivers[name]
	x.value += fmt.Sprintf(": %.2f to %.2f%s", own.MFlows, peer.MFlows, " Mflows/CPU-s")
	if peer.Taken < peer.Sent {
		x.value += fmt.Sprintf(", it lost %.1f %%", 100*float64(peer.Sent-peer.Taken)/float64(peer.Sent))
	}
	return x
}

// WriteTable writes the figures beside their targets, for a person.
func (r Result) WriteTable(w io.Writer) error {
	var b strings.Builder
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(t, "WHAT\tVALUE\tTARGET\tMET")
	for _, x := range r.rows() {
		met := map[bool]string{true: "yes", false: "no"}[x.met]
		if x.absent {
			met = "-"
		}
		_, _ = fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", x.what, x.value, x.target, met)
	}
	_ = t.Flush() // a strings.Builder takes everything
	_, _ = fmt.Fprintf(&b, "\n%s, %d cores, %s, %s; all rates per CPU-second\n", r.Machine.CPU, r.Machine.Cores, r.Machine.System, r.Machine.Go)
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("load: write result: %w", err)
	}
	return nil
}
