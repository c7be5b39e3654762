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
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/flowhound/flowhound/collector/contact"
	"github.com/flowhound/flowhound/collector/decode"
	"github.com/flowhound/flowhound/collector/listen"
	"github.com/flowhound/flowhound/collector/pseudonym"
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
	// Files are sockets that the service manager opened, instead of
	// Config.Listen. The caller may close them after Start.
	Files []*os.File
	// Input replaces the sockets altogether, in tests and replays.
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
	queue     *queue
	publisher *publisher
	metrics   *metrics
	windows   sync.Pool // of *window
	failed    chan error

	// Set by Start.
	permuter *pseudonym.Permuter // the flusher's
	input    Input
	workers  []*worker
	started  time.Time
	clock    steady // the flusher's

	receiving, publishing context.Context
	stopReceiving         context.CancelFunc
	stopPublishing        context.CancelFunc
	receivers             sync.WaitGroup
	flusher, writer       sync.WaitGroup
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
		queue:       newQueue(cfg.Queue),
		stopFlusher: make(chan struct{}),
		failed:      make(chan error, 1),
	}
	a, err := newAccess(cfg.Exporters)
	if err != nil {
		return nil, fmt.Errorf("collector: %w", err)
	}
	c.access.Store(a)
	c.metrics = newMetrics(c)
	c.publisher = &publisher{log: deps.Log, logger: deps.Logger, took: c.metrics.took, release: c.release}
	for _, m := range []prometheus.Collector{c.metrics, c.metrics.publish} {
		if err := deps.Registerer.Register(m); err != nil {
			return nil, fmt.Errorf("collector: register metrics: %w", err)
		}
	}
	return c, nil
}

// Start reads the keys (creating them the first time), takes this name's next
// incarnation in the log, opens the sockets and begins to receive. ctx bounds
// the start only.
func (c *Collector) Start(ctx context.Context) error {
	keys, err := c.openKeys()
	if err != nil {
		return err
	}
	defer keys.Wipe()
	if c.permuter, err = keys.Permuter(c.cfg.Keys.generation(keys.Keys)); err != nil {
		return fmt.Errorf("key file %s: %w", c.cfg.Keys.File, err)
	}
	var seeds []netip.Addr
	if c.cfg.Seeds != "" {
		if seeds, err = readSeeds(c.cfg.Seeds); err != nil {
			return err
		}
	}
	if err := c.open(); err != nil {
		return err
	}
	c.started = c.deps.Now()
	nowMS := c.started.UnixMilli()
	c.clock.ahead(nowMS, 0)
	if err := c.publisher.claim(ctx, c.cfg.Name, nowMS); err != nil {
		return err
	}
	c.setNaming(c.permuter.Clone())
	if err := c.setSeeds(ctx, seeds); err != nil {
		return err
	}
	c.resume(nowMS)
	c.run()
	return nil
}

// openKeys reads the key file, or makes it.
func (c *Collector) openKeys() (*pseudonym.KeyFile, error) {
	k := c.cfg.Keys
	if k.File == "" {
		return nil, errors.New("keys.file: want a path")
	}
	f, err := pseudonym.ReadKeyFile(k.File)
	if errors.Is(err, fs.ErrNotExist) {
		if f, err = pseudonym.CreateKeyFile(k.File, k.Realm, k.IPv6Prefix); err == nil {
			c.deps.Logger.Info("permutation key created, back it up and keep it secret", "path", k.File)
		}
	}
	if err != nil {
		return nil, err
	}
	if f.Realm() != k.Realm || f.IPv6Prefix() != k.IPv6Prefix {
		return nil, fmt.Errorf("key file %s: made for realm %q and IPv6 prefix %d, the configuration says %q and %d",
			k.File, f.Realm(), f.IPv6Prefix(), k.Realm, k.IPv6Prefix)
	}
	return f, nil
}

// open acquires the input and makes a worker for each of its sources.
func (c *Collector) open() error {
	c.input = c.deps.Input
	if c.input == nil {
		addresses := c.cfg.Listen
		if len(c.deps.Files) > 0 {
			addresses = nil // the service manager says where to listen
		}
		s, err := listen.Open(listen.Config{Addresses: addresses, Workers: c.cfg.Workers,
			ReceiveBuffer: c.cfg.ReceiveBuffer, Files: c.deps.Files})
		if err != nil {
			return err
		}
		c.input = sockets{s}
	}
	a := c.access.Load()
	if a.open {
		c.deps.Logger.Warn("no exporters configured: packets from everybody are accepted, and anybody can forge them")
	}
	for i := range c.input.Workers() {
		c.workers = append(c.workers, c.newWorker(c.input.Source(i), a))
	}
	return nil
}

