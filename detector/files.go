package detector

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// writeFile writes a file that is either whole or not there, also after a
// power cut: temporary file, fsync, rename, fsync of the directory.
func writeFile(path string, write func(w io.Writer) error) (err error) {
	temp := path + tempSuffix
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(temp)
		}
	}()
	b := bufio.NewWriterSize(f, 1<<20)
	err = errors.Join(write(b), b.Flush(), f.Sync(), f.Close())
	if err != nil {
		return err
	}
	if err := os.Rename(temp, path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// tempSuffix marks files that were never finished.
const tempSuffix = ".tmp"

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// layout is what must not change in a state directory that is in use.
type layout struct {
	Version int   `json:"version"`
	SliceMS int64 `json:"slice_ms"`
}

// layoutVersion is the version of the state directory.
const layoutVersion = 1

// checkLayout compares the state directory with the configuration, or marks a
// new one.
func (d *Detector) checkLayout() error {
	path := filepath.Join(d.deps.Dir, "layout.json")
	want := layout{layoutVersion, d.cfg.Slice.Milliseconds()}
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return writeFile(path, func(w io.Writer) error { return json.NewEncoder(w).Encode(want) })
	}
	if err != nil {
		return err
	}
	var have layout
	if err := json.Unmarshal(b, &have); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if have.Version != want.Version {
		return fmt.Errorf("%s: version %d, want %d", path, have.Version, want.Version)
	}
	if have.SliceMS != want.SliceMS {
		return fmt.Errorf("%s: the state was made with slices of %d ms and the configuration says %d ms; keep the old length or use another state directory", path, have.SliceMS, want.SliceMS)
	}
	return nil
}
