// Package feed is the log between collectors and detectors: NATS JetStream,
// embedded in the process or on servers elsewhere (DESIGN decision 1).
//
// Batches of contacts are in eight streams CONTACTS_0 … CONTACTS_7, shard s
// under subject contacts.<s> in stream s mod 8. Control messages are in stream
// CONTROL under subjects control.<key>. A stream's messages are numbered from
// 1 without holes; only its oldest end is ever dropped, by age or size.
//
// What the package owes its users: a message that was acknowledged is there,
// once, in its place, for every reader, whatever process was killed. Readers
// and writers are plain pull consumers and publishes: JetStream's ordered
// consumers and key-value watches are avoided on purpose, they stalled for
// good in fail-over tests.
package feed

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/flowhound/flowhound/internal/flow"
)

// Streams is the number of contact streams; shard s is in stream s mod Streams.
const Streams = 8

const (
	controlStream = "CONTROL"
	controlPrefix = "control."
	contactPrefix = "contacts."

	// duplicates is how long a message id is remembered by the server. A
	// resend after that is stored twice, and only the Seq in the batch tells.
	duplicates = 2 * time.Minute
	// maxPayload is the embedded server's message limit.
	maxPayload = 8 << 20
	// callTimeout bounds one request to the server.
	callTimeout = 3 * time.Second
	// closeTimeout is how long Close waits for outstanding acknowledgements.
	closeTimeout = 3 * time.Second
)

// ErrClosed occurs when a log or a reader is used after its Close.
var ErrClosed = errors.New("the log is closed")

// patience is how long a log waits before it acts.
type patience struct {
	// ack is how long a publish may stay unacknowledged before it counts as
	// failed and Sync sends it again.
	ack time.Duration
	// heal is how long writes must have failed before the embedded server is
	// restarted, and again is how long until it may be another time.
	heal, again time.Duration
}

var defaultPatience = patience{ack: 10 * time.Second, heal: 15 * time.Second, again: time.Minute}

// Log is an open log. It is safe for concurrent use.
type Log struct {
	cfg     Config
	logger  *slog.Logger
	metrics *metrics
	server  *embedded // nil when the servers are elsewhere
	conn    *nats.Conn
	js      jetstream.JetStream
	pub     *publisher
	unhook  func() // unregisters the metrics
	trouble atomic.Pointer[trouble]
	times   patience

	life    context.Context // ends with Close
	end     context.CancelFunc
	done    <-chan struct{} // of life
	tasks   sync.WaitGroup  // what runs until life ends
	closing sync.Once
	err     error // of Close
}

// Open starts the embedded server, or connects to the servers at cfg.URL
// (waiting for them until ctx ends), and creates the streams that are missing.
// An error names what is in the way: the directory, the port, or the server.
func Open(ctx context.Context, cfg Config, deps Deps) (*Log, error) {
	return openWith(ctx, cfg, deps, defaultPatience)
}

func openWith(ctx context.Context, cfg Config, deps Deps, times patience) (*Log, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if deps.Logger == nil {
		deps.Logger = slog.Default()
	}
	l := &Log{cfg: cfg, logger: deps.Logger, metrics: newMetrics(), unhook: func() {}, times: times}
	l.life, l.end = context.WithCancel(context.Background())
	l.done = l.life.Done()
	if err := l.open(ctx); err != nil {
		l.release()
		return nil, err
	}
	if deps.Registerer != nil {
		if err := deps.Registerer.Register(collector{l}); err != nil {
			_ = l.Close()
			return nil, fmt.Errorf("log: metrics: %w", err)
		}
		l.unhook = func() { deps.Registerer.Unregister(collector{l}) }
	}
	return l, nil
}

func (l *Log) open(ctx context.Context) (err error) {
	if l.cfg.URL == "" {
		if l.server, err = startServer(ctx, l.cfg, l.logger); err != nil {
			return err
		}
	}
	if l.conn, err = l.connect(ctx); err != nil {
		return err
	}
	l.js, err = jetstream.New(l.conn,
		jetstream.WithPublishAsyncMaxPending(maxFlying+1),
		jetstream.WithPublishAsyncTimeout(l.times.ack),
		jetstream.WithDefaultTimeout(callTimeout))
	if err != nil {
		return fmt.Errorf("log: %w", err)
	}
	l.pub = newPublisher(l)
	if l.server != nil {
		l.tasks.Go(l.heal)
	}
	return l.ensureStreams(ctx)
}

// connect returns a connection that from then on reconnects by itself. While
// it is down nothing is buffered: publishes fail at once and Sync resends.
func (l *Log) connect(ctx context.Context) (*nats.Conn, error) {
	options := []nats.Option{
		nats.Name("flowhound"),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(200 * time.Millisecond),
		nats.ReconnectBufSize(-1),
		nats.PingInterval(2 * time.Second),
		nats.MaxPingsOutstanding(2),
		// The default of a minute froze publishers beside a stopped server.
		nats.FlusherTimeout(3 * time.Second),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				l.logger.Warn("log connection lost", "err", scrub(err.Error()))
			}
		}),
		nats.ReconnectHandler(func(*nats.Conn) { l.logger.Info("log connection is back") }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			l.logger.Debug("log connection", "err", scrub(err.Error()))
		}),
	}
	if l.server != nil {
		conn, err := nats.Connect("", append(options, nats.InProcessServer(l.server))...)
		if err != nil {
			return nil, fmt.Errorf("log: connect to the embedded server: %w", err)
		}
		return conn, nil
	}
	warn := time.Now().Add(2 * time.Second)
	for {
		conn, err := nats.Connect(l.cfg.URL, options...)
		if err == nil {
			return conn, nil
		}
		if now := time.Now(); now.After(warn) {
			l.logger.Warn("the log does not answer, still trying", "url", redact(l.cfg.URL), "err", scrub(err.Error()))
			warn = now.Add(30 * time.Second)
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("log %s: %s", redact(l.cfg.URL), scrub(err.Error()))
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// Addr returns the host:port on which the embedded server accepts clients, ""
// if it does not.
func (l *Log) Addr() string {
	if l.server == nil || l.cfg.Listen == "" {
		return ""
	}
	return l.server.current().Addr().String()
}

// MaxPayload returns the size in bytes of the largest message that the log
// takes.
func (l *Log) MaxPayload() int {
	return int(min(l.conn.MaxPayload()-headroom, maxPayload-headroom))
}

// headroom is what a message's headers may take of the server's limit.
const headroom = 512

// Close waits a moment for outstanding acknowledgements, then shuts the
// connection and the embedded server down. What was acknowledged is on disk.
// The error tells how many messages were not acknowledged. It may be called
// twice; open readers return ErrClosed.
func (l *Log) Close() error {
	l.closing.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
		defer cancel()
		l.err = l.Sync(ctx)
		l.unhook()
		l.release()
	})
	return l.err
}

func (l *Log) release() {
	l.end()
	l.tasks.Wait()
	if l.conn != nil {
		l.conn.Close()
	}
	if l.server != nil {
		l.server.stop()
	}
}

func contactSubject(s flow.Shard) string { return contactPrefix + strconv.Itoa(int(s)) }

func contactStream(i int) string { return "CONTACTS_" + strconv.Itoa(i) }

// streamNames lists all streams of the log.
func streamNames() []string {
	names := []string{controlStream}
	for i := range Streams {
		names = append(names, contactStream(i))
	}
	return names
}
