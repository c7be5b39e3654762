package detector

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/flowhound/flowhound/internal/flow"
)

// history remembers since when each suspect has been one, across restarts. One
// goroutine at a time uses it: Start, then the ranking.
type history struct {
	Slice flow.Slice            `json:"slice"` // of the last epoch that was published
	Since map[string]flow.Slice `json:"since"` // by printed pseudonym
}

const historyFile = "suspects.json"

// load reads what save wrote; without a file the history is empty.
func (h *history) load(dir string) error {
	*h = history{}
	path := filepath.Join(dir, historyFile)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = json.Unmarshal(b, h)
	}
	if err != nil {
		*h = history{}
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

func (h *history) save(dir string) error {
	return writeFile(filepath.Join(dir, historyFile), func(w io.Writer) error { return json.NewEncoder(w).Encode(h) })
}

// advance takes over the suspects of an epoch and fills in since when they
// have been suspects. It returns the places of the new ones, and the
// pseudonyms of those cleared, ascending. An epoch that is published again
// after a restart has neither.
func (h *history) advance(e *epoch) (fresh []int, cleared []string) {
	again := h.Slice == e.slice
	since := make(map[string]flow.Slice, len(e.verdict.Suspects))
	e.since = make([]flow.Slice, len(e.verdict.Suspects))
	for i, s := range e.verdict.Suspects {
		name := e.pseudonym(s.Vertex)
		old, known := h.Since[name]
		if !known {
			old = e.slice
			if !again {
				fresh = append(fresh, i)
			}
		}
		since[name], e.since[i] = old, old
	}
	for name := range h.Since {
		if _, still := since[name]; !still && !again {
			cleared = append(cleared, name)
		}
	}
	slices.Sort(cleared)
	h.Slice, h.Since = e.slice, since
	return fresh, cleared
}
