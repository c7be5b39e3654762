package collector

import (
	"context"
	"net/netip"
	"time"

	"github.com/flowhound/flowhound/collector/session"
)

// Sessions are the settings of IPFIX over TCP and TLS (RFC 7011 §10.4).
type Sessions struct {
	// Addresses to accept IPFIX sessions on, as host:port; without a host, all
	// IPv4 and IPv6 addresses. IANA's ports are 4739 for TCP and 4740 for TLS.
	// Empty for none. Default: empty.
	Listen []string `yaml:"listen"`
	// With a certificate, all of listen speaks TLS 1.3; without, plain TCP.
	TLS SessionTLS `yaml:"tls"`
	// Sessions open at a time, 1 to 4096, about 70 kB each; one address may
	// have half of them. Further connections are refused and counted.
	// Default: 256.
	MaxSessions int `yaml:"max_sessions"`
	// Time without a message after which a session ends, 1s to 24h. Default:
	// 10m.
	IdleTimeout time.Duration `yaml:"idle_timeout"`
}

// SessionTLS names the PEM files of TLS. SIGHUP reads them again, for new
// sessions.
type SessionTLS struct {
	// PEM file of the collector's certificate, with the chain that exporters
	// need.
	// Default: empty.
	Certificate string `yaml:"certificate"`
	// PEM file of its private key. Default: empty.
	Key string `yaml:"key"`
	// Certificates of the authorities that exporters' certificates must be
	// from. Empty asks exporters for none, and lets anybody in who is on the
	// list of exporters. Default: empty.
	ClientCA string `yaml:"client_ca"`
}

func (s Sessions) files() session.TLS {
	return session.TLS{Certificate: s.TLS.Certificate, Key: s.TLS.Key, ClientCA: s.TLS.ClientCA}
}

// yieldEvery is how often a session that waits for the log looks again.
const yieldEvery = 20 * time.Millisecond

// endLogEvery is the least time between two lines about sessions that ended
// badly.
const endLogEvery = time.Minute

// openSessions listens for sessions, where they are configured, and makes the
// worker that takes what they bring. It has its own table and decoder: UDP
// shares nothing with it but the flusher.
func (c *Collector) openSessions(a *access) error {
	s := c.cfg.Sessions
	if len(s.Listen) == 0 {
		return nil
	}
	server, err := session.Open(session.Config{Addresses: s.Listen, TLS: s.files(), MaxSessions: s.MaxSessions,
		IdleTimeout: s.IdleTimeout, Admits: c.admitsSession, Logger: c.deps.Logger})
	if err != nil {
		return err
	}
	c.sessions.Store(server)
	w := c.newWorker(c.decoding(a))
	var logged time.Time
	w.receive = func(ctx context.Context) error {
		return server.Receive(ctx, func(b session.Batch) {
			if !b.End {
				c.yield(ctx)
				w.messages(b)
				return
			}
			w.decoder.EndSession(b.From, b.Session)
			if now := c.deps.Now(); b.Why.Malformed() && now.Sub(logged) >= endLogEvery {
				logged = now
				c.deps.Logger.Warn("IPFIX session ended: what came is no IPFIX", "exporter", c.access.Load().name(b.From), "reason", b.Why)
			}
		})
	}
	c.workers = append(c.workers, w)
	return nil
}

func (c *Collector) admitsSession(from netip.Addr) bool {
	if c.access.Load().admits(from) {
		return true
	}
	c.refused.add(from, c.deps.Now().UnixMilli())
	return false
}

// yield waits while the log is so far behind that flushes may soon be dropped:
// exporters over TCP can wait, those over UDP cannot.
func (c *Collector) yield(ctx context.Context) {
	for {
		if _, contacts := c.queue.depth(); contacts <= c.cfg.Queue/2 {
			return
		}
		select {
		case <-time.After(yieldEvery):
		case <-ctx.Done():
			return
		}
	}
}

// messages takes a batch of messages of one session.
func (w *worker) messages(b session.Batch) {
	nowMS := w.now().UnixMilli()
	w.decoder.SetSession(b.Session)
	for _, m := range b.Messages {
		w.decode(b.From, m, nowMS)
		if len(w.records) >= takeEvery {
			w.take(nowMS)
		}
	}
	w.take(nowMS)
	w.mu.Lock()
	w.counts.received += uint64(len(b.Messages))
	w.mu.Unlock()
}

// ListeningSessions returns the addresses on which sessions are accepted.
func (c *Collector) ListeningSessions() []netip.AddrPort {
	if s := c.sessions.Load(); s != nil {
		return s.Addresses()
	}
	return nil
}

func (c *Collector) reloadSessions(s Sessions) error {
	if server := c.sessions.Load(); server != nil {
		return server.Reload(s.files())
	}
	return nil
}

func (c *Collector) closeSessions() error {
	if server := c.sessions.Load(); server != nil {
		return server.Close()
	}
	return nil
}
