// Package app joins the roles of a configuration into one process: collector,
// detector, the log between them, and the HTTP port. It is embeddable: several
// appliances may run in one process, as the demonstration and the tests do.
package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/flowhound/flowhound/collector"
	"github.com/flowhound/flowhound/detector"
	"github.com/flowhound/flowhound/federation/feed"
	"github.com/flowhound/flowhound/internal/flow"
	"github.com/flowhound/flowhound/internal/lifecycle"
	"github.com/flowhound/flowhound/internal/metric"
)

// Role says which parts of the appliance a process runs.
type Role uint8

// The roles.
const (
	All           Role = iota // collector and detector with the log between them
	CollectorOnly             // writes into its own log, which is forwarded to the one at log.url
	DetectorOnly              // reads the log, which is its own unless log.url is set
)

// Deps are what an appliance takes from its surroundings.
type Deps struct {
	Logger *slog.Logger
	// Sockets are UDP sockets that the service manager opened.
	Sockets []*os.File
	// Load reads the configuration again for a reload; nil: there is nothing to
	// read again.
	Load func() (Config, error)
}

// App is one appliance: inert until its parts are started, in order.
type App struct {
	cfg      Config
	role     Role
	deps     Deps
	registry *prometheus.Registry

	http      *httpServer
	log       atomic.Pointer[feed.Log]
	forwarder atomic.Pointer[feed.Forwarder] // of CollectorOnly
	input     collector.Input                // from the start of the sockets on, to the collector's
	collector atomic.Pointer[collector.Collector]
	detector  atomic.Pointer[detector.Detector]
	// What the parts that are made during the start will report.
	collectorFailed, forwarderFailed chan error
	stopped                          chan struct{} // closed by the last part's stop
	stopOnce                         sync.Once
}

// New returns an appliance of a valid configuration.
func New(cfg Config, role Role, deps Deps) (*App, error) {
	cfg.settle()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if role == CollectorOnly && cfg.Log.URL == "" {
		return nil, errors.New("log.url: empty, but a collector alone needs to know where the log is")
	}
	a := &App{cfg: cfg, role: role, deps: deps, registry: metric.NewRegistry(),
		collectorFailed: make(chan error, 1), forwarderFailed: make(chan error, 1), stopped: make(chan struct{})}
	a.http = newHTTPServer(cfg.HTTP, routes(a.registry, a.Ready, a.status, map[string]http.Handler{
		"/api/v1/exporters":         a.component(a.collectorHandler, "collector"),
		"/api/v1/exporters/refused": a.component(a.collectorHandler, "collector"),
		"/api/v1/":                  a.component(a.detectorHandler, "detector"),
	}), deps.Logger)
	return a, nil
}

// Process returns the appliance as a process that runs until a signal.
func (a *App) Process() *lifecycle.Process {
	p := &lifecycle.Process{Parts: a.parts(), Logger: a.deps.Logger, Alive: a.alive}
	if a.deps.Load != nil {
		p.Reload = a.reload
	}
	return p
}

// parts returns the parts in the order of their start; they stop in the reverse
// order. HTTP comes first: it finds a second appliance on the box before
// anything is touched, and tells what is still starting. Then packets begin to
// wait in the sockets, and the collector starts before the detector, which may
// take long to load its snapshot, and to write it at the end: over a restart
// few packets find nobody who listens.
func (a *App) parts() []lifecycle.Part {
	parts := []lifecycle.Part{
		{Name: "state", Start: a.prepare},
		{Name: "http", Start: a.http.start, Stop: a.http.stop, Failed: a.http.group.Failed()},
	}
	add := func(wanted bool, p lifecycle.Part) {
		if wanted {
			parts = append(parts, p)
		}
	}
	add(a.role != DetectorOnly, lifecycle.Part{Name: "sockets", Start: a.listen, Stop: a.closeSockets})
	add(true, lifecycle.Part{Name: "log", Start: a.startLog, Stop: a.stopLog})
	add(a.role == CollectorOnly, lifecycle.Part{Name: "forwarder", Start: a.startForwarder, Stop: a.stopForwarder, Failed: a.forwarderFailed})
	add(a.role != DetectorOnly, lifecycle.Part{Name: "collector", Start: a.startCollector, Stop: a.stopCollector, Failed: a.collectorFailed})
	add(a.role != CollectorOnly, lifecycle.Part{Name: "detector", Start: a.startDetector, Stop: a.stopDetector})
	return parts
}

