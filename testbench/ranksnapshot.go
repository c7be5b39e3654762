package testbench

import (
	"context"
	"fmt"
	"io"
	"os"
	"runtime"
	"time"

	"github.com/flowhound/flowhound/detector"
	"github.com/flowhound/flowhound/detector/graph"
	"github.com/flowhound/flowhound/detector/snapshot"
)

// The paper's operator has so many flows in 23 hours, of paperLinks links. Each
// is at most a contact.
const (
	paperFlows  = 720_000_000
	paperSlices = 23 * 12
)

// snapshots measures writing to a file, reading from it, and entering the
// contacts of one slice into what was read. The graph is let go in between: a
// detector that restores has no other.
func (m *rankRun) snapshots(context.Context) error {
	file, err := os.CreateTemp(m.cfg.Dir, "flowhound-*.snapshot")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name())
	defer file.Close()
	write := m.median(func() time.Duration {
		return timed(func() {
			if _, err = file.Seek(0, io.SeekStart); err == nil {
				err = snapshot.Write(file, nil, m.graph)
			}
		})
	})
	if err != nil {
		return err
	}
	size, err := file.Seek(0, io.SeekCurrent)
	if err != nil {
		return err
	}
	links := m.graph.Stats().Links
	m.view, m.before, m.ranks, m.graph, m.judged = nil, nil, nil, nil, detector.Judgement{}
	runtime.GC()
	read := m.median(func() time.Duration {
		m.graph = nil
		return timed(func() {
			if _, err = file.Seek(0, io.SeekStart); err == nil {
				_, m.graph, err = snapshot.Read(file, graph.DefaultConfig())
			}
		})
	})
	if err != nil {
		return err
	}
	if got := m.graph.Stats().Links; got != links {
		return fmt.Errorf("restored %d links of %d", got, links)
	}
	m.result.SnapshotBytes = size
	m.result.SnapshotMBPerS, m.result.RestoreMBPerS = float64(size)/1e6/write, float64(size)/1e6/read
	_, replay := m.usual(links * paperFlows / paperLinks / paperSlices)
	m.result.RestoreReplaySeconds = read + replay.Seconds()
	return nil
}
