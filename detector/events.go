package detector

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"time"
)

// eventHead opens every line of the events file.
type eventHead struct {
	Event string    `json:"event"` // epoch, suspect or cleared
	Time  time.Time `json:"time"`  // the end of the slice
}

// The lines of the events file.
type (
	epochEvent struct {
		eventHead
		epochSummary
	}
	suspectEvent struct {
		eventHead
		suspectJSON
	}
	clearedEvent struct {
		eventHead
		Pseudonym string `json:"pseudonym"`
	}
)

// writeEvents appends the events of an epoch to the events file in one write:
// suspects that are new, suspects that are none any more, then the epoch. The
// file is opened each time, so that it can be rotated at any moment. A crash
// between this and saving the history repeats the events of that epoch.
func (d *Detector) writeEvents(e *epoch, fresh []int, cleared []string) error {
	if d.cfg.Events == "" {
		return nil
	}
	path := d.cfg.Events
	if !filepath.IsAbs(path) {
		path = filepath.Join(d.deps.Dir, path)
	}
	end := d.cfg.end(e.slice)
	var b bytes.Buffer
	lines := json.NewEncoder(&b)
	var errs []error
	for _, i := range fresh {
		errs = append(errs, lines.Encode(suspectEvent{eventHead{"suspect", end}, e.suspect(i, d.cfg)}))
	}
	for _, name := range cleared {
		errs = append(errs, lines.Encode(clearedEvent{eventHead{"cleared", end}, name}))
	}
	errs = append(errs, lines.Encode(epochEvent{eventHead{"epoch", end}, e.recent[0]}))
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b.Bytes())
	return errors.Join(append(errs, err, f.Close())...)
}
