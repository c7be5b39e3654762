package app

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/flowhound/flowhound/internal/lifecycle"
)

// The status page reads the API like any other client.
var (
	//go:embed status.html
	statusHTML []byte
	//go:embed status.js
	statusJS []byte
)

// httpServer serves the status page, health, metrics and the API on one port.
// It listens before anything else starts, so that a port in use is found
// early and /readyz can say what is still missing.
type httpServer struct {
	cfg      HTTPConfig
	handler  http.Handler
	logger   *slog.Logger
	listener net.Listener
	server   *http.Server
	group    *lifecycle.Group
}

func newHTTPServer(cfg HTTPConfig, handler http.Handler, logger *slog.Logger) *httpServer {
	return &httpServer{cfg: cfg, handler: cfg.guard(handler), logger: logger, group: lifecycle.NewGroup(context.Background())}
}

func (s *httpServer) start(ctx context.Context) error {
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", s.cfg.Listen)
	if err != nil {
		return fmt.Errorf("http.listen: %w", err)
	}
	s.listener = listener
	s.server = &http.Server{
		Handler:           s.handler,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       30 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    1 << 14,
		ErrorLog:          slog.NewLogLogger(s.logger.Handler(), slog.LevelDebug),
	}
	s.group.Go("http", func(context.Context) error {
		if err := s.server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	s.logger.Info("http listens", "address", "http://"+listener.Addr().String()+"/")
	return nil
}

func (s *httpServer) stop(ctx context.Context) error {
	if s.server == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if s.server.Shutdown(ctx) != nil {
		_ = s.server.Close() // a slow reader must not hold the stop up
	}
	s.group.Stop()
	return nil
}

// routes joins what the roles serve. ready returns why the appliance is not
// ready, nil if it is; status returns what /api/v1/status shows.
func routes(registry *prometheus.Registry, ready func() error, status func() any, components map[string]http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "ok")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := ready(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ready")
	})
	mux.HandleFunc("GET /api/v1/status", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(status())
	})
	mux.HandleFunc("GET /{$}", static("text/html; charset=utf-8", statusHTML))
	mux.HandleFunc("GET /status.js", static("text/javascript; charset=utf-8", statusJS))
	for pattern, handler := range components {
		mux.Handle(pattern, handler)
	}
	return mux
}

// guard refuses names that are not this machine's, browsers' cross-origin
// writes, and sends the headers that keep foreign pages from framing or
// scripting this one.
func (c HTTPConfig) guard(next http.Handler) http.Handler {
	return http.NewCrossOriginProtection().Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !c.knows(r.Host) {
			http.Error(w, "this name is not in http.hosts", http.StatusMisdirectedRequest)
			return
		}
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'self'; style-src 'self' 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	}))
}

// knows reports whether a request's Host header may name this server. On
// loopback, where nobody asks who reads, a web page could otherwise point a
// name of its own here and read along (DNS rebinding).
func (c HTTPConfig) knows(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.Trim(host, "[]")
	listen, _, err := net.SplitHostPort(c.Listen)
	if _, isIP := netip.ParseAddr(host); isIP == nil || host == "localhost" || slices.Contains(c.Hosts, host) {
		return true
	}
	ip, ipErr := netip.ParseAddr(listen)
	return err == nil && listen != "localhost" && (ipErr != nil || !ip.IsLoopback())
}

func static(contentType string, body []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		_, _ = w.Write(body)
	}
}
