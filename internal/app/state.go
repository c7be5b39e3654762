package app

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/flowhound/flowhound/collector"
	"github.com/flowhound/flowhound/detector"
	"github.com/flowhound/flowhound/internal/config"
	"github.com/flowhound/flowhound/internal/metric"
)

// reload takes over what can change while running, exporters and seeds, and
// says what else was changed and needs a restart.
func (a *App) reload(ctx context.Context) error {
	cfg, err := a.deps.Load()
	if err != nil {
		return err
	}
	if paths := needRestart(a.cfg, cfg); len(paths) > 0 {
		a.deps.Logger.Warn("these settings were changed too, and need a restart", "keys", paths)
	}
	if c := a.collector.Load(); c != nil {
		return c.Reload(ctx, cfg.Collector)
	}
	return nil
}

// needRestart returns the keys in which two configurations differ and that a
// reload does not take over.
func needRestart(old, new Config) (paths []string) {
	before := map[string]string{}
	for _, f := range config.Fields(old) {
		before[f.Path] = f.Default
	}
	for _, f := range config.Fields(new) {
		if f.Path == "collector.seeds" || strings.HasPrefix(f.Path, "collector.exporters") {
			continue
		}
		if before[f.Path] != f.Default {
			paths = append(paths, f.Path)
		}
	}
	return paths
}

// alive is what the watchdog asks: whether HTTP answers with the state of every
// part, for which each part's locks must be free.
func (a *App) alive(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+a.HTTPAddress()+"/api/v1/status", nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// Ready returns nil once every role works on new data, else what is missing.
func (a *App) Ready() error {
	log, d, c := a.log.Load(), a.detector.Load(), a.collector.Load()
	switch {
	case log == nil:
		return errors.New("log: starting")
	case a.role != CollectorOnly && d == nil:
		return errors.New("detector: starting")
	case a.role != DetectorOnly && c == nil:
		return errors.New("collector: starting")
	}
	if d != nil {
		if err := d.Ready(); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	return log.Health(ctx)
}

// status is what /api/v1/status shows.
func (a *App) status() any {
	type answer struct {
		Version string         `json:"version"`
		Ready   bool           `json:"ready"`
		Reason  string         `json:"reason,omitempty"`
		Roles   map[string]any `json:"roles"`
		Spool   any            `json:"spool,omitempty"`
	}
	s := answer{Version: metric.BuildInfo().Version, Ready: true, Roles: map[string]any{}}
	if err := a.Ready(); err != nil {
		s.Ready, s.Reason = false, err.Error()
	}
	if c := a.collector.Load(); c != nil {
		s.Roles["collector"] = c.Status()
	}
	if d := a.detector.Load(); d != nil {
		s.Roles["detector"] = d.Status()
	}
	if f := a.forwarder.Load(); f != nil {
		s.Spool = f.Status(context.Background())
	}
	return s
}

// component serves a part that may not have started yet, or is not of this
// role.
func (a *App) component(handler func() http.Handler, name string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := handler()
		if h == nil {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprintf(w, "{\"error\":%q}\n", "the "+name+" does not run here, or not yet")
			return
		}
		h.ServeHTTP(w, r)
	})
}

func (a *App) collectorHandler() http.Handler {
	if c := a.collector.Load(); c != nil {
		return c.Handler()
	}
	return nil
}

func (a *App) detectorHandler() http.Handler {
	if d := a.detector.Load(); d != nil {
		return d.Handler()
	}
	return nil
}

// Collector returns the running collector, nil before its start.
func (a *App) Collector() *collector.Collector { return a.collector.Load() }

// Detector returns the detector, nil before its start.
func (a *App) Detector() *detector.Detector { return a.detector.Load() }

// HTTPAddress returns where HTTP listens, host:port, once it does.
func (a *App) HTTPAddress() string {
	if a.http.listener == nil {
		return ""
	}
	return a.http.listener.Addr().String()
}