// prepare makes the state directory and finds out whether it can be written.
func (a *App) prepare(context.Context) error {
	if err := os.MkdirAll(a.cfg.StateDir, 0o700); err != nil {
		return fmt.Errorf("state_dir: %w", err)
	}
	if keys := a.cfg.Collector.Keys.File; a.role == CollectorOnly {
		// One host must have one pseudonym, whichever POP sees it.
		if _, err := os.Stat(keys); errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("key file %s: not there; copy it from another collector of this ring, or for the first one make it with: flowhound keys create --key %s", keys, keys)
		}
	}
	probe := filepath.Join(a.cfg.StateDir, ".writable")
	if err := os.WriteFile(probe, nil, 0o600); err != nil {
		return fmt.Errorf("state_dir: %w", err)
	}
	return os.Remove(probe)
}

func (a *App) listen(context.Context) (err error) {
	a.input, err = collector.Listen(a.cfg.Collector, a.deps.Sockets)
	return err
}

// closeSockets is for a start that failed before the collector had them.
func (a *App) closeSockets(context.Context) error {
	if a.input == nil {
		return nil
	}
	return a.input.Close()
}

func (a *App) startLog(ctx context.Context) error {
	cfg := a.cfg.feed()
	if a.role == CollectorOnly {
		cfg = a.cfg.spool()
	}
	log, err := feed.Open(ctx, cfg, feed.Deps{Registerer: a.registry, Logger: a.deps.Logger})
	if err != nil {
		return err
	}
	a.log.Store(log)
	return nil
}

// watch passes on the death of a part that was made during the start, until
// the last part has stopped.
func (a *App) watch(failed <-chan error, died chan<- error) {
	go func() {
		select {
		case err := <-failed:
			died <- err
		case <-a.stopped:
		}
	}()
}

func (a *App) stopLog(context.Context) error {
	a.stopOnce.Do(func() { close(a.stopped) })
	if log := a.log.Load(); log != nil {
		return log.Close()
	}
	return nil
}

func (a *App) startDetector(ctx context.Context) error {
	d, err := detector.New(a.cfg.Detector, detector.Deps{
		Log: detectorLog{a.log.Load(), a.deps.Logger}, Registerer: a.registry, Logger: a.deps.Logger, Dir: a.cfg.StateDir,
	})
	if err != nil {
		return err
	}
	a.detector.Store(d)
	return d.Start(ctx)
}

func (a *App) stopDetector(ctx context.Context) error {
	if d := a.detector.Load(); d != nil {
		return d.Stop(ctx)
	}
	return nil
}

func (a *App) startCollector(ctx context.Context) error {
	c, err := collector.New(a.cfg.Collector, collector.Deps{
		Log: a.log.Load(), Registerer: a.registry, Logger: a.deps.Logger, Input: a.input,
	})
	if err != nil {
		return err
	}
	if err := c.Start(ctx); err != nil {
		return errors.Join(err, c.Stop(ctx))
	}
	a.collector.Store(c)
	a.deps.Logger.Info("listening for NetFlow, IPFIX and sFlow", "udp", c.Listening(), "state", a.cfg.StateDir)
	if a.role == All {
		length := a.cfg.Slice.Milliseconds()
		end := time.UnixMilli((int64(flow.SliceOf(time.Now().UnixMilli(), length)) + 1) * length)
		next := end.Add(a.cfg.Collector.Grace + a.cfg.Collector.Flush)
		a.deps.Logger.Info("hosts are ranked at the end of every slice", "slice", a.cfg.Slice, "next", next.Format(time.TimeOnly))
	}
	a.watch(c.Failed(), a.collectorFailed)
	return nil
}

func (a *App) stopCollector(ctx context.Context) error {
	if c := a.collector.Load(); c != nil {
		return c.Stop(ctx)
	}
	return nil
}

// NewLogger returns the program's logger as the configuration wants it.
func NewLogger(w io.Writer, c LoggingConfig) *slog.Logger {
	options := &slog.HandlerOptions{Level: c.Level}
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}
