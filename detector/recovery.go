package detector

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/flowhound/flowhound/detector/graph"
	"github.com/flowhound/flowhound/detector/snapshot"
	"github.com/flowhound/flowhound/federation/wire"
	"github.com/flowhound/flowhound/internal/flow"
)

const (
	snapshotSuffix = ".snapshot"
	asideSuffix    = ".unusable"
	keptSnapshots  = 2
)

// snapshotStats are read by the metrics.
type snapshotStats struct {
	last     atomic.Uint32 // slice of the newest snapshot
	written  atomic.Uint64
	failed   atomic.Uint64
	bytes    atomic.Int64
	duration atomic.Int64 // nanoseconds
	loaded   atomic.Int64 // nanoseconds that loading took at the start
}

// gaps remembers how long the window lacks what the log no longer holds.
type gaps struct {
	seen    uint64     // ingestStats.Gaps at the last Close
	whole   flow.Slice // the window is complete again at this slice
	unknown bool       // …but the first Close since the cut is still to come
}

// noteGaps extends the time in which the window is incomplete when batches
// were lost since the last Close.
func (d *Detector) noteGaps(s flow.Slice) {
	if lost := d.ingest.stats.Gaps; lost > d.gaps.seen || d.gaps.unknown {
		d.gaps.whole = s + d.cfg.windowSlices()
		d.gaps.seen, d.gaps.unknown = lost, false
	}
}

func (d *Detector) windowIncomplete() bool {
	return d.gaps.unknown || d.ingest.closed < d.gaps.whole
}

func (d *Detector) snapshotDir() string { return filepath.Join(d.deps.Dir, "snapshots") }

// recover sets the detector to the newest snapshot, or to nothing, and finds
// out what the log holds.
func (d *Detector) recover(ctx context.Context) error {
	if err := d.checkLayout(); err != nil {
		return err
	}
	first, last, err := d.deps.Log.ControlBounds(ctx)
	if err != nil {
		return fmt.Errorf("control stream: %w", err)
	}
	ends := logEnds{control: last}
	for i := range ends.streams {
		if _, ends.streams[i], err = d.deps.Log.BatchBounds(ctx, i); err != nil {
			return fmt.Errorf("stream %s: %w", streamName(i), err)
		}
	}
	d.start.control = last
	if err := d.readLastClose(ctx); err != nil {
		return err
	}
	if err := d.loadNewest(ends); err != nil {
		return err
	}
	if first > d.ingest.control+1 {
		d.gaps.unknown = true
		d.deps.Logger.Warn("log does not reach back to the state, the window is incomplete", "position", d.ingest.control, "oldest", first)
	}
	return nil
}

func (d *Detector) readLastClose(ctx context.Context) error {
	seq, payload, err := d.deps.Log.LastControl(ctx, wire.CloseKey)
	if err != nil {
		return fmt.Errorf("last close: %w", err)
	}
	if seq == 0 {
		return nil
	}
	c, err := wire.ReadControl(payload)
	if err != nil {
		return fmt.Errorf("last close: %w", err)
	}
	closing, ok := c.(wire.Close)
	if !ok {
		return fmt.Errorf("last close: is a %T", c)
	}
	d.start.close, d.start.slice, d.start.without = seq, closing.Slice, closing.Without
	return nil
}

// loadNewest loads the newest snapshot that can be used. One that cannot is an
// error, unless Config.Rebuild has it set aside.
func (d *Detector) loadNewest(ends logEnds) error {
	names, err := d.snapshotNames()
	if err != nil {
		return err
	}
	for _, path := range slices.Backward(names) {
		begin := time.Now()
		err := d.load(path, ends)
		if err == nil {
			d.snapshots.loaded.Store(int64(time.Since(begin)))
			d.deps.Logger.Info("snapshot loaded", "file", path, "slice", d.ingest.closed, "took", time.Since(begin))
			return nil
		}
		if !d.cfg.Rebuild {
			return fmt.Errorf("snapshot %s: %w; start with --rebuild to set it aside and replay the log", path, err)
		}
		d.deps.Logger.Warn("snapshot set aside", "file", path, "err", err)
		if err := os.Rename(path, path+asideSuffix); err != nil {
			return err
		}
	}
	d.ingest = newIngest(d.cfg.windowSlices(), effects{d})
	d.graph = graph.New(d.graphConfig())
	d.chain.closed = 0
	d.snapshots.last.Store(0)
	return nil
}

// graphConfig returns the configuration of the graph, with a key that nobody
// outside can guess.
func (d *Detector) graphConfig() graph.Config {
	c := graph.DefaultConfig()
	c.MaxLinks, c.MaxOutDegree = d.cfg.MaxLinks, d.cfg.MaxOutDegree
	c.Seed = rand.Uint64()
	return c
}

