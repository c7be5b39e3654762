// Package collector receives export packets from routers and writes what they
// tell about the host graph into a log: it decodes flow records, collects them
// into contacts, replaces every address by a pseudonym and publishes the two
// halves of each contact to the shards of its ends. No plain address leaves
// this package.
package collector

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/flowhound/flowhound/collector/kafka"
	"github.com/flowhound/flowhound/collector/listen"
	"github.com/flowhound/flowhound/collector/pseudonym"
	"github.com/flowhound/flowhound/collector/session"
	"github.com/flowhound/flowhound/internal/flow"
)

// Input is where datagrams come from.
type Input interface {
	// Workers returns the number of sources, at least 1.
	Workers() int
	// Source returns source i, 0 ≤ i < Workers.
	Source(i int) Source
	// Stats returns the counts of every socket.
	Stats() []listen.SocketStats
	// Close releases the input after every Receive has returned.
	Close() error
}

// Deps are what a collector needs from its process.
type Deps struct {
	Log        Log
	Registerer prometheus.Registerer
	Logger     *slog.Logger
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// Input is what Listen opened before, or what replaces sockets in tests and
	// replays; the collector closes it. nil means that Start listens.
	Input Input
}

// Collector is one collector of the ring. Its exported methods are safe for
// concurrent use once Start has returned.
//
//	sources ──► workers: decode, table of contacts      one goroutine each
//	               │ tables, every Config.Flush or when one is full
//	            flusher: pseudonyms                     never waits for the log
//	               │ queue of windows, bounded
//	            publisher: batches, sync, commit        waits for the log
type Collector struct {
	cfg       Config
	deps      Deps
	access    atomic.Pointer[access]
	refused   refusedRing
	early     chan struct{}
	ahead     chan chan<- struct{} // asks the flusher for a flush, by its window's done
	queue     *queue
	publisher *publisher
	firstCome *firstCome // nil in the other modes
	metrics   *metrics
	windows   chan *window // released ones; as many as one being filled while one is written
	failed    chan error

	// Set by Start.
	permuter  *pseudonym.Permuter // the flusher's
	input     Input
	sessions  atomic.Pointer[session.Server] // nil without
	kafka     atomic.Pointer[kafka.Consumer] // nil without
	workers   []*worker
	templates *templateKeeper
	started   time.Time
	clock     steady // the flusher's
	alarmedMS int64  // the flusher's: time of the last alarm

	receiving, publishing context.Context
	stopReceiving         context.CancelFunc
	stopPublishing        context.CancelFunc
	receivers             sync.WaitGroup
	flusher, keeper       sync.WaitGroup
	written               chan struct{} // closed when the publisher has ended
	stopFlusher           chan struct{}
	stopOnce              sync.Once
	stopErr               error

	mu      sync.Mutex // guards all below
	ended   flow.Slice // what the last window that was queued says
	flushed flushCounts
	rates   map[netip.Addr]rateSample
	ratesMS int64
	seeds   int
	naming  *pseudonym.Permuter // for listings
	running bool

	writeErr error // why the publisher ended, nil if it had written everything
}

// New returns a collector that does nothing until Start, but whose metrics are
// registered.
func New(cfg Config, deps Deps) (*Collector, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("collector: %w", err)
	}
	if deps.Now == nil {
		deps.Now = time.Now
	}
	c := &Collector{
		cfg: cfg, deps: deps,
		early:       make(chan struct{}, 1),
		ahead:       make(chan chan<- struct{}),
		queue:       newQueue(cfg.Queue),
		windows:     make(chan *window, 2),
		stopFlusher: make(chan struct{}),
		written:     make(chan struct{}),
		failed:      make(chan error, 1),
	}
	a, err := newAccess(cfg.Exporters)
	if err != nil {
		return nil, fmt.Errorf("collector: %w", err)
	}
	c.access.Store(a)
	c.metrics = newMetrics(c)
	c.publisher = &publisher{log: deps.Log, logger: deps.Logger, took: c.metrics.took, release: c.release, committed: c.committed}
	for _, m := range []prometheus.Collector{c.metrics, c.metrics.publish, newSessionMetrics(c), newKafkaMetrics(c)} {
		if err := deps.Registerer.Register(m); err != nil {
			return nil, fmt.Errorf("collector: register metrics: %w", err)
		}
	}
	c.publisher.far = newFarFilter(cfg.FarFilter)
	if cfg.Dedup.Mode == dedupFirstCome {
		c.firstCome = newFirstCome(cfg.Dedup.Flows, cfg.Dedup.Timeout, rand.Uint64(), rand.Uint64())
	}
	return c, nil
}

func orEnded(err error) error {
	if err == nil {
		return errors.New("ended although nobody asked it to")
	}
	return err
}

func (c *Collector) fail(err error) {
	select {
	case c.failed <- err:
	default:
	}
}

// Failed yields the error that ended the collector on its own, once.
func (c *Collector) Failed() <-chan error { return c.failed }

// Reload takes over exporters, seeds and the certificates of sessions from
// cfg; everything else needs a restart. After an error the old exporters and
// seeds stay in force.
func (c *Collector) Reload(ctx context.Context, cfg Config) error {
	if err := cfg.Validate(); err != nil {
		return fmt.Errorf("collector: %w", err)
	}
	a, err := newAccess(cfg.Exporters)
	if err != nil {
		return fmt.Errorf("collector: %w", err)
	}
	var seeds []netip.Addr
	if cfg.Seeds != "" {
		if seeds, err = readSeeds(cfg.Seeds); err != nil {
			return err
		}
	}
	if err := c.reloadSessions(cfg.Sessions); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, attemptTime)
	defer cancel()
	if err := c.setSeeds(ctx, seeds); err != nil {
		return err
	}
	c.access.Store(a)
	for _, w := range c.workers {
		w.decoder.SetSampling(a.sampling)
	}
	return nil
}

// setSeeds writes the seeds into the log.
func (c *Collector) setSeeds(ctx context.Context, addrs []netip.Addr) error {
	p := c.permuter.Clone()
	m := seedsOf(c.cfg.Name, addrs, p.Host, p.Generation())
	if err := tellSeeds(ctx, c.deps.Log, m); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seeds = len(m.Hosts)
	return nil
}

func (c *Collector) setNaming(p *pseudonym.Permuter) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.naming = p
}
