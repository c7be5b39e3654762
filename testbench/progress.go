package testbench

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// progress shows how far a long step is: a bar on a terminal, otherwise a line
// for every quarter.
type progress struct {
	w       io.Writer
	what    string
	unit    string // of total, in the plural
	total   uint64
	bar     *progressbar.ProgressBar
	quarter uint64
}

func newProgress(w io.Writer, what string, total uint64) *progress {
	return newProgressOf(w, what, "flows", total)
}

func newProgressOf(w io.Writer, what, unit string, total uint64) *progress {
	p := &progress{w: w, what: what, unit: unit, total: total}
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		p.bar = progressbar.NewOptions64(int64(total),
			progressbar.OptionSetWriter(w), progressbar.OptionSetDescription(what),
			progressbar.OptionShowCount(), progressbar.OptionShowIts(), progressbar.OptionSetItsString(unit),
			progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish())
	}
	return p
}

// at reports that done of the total are through. A display that cannot be
// written to stops nothing.
func (p *progress) at(done uint64) {
	if p.bar != nil {
		_ = p.bar.Set64(int64(done))
		return
	}
	if quarter := 4 * done / max(p.total, 1); quarter > p.quarter {
		p.quarter = quarter
		_, _ = fmt.Fprintf(p.w, "%s: %d of %d %s (%d %%)\n", p.what, done, p.total, p.unit, 25*quarter)
	}
}
