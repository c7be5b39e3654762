package testbench

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// tableRows is how many suspects a person is shown.
const tableRows = 15

// WriteJSON writes the result as one indented JSON object.
func (r DemoResult) WriteJSON(w io.Writer) error {
	if r.Suspects == nil {
		r.Suspects = []Suspect{}
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	if err := e.Encode(r); err != nil {
		return fmt.Errorf("demo: write result: %w", err)
	}
	return nil
}

// WriteTable writes the worst suspects and the score against the truth for a
// person.
func (r DemoResult) WriteTable(w io.Writer) error {
	var b strings.Builder
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(t, "PSEUDONYM\tSCORE\tCLIENT\tSERVER\tCLUSTER\tEVIDENCE")
	for _, s := range r.Suspects[:min(tableRows, len(r.Suspects))] {
		// The first piece of evidence is the reason; the ranks have columns.
		reason := ""
		if len(s.Evidence) > 0 {
			reason = s.Evidence[0]
		}
		_, _ = fmt.Fprintf(t, "%s\t%.2f\t%.1f×\t%.1f×\t%d\t%s\n",
			s.Pseudonym, s.Score, s.ClientRank, s.ServerRank, s.Cluster, reason)
	}
	_ = t.Flush() // a strings.Builder takes everything
	if more := len(r.Suspects) - tableRows; more > 0 {
		_, _ = fmt.Fprintf(&b, "… and %d more\n", more)
	}
	_, _ = fmt.Fprintf(&b, "\n%d flow records in %d packets about %d hosts, %d of them bots: %d suspects in %.0f s\n",
		r.Flows, r.Packets, r.Hosts, r.Bots, len(r.Suspects), r.Seconds)
	if r.Lost > 0 {
		_, _ = fmt.Fprintf(&b, "%d flow records were lost on the way: the receiver's buffer was too small for this machine\n", r.Lost)
	}
	right := 0
	for _, s := range r.Suspects {
		if s.Bot {
			right++
		}
	}
	_, _ = fmt.Fprintf(&b, "found %d of %d bots (TPR %.2f %%) and %d of %d other hosts (FPR %.3f %%): the botnet was %s\n",
		right, r.Bots, 100*r.TPR, len(r.Suspects)-right, r.Hosts-r.Bots, 100*r.FPR,
		map[bool]string{true: "found", false: "NOT found"}[r.Found])
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("demo: write result: %w", err)
	}
	return nil
}