func (c *Collector) newWorker(source Source, a *access) *worker {
	tables := contact.Config{IPv4: c.cfg.Contacts, IPv6: c.cfg.ContactsIPv6, Seed: [2]uint64{rand.Uint64(), rand.Uint64()}}
	ignore := make([]netip.Prefix, 0, len(c.cfg.Ignore))
	for _, p := range c.cfg.Ignore {
		ignore = append(ignore, p.Prefix)
	}
	w := &worker{
		source:  source,
		decoder: decode.New(decode.Config{Sampling: a.sampling, VXLAN: c.cfg.VXLAN, V5RawSampling: c.cfg.V5RawSampling}),
		access:  &c.access, now: c.deps.Now, refused: &c.refused, early: c.early,
		table: contact.New(tables), spare: contact.New(tables),
		sift: sift{sliceMS: c.cfg.Slice.Milliseconds(), keepLoopback: c.cfg.KeepLoopback,
			ignore: ignore, cut: c.permuter.Clone().Cut},
	}
	w.swapped.L = &w.mu
	return w
}

// resume goes on from the slices that the last incarnation ended.
func (c *Collector) resume(nowMS int64) {
	commit, _, _ := c.publisher.state()
	c.mu.Lock()
	c.ended = commit.Ended
	c.mu.Unlock()
	for _, w := range c.workers {
		w.mu.Lock()
		w.ended = commit.Ended
		w.mu.Unlock()
	}
	c.deps.Logger.Info("collector started", "name", c.cfg.Name, "incarnation", commit.Incarnation,
		"ended", commit.Ended, "generation", c.permuter.Generation(), "workers", len(c.workers))
	if commit.Ended > flow.SliceOf(nowMS, c.cfg.Slice.Milliseconds()) {
		c.deps.Logger.Warn("the last incarnation's clock was ahead: contacts go into a slice to come until the clock is there",
			"ended", commit.Ended)
	}
}

// run starts the goroutines.
func (c *Collector) run() {
	c.receiving, c.stopReceiving = context.WithCancel(context.Background())
	c.publishing, c.stopPublishing = context.WithCancel(context.Background())
	for i, w := range c.workers {
		c.receivers.Go(func() {
			err := w.run(c.receiving)
			if c.receiving.Err() == nil {
				c.fail(fmt.Errorf("worker %d: receive: %w", i, orEnded(err)))
			}
		})
	}
	c.flusher.Go(func() { c.flushLoop(c.stopFlusher) })
	c.writer.Go(func() {
		err := c.publisher.run(c.publishing, c.queue)
		if err != nil {
			c.fail(err)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.writeErr = err
	})
	c.mu.Lock()
	c.running = true
	c.mu.Unlock()
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

// Stop ends receiving, writes every contact received into the log and commits
// it, until ctx ends. It may be called twice, and after a failed Start.
func (c *Collector) Stop(ctx context.Context) error {
	c.stopOnce.Do(func() { c.stopErr = c.stop(ctx) })
	return c.stopErr
}

func (c *Collector) stop(ctx context.Context) error {
	c.mu.Lock()
	running := c.running
	c.mu.Unlock()
	if !running {
		if c.input != nil {
			return c.input.Close()
		}
		return nil
	}
	c.stopReceiving()
	c.receivers.Wait()
	close(c.stopFlusher)
	c.flusher.Wait()
	release := context.AfterFunc(ctx, c.stopPublishing)
	defer release()
	c.writer.Wait()
	c.stopPublishing()
	err := errors.Join(c.unwritten(), c.input.Close())
	commit, _, _ := c.publisher.state()
	c.deps.Logger.Info("collector stopped", "name", c.cfg.Name, "incarnation", commit.Incarnation,
		"flush", commit.Flush, "ended", commit.Ended, "err", err)
	return err
}

// unwritten returns an error if the publisher ended with something left.
func (c *Collector) unwritten() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.writeErr == nil {
		return nil
	}
	windows, contacts := c.queue.depth()
	return fmt.Errorf("collector: the last flush and %d more with %d contacts are not in the log: %w", windows, contacts, c.writeErr)
}

// Reload takes over exporters and seeds from cfg; everything else needs a
// restart. After an error the old ones stay in force.
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

// sockets makes listen's sockets an Input.
type sockets struct{ *listen.Sockets }

func (s sockets) Source(i int) Source { return s.Worker(i) }
