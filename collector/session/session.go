// Package session receives IPFIX over TCP and TLS (RFC 7011 §10.4, §11): it
// accepts a bounded number of connections, cuts their bytes into messages and
// hands these to one reader, in turns.
//
// TCP gives back-pressure: a session reads on only after its last messages
// were taken, so an exporter waits as long as the collector does. Nothing here
// is shared with the sockets of UDP.
package session

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// Bounds of what a peer can make a server wait.
const (
	// HandshakeTime is the longest that TLS may take to agree.
	HandshakeTime = 10 * time.Second
	// MessageTime is the longest that a message may take from its first byte
	// to its last.
	MessageTime = 30 * time.Second
	// stopTime is how long a session reads on after Receive was asked to end:
	// what the kernel has acknowledged, no exporter sends again.
	stopTime = 250 * time.Millisecond
	// acceptPause follows a failed accept, which is mostly for want of file
	// descriptors.
	acceptPause = 100 * time.Millisecond
)

// Config are the settings of [Open].
type Config struct {
	// Addresses are "host:port" or "[host]:port"; an empty host means all
	// addresses of both families, port 0 a free port.
	Addresses []string
	TLS       TLS
	// MaxSessions bounds the connections that are open at a time, ≥ 1; one
	// address may have half of them, at least 1.
	MaxSessions int
	// IdleTimeout ends a session that sends no whole message for so long.
	IdleTimeout time.Duration
	// Admits reports whether an exporter is listened to. It is asked for each
	// connection and again before messages are handed over.
	Admits func(netip.Addr) bool
	Logger *slog.Logger
}

// Batch are messages of one session, or its end. The messages belong to the
// reader during its call only; the capacity of each exceeds its length by
// [Slack] bytes, which may be read but do not matter.
type Batch struct {
	Session  uint64     // ≥ 1, never used again by this server
	From     netip.Addr // unmapped, without zone
	Messages [][]byte   // whole IPFIX messages as far as their header tells
	End      bool       // the session is over; no messages
	Why      End        // with End
}

// Slack is the number of bytes behind each message that may be read.
const Slack = 16

// Server accepts sessions. Its methods may be called from any goroutine.
type Server struct {
	cfg       Config
	listeners []net.Listener
	tls       atomic.Pointer[tls.Config] // nil for plain TCP
	batches   chan *turn                 // senders are served in order of their arrival

	running  sync.Mutex // held by Receive
	sessions sync.WaitGroup

	mu    sync.Mutex // guards all below
	stats Stats
	last  uint64             // session number
	open  map[*session]bool  // value unused
	from  map[netip.Addr]int // open sessions by address
	until time.Time          // when sessions stop to read, zero before the end
}

// turn is a session's batch and the answer that it was taken.
type turn struct {
	Batch
	taken chan struct{}
}

// Open listens on all addresses; nothing is accepted before Receive. The
// kernel keeps what connects meanwhile.
func Open(cfg Config) (*Server, error) {
	s := &Server{cfg: cfg, batches: make(chan *turn), open: make(map[*session]bool), from: make(map[netip.Addr]int)}
	if err := s.Reload(cfg.TLS); err != nil {
		return nil, err
	}
	if len(cfg.Addresses) == 0 || cfg.MaxSessions < 1 || cfg.IdleTimeout <= 0 {
		return nil, fmt.Errorf("sessions: %d addresses, %d sessions, idle timeout %v: out of range",
			len(cfg.Addresses), cfg.MaxSessions, cfg.IdleTimeout)
	}
	for _, address := range cfg.Addresses {
		l, err := net.Listen("tcp", address)
		if err != nil {
			return nil, errors.Join(err, s.Close())
		}
		s.listeners = append(s.listeners, l)
	}
	return s, nil
}

// Reload reads the files of TLS again, for connections from now on. TLS
// cannot be switched on or off. After an error the old ones stay in force.
func (s *Server) Reload(files TLS) error {
	if err := files.Validate(); err != nil {
		return fmt.Errorf("sessions: tls: %w", err)
	}
	if files.enabled() != s.cfg.TLS.enabled() {
		return errors.New("sessions: tls: switching it on or off needs a restart")
	}
	if !files.enabled() {
		return nil
	}
	c, err := files.load()
	if err != nil {
		return fmt.Errorf("sessions: tls: %w", err)
	}
	s.tls.Store(c)
	return nil
}

// Addresses returns what the server listens on.
func (s *Server) Addresses() []netip.AddrPort {
	var list []netip.AddrPort
	for _, l := range s.listeners {
		list = append(list, l.Addr().(*net.TCPAddr).AddrPort())
	}
	return list
}

// Stats returns the counts until now.
func (s *Server) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	stats := s.stats
	stats.Open = uint64(len(s.open))
	return stats
}

// Close stops to listen; what ends the sessions is the end of Receive's
// context. It may be called twice.
func (s *Server) Close() error {
	var errs []error
	for _, l := range s.listeners {
		if err := l.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Receive accepts sessions until ctx ends, and calls handle for each batch,
// from the calling goroutine only, the sessions that wait in turns. It
// returns nil after the end of every session was handled; the server is then
// closed.
func (s *Server) Receive(ctx context.Context, handle func(Batch)) error {
	s.running.Lock()
	defer s.running.Unlock()
	var accepting sync.WaitGroup
	for _, l := range s.listeners {
		accepting.Go(func() { s.accept(ctx, l) })
	}
	stop := context.AfterFunc(ctx, s.stop)
	defer stop()
	over := make(chan struct{})
	go func() { // ends before Receive does
		accepting.Wait()
		s.sessions.Wait()
		close(over)
	}()
	for {
		select {
		case t := <-s.batches:
			handle(t.Batch)
			t.taken <- struct{}{}
		case <-over:
			return nil
		}
	}
}

// stop closes the listeners and lets sessions read on for a moment.
func (s *Server) stop() {
	_ = s.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.until = time.Now().Add(stopTime)
	for k := range s.open {
		k.hurry(s.until)
	}
}

// accept takes connections until the listener is closed.
func (s *Server) accept(ctx context.Context, l net.Listener) {
	var logged time.Time
	for {
		conn, err := l.Accept()
		if err == nil {
			s.admit(ctx, conn)
			continue
		}
		if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
			return
		}
		if time.Since(logged) > time.Minute {
			logged = time.Now()
			s.cfg.Logger.Warn("session not accepted, trying again", "err", err)
		}
		select {
		case <-time.After(acceptPause):
		case <-ctx.Done():
		}
	}
}

// admit starts a session on conn, or closes it.
func (s *Server) admit(ctx context.Context, conn net.Conn) {
	from := conn.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap().WithZone("")
	admits := s.cfg.Admits(from)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats.Accepted++
	refuse := func(why Refusal) {
		s.stats.Refused[why]++
		reset(conn)
	}
	switch {
	case !admits:
		refuse(RefusedExporter)
		return
	case len(s.open) >= s.cfg.MaxSessions:
		refuse(RefusedFull)
		return
	case s.from[from] >= max(1, s.cfg.MaxSessions/2):
		refuse(RefusedAddress)
		return
	}
	s.last++
	k := &session{server: s, id: s.last, from: from, conn: conn, until: s.until}
	s.open[k] = true
	s.from[from]++
	s.sessions.Go(func() { k.run(ctx) })
}

// reset closes a connection so that its peer learns that something is wrong,
// and nothing of it lingers in the kernel.
func reset(conn net.Conn) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}