// snapshotNames lists the snapshots, oldest first, and removes unfinished
// ones.
func (d *Detector) snapshotNames() ([]string, error) {
	entries, err := os.ReadDir(d.snapshotDir())
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		path := filepath.Join(d.snapshotDir(), e.Name())
		switch {
		case strings.HasSuffix(e.Name(), tempSuffix):
			if err := os.Remove(path); err != nil {
				return nil, err
			}
		case strings.HasSuffix(e.Name(), snapshotSuffix):
			names = append(names, path)
		}
	}
	slices.Sort(names) // the numbers have leading zeros
	return names, nil
}

// load sets the detector to a snapshot.
func (d *Detector) load(path string, ends logEnds) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	header, g, err := snapshot.Read(f, d.graphConfig())
	if err != nil {
		return err
	}
	m := newIngest(d.cfg.windowSlices(), effects{d})
	whole, err := readHeader(header, d.cfg, m)
	if err != nil {
		return err
	}
	if err := ends.reach(m); err != nil {
		return err
	}
	d.ingest, d.graph, d.gaps.whole, d.chain.closed = m, g, whole, m.closed
	d.snapshots.last.Store(uint32(m.closed))
	return nil
}

// logEnds are the newest sequence numbers of the log's streams.
type logEnds struct {
	control uint64
	streams [Streams]uint64
}

// reach returns an error unless the log has all that the state was made from.
func (e logEnds) reach(m *ingest) error {
	if m.control > e.control {
		return fmt.Errorf("its position %d is after the end of the log, %d", m.control, e.control)
	}
	for i, at := range m.streams {
		if at > e.streams[i] {
			return fmt.Errorf("its position %d in stream %s is after the end of the log, %d", at, streamName(i), e.streams[i])
		}
	}
	return nil
}

// headerVersion is the first byte of a snapshot's header.
const headerVersion = 1

// appendHeader appends what a snapshot holds beside the graph.
func (d *Detector) appendHeader(b []byte) []byte {
	b = append(b, headerVersion)
	b = binary.AppendUvarint(b, uint64(d.cfg.Slice.Milliseconds()))
	b = binary.AppendUvarint(b, uint64(d.gaps.whole))
	return d.ingest.save(b)
}

func readHeader(b []byte, cfg Config, m *ingest) (whole flow.Slice, err error) {
	if len(b) == 0 || b[0] != headerVersion {
		return 0, fmt.Errorf("header: unknown version, want %d", headerVersion)
	}
	r := stateReader{b: b[1:]}
	sliceMS := r.uvarint()
	whole = r.slice()
	switch {
	case r.err != nil:
		return 0, fmt.Errorf("header: %w", r.err)
	case sliceMS != uint64(cfg.Slice.Milliseconds()):
		return 0, fmt.Errorf("header: slices of %d ms, want %d ms", sliceMS, cfg.Slice.Milliseconds())
	}
	return whole, m.restore(bytes.Clone(r.b))
}

// snapshotIfDue saves the state at a Close that is the first of its run. A
// failure is logged and counted: the log still holds everything.
func (d *Detector) snapshotIfDue(s flow.Slice) {
	if last := d.snapshots.last.Load(); last > 0 && uint32(s)-last < uint32(d.cfg.SnapshotSlices) {
		return
	}
	begin := time.Now()
	path := filepath.Join(d.snapshotDir(), fmt.Sprintf("%020d%s", d.ingest.closeSeq, snapshotSuffix))
	err := writeFile(path, func(w io.Writer) error {
		return snapshot.Write(w, d.appendHeader(nil), d.graph)
	})
	if err != nil {
		d.snapshots.failed.Add(1)
		d.deps.Logger.Error("snapshot failed", "err", err, "slice", s)
		return
	}
	d.snapshots.last.Store(uint32(s))
	d.snapshots.written.Add(1)
	d.snapshots.duration.Store(int64(time.Since(begin)))
	if info, err := os.Stat(path); err == nil {
		d.snapshots.bytes.Store(info.Size())
	}
	d.removeOld()
}

// removeOld keeps the newest snapshots and removes the others.
func (d *Detector) removeOld() {
	names, err := d.snapshotNames()
	if err != nil {
		d.deps.Logger.Warn("old snapshots stay", "err", err)
		return
	}
	for _, path := range names[:max(0, len(names)-keptSnapshots)] {
		if err := os.Remove(path); err != nil {
			d.deps.Logger.Warn("old snapshot stays", "err", err)
		}
	}
}

func streamName(stream int) string {
	if stream == fromControl {
		return "control"
	}
	return "contacts" + strconv.Itoa(stream)
}
