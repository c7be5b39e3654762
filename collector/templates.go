package collector

import (
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/flowhound/flowhound/collector/decode"
	"github.com/flowhound/flowhound/collector/pseudonym"
	"github.com/flowhound/flowhound/internal/flow"
)

const (
	// noTemplates as the file's name means that templates are not kept.
	noTemplates = "none"
	// templatesEvery is how often new templates are written, and touchEvery
	// how often known ones are, whose times have changed.
	templatesEvery = 30 * time.Second
	touchEvery     = time.Hour
	// maxTemplateFile bounds what is read: twice what the decoder may hold.
	maxTemplateFile = 2 * decode.MaxTemplateBytes
)

// templateFileOps label the failures of the template file.
var templateFileOps = [...]string{"read", "write"}

const (
	opRead = iota
	opWrite
)

// templateKeeper keeps templates and sampling rates in a file over restarts.
// It is a convenience: whatever is wrong with the file, the collector goes on
// and waits for the exporters to repeat themselves.
type templateKeeper struct {
	path    string // empty: nothing is kept
	logger  *slog.Logger
	now     func() time.Time
	saved   *decode.Saved
	namer   *pseudonym.Permuter // of saved's generation
	current *pseudonym.Permuter // of what will be written; run's

	mu     sync.Mutex // guards errors
	errors [len(templateFileOps)]uint64
}

// openTemplates reads the template file.
func (c *Collector) openTemplates(keys *pseudonym.Keys) *templateKeeper {
	k := &templateKeeper{path: c.cfg.Templates.File, logger: c.deps.Logger, now: c.deps.Now, current: c.permuter.Clone()}
	if k.path == noTemplates || k.path == "" {
		k.path = ""
		return k
	}
	saved, err := readTemplates(k.path, k.now().UnixMilli())
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return k
	case errors.Is(err, decode.ErrTemplates):
		k.failed(opRead)
		aside := k.path + ".corrupt"
		k.logger.Warn("template file set aside, exporters will repeat what was in it",
			"path", k.path, "aside", aside, "err", errors.Join(err, os.Rename(k.path, aside)))
		return k
	case err != nil:
		k.failed(opRead)
		k.logger.Warn("template file not read, exporters will repeat what is in it", "path", k.path, "err", err)
		return k
	}
	if k.namer, err = keys.Permuter(saved.Generation()); err != nil {
		k.logger.Warn("template file of a generation whose key is gone", "path", k.path, "err", err)
		return k
	}
	k.saved = saved
	return k
}

func readTemplates(path string, nowMS int64) (*decode.Saved, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxTemplateFile))
	if err != nil {
		return nil, err
	}
	return decode.ReadSaved(b, nowMS)
}

// recall returns what a decoder needs to find what was saved. Each decoder
// gets a namer of its own.
func (k *templateKeeper) recall() (*decode.Saved, decode.Namer) {
	if k.saved == nil {
		return nil, nil
	}
	return k.saved, namerOf(k.namer.Clone())
}

func namerOf(p *pseudonym.Permuter) decode.Namer {
	return func(a netip.Addr) flow.Pseudonym { return p.Router(flow.AddrFrom(a)) }
}

// run writes the file now and then, and once more when stop is closed.
func (k *templateKeeper) run(stop <-chan struct{}, workers []*worker) {
	if k.path == "" {
		return
	}
	tick := time.NewTicker(templatesEvery)
	defer tick.Stop()
	var written uint64 // the revision in the file
	var at time.Time
	for stopped := false; !stopped; {
		select {
		case <-tick.C:
		case <-stop:
			stopped = true
		}
		now, revision := k.now(), uint64(1)
		for _, w := range workers {
			w.decoder.ExpireStale(now.UnixMilli())
			revision += w.decoder.Revision()
		}
		if revision == written && !stopped && now.Sub(at) < touchEvery {
			continue
		}
		if err := k.write(workers); err != nil {
			k.failed(opWrite)
			k.logger.Warn("template file not written", "path", k.path, "err", err)
			continue
		}
		written, at = revision, now
	}
}

// write puts what all workers know into a temporary file, on disk, and then in
// place of the old one: no crash leaves half of it under that name.
func (k *templateKeeper) write(workers []*worker) error {
	decoders := make([]*decode.Decoder, 0, len(workers))
	for _, w := range workers {
		decoders = append(decoders, w.decoder)
	}
	b := decode.AppendSaved(nil, k.current.Generation(), namerOf(k.current), k.saved, decoders...)
	dir := filepath.Dir(k.path)
	tmp, err := os.CreateTemp(dir, ".templates-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	defer tmp.Close()
	if _, err := tmp.Write(b); err != nil {
		return err
	}
	if err := tmp.Sync(); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), k.path)
}

func (k *templateKeeper) failed(op int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.errors[op]++
}

func (k *templateKeeper) failures() [len(templateFileOps)]uint64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.errors
}
