package collector

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/netip"
	"os"

	"github.com/flowhound/flowhound/collector/contact"
	"github.com/flowhound/flowhound/collector/decode"
	"github.com/flowhound/flowhound/collector/listen"
	"github.com/flowhound/flowhound/collector/pseudonym"
	"github.com/flowhound/flowhound/internal/flow"
)

// Listen opens the sockets of a collector, or takes those over that the service
// manager opened for this process, which the caller may close then. Packets
// wait in them from now on, so that a process that listens first of all loses
// none while its log and its collector start.
func Listen(cfg Config, files []*os.File) (Input, error) {
	addresses := cfg.Listen
	if len(files) > 0 {
		addresses = nil // the service manager says where to listen
	}
	s, err := listen.Open(listen.Config{Addresses: addresses, Workers: cfg.Workers,
		ReceiveBuffer: cfg.ReceiveBuffer, Files: files})
	if err != nil {
		return nil, err
	}
	return sockets{s}, nil
}

// sockets makes listen's sockets an Input.
type sockets struct{ *listen.Sockets }

func (s sockets) Source(i int) Source { return s.Worker(i) }

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
	c.templates = c.openTemplates(keys.Keys)
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
		var err error
		if c.input, err = Listen(c.cfg, nil); err != nil {
			return err
		}
	}
	a := c.access.Load()
	if a.open {
		c.deps.Logger.Warn("no exporters configured: packets from everybody are accepted, and anybody can forge them")
	}
	for i := range c.input.Workers() {
		decoding := c.decoding(a)
		decoding.Saved, decoding.SavedName = c.templates.recall()
		w := c.newWorker(decoding)
		w.source = c.input.Source(i)
		c.workers = append(c.workers, w)
	}
	if err := c.openSessions(a); err != nil {
		return err
	}
	return c.openKafka(a)
}

// decoding returns the settings of all decoders.
func (c *Collector) decoding(a *access) decode.Config {
	return decode.Config{Sampling: a.sampling, VXLAN: c.cfg.VXLAN, V5RawSampling: c.cfg.V5RawSampling}
}

func (c *Collector) newWorker(decoding decode.Config) *worker {
	tables := contact.Config{IPv4: c.cfg.Contacts, IPv6: c.cfg.ContactsIPv6, Seed: [2]uint64{rand.Uint64(), rand.Uint64()}}
	ignore := make([]netip.Prefix, 0, len(c.cfg.Ignore))
	for _, p := range c.cfg.Ignore {
		ignore = append(ignore, p.Prefix)
	}
	w := &worker{
		decoder: decode.New(decoding), firstCome: c.firstCome,
		access: &c.access, now: c.deps.Now, refused: &c.refused, early: c.early,
		table: contact.New(tables), spare: contact.New(tables),
		sift: sift{sliceMS: c.cfg.Slice.Milliseconds(), keepLoopback: c.cfg.KeepLoopback,
			ignore: ignore, cut: c.permuter.Clone().Cut,
			countAll: c.cfg.Dedup.Mode == dedupOff},
		budget: budget{access: &c.access, general: c.cfg.NewContacts, everyMS: c.cfg.Flush.Milliseconds()},
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
	c.keeper.Go(func() { c.templates.run(c.stopFlusher, c.workers) })
	c.flusher.Go(func() { c.flushLoop(c.stopFlusher) })
	go func() {
		defer close(c.written)
		err := c.publisher.run(c.publishing, c.queue)
		if err != nil {
			c.fail(err)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.writeErr = err
	}()
	c.mu.Lock()
	c.running = true
	c.mu.Unlock()
}
