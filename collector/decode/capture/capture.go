// Package capture decodes export datagrams that files hold: pcap and pcapng,
// and raw export messages one behind the other.
//
// Raw files do not say who sent them. Files of one directory are taken for
// one exporter's; where a name holds one of the marks "_opttpl", "_tpl",
// "_data" or "_dpi", as collections of captures use them, only the files with
// the same directory and the same name in front of the mark are.
package capture

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/flowhound/flowhound/collector/decode"
	"github.com/flowhound/flowhound/internal/flow"
)

// Count is what one file held. Its JSON form is one line of
// "flowhound decode --count --output json".
type Count struct {
	File             string            `json:"file"`
	Packets          uint64            `json:"packets"` // export datagrams
	Records          uint64            `json:"records"` // data records and flow samples, with or without addresses
	Options          uint64            `json:"options"`
	Templates        uint64            `json:"templates"`
	OptionsTemplates uint64            `json:"options_templates"`
	FlowSamples      uint64            `json:"flow_samples"`
	CounterSamples   uint64            `json:"counter_samples"`
	OtherSamples     uint64            `json:"other_samples"`
	Errors           map[string]uint64 `json:"errors"` // what could not be used, by reason
}

// Emit receives the records of one datagram, and of sets that had waited for
// its templates. records belong to it only during the call.
type Emit func(exporter netip.Addr, records []flow.Record) error

// run is one call of Decode.
type run struct {
	emit   Emit
	counts []Count
	// groups has a decoder for each exporter that raw files are taken for,
	// so that nobody's templates are another's, and one for all captures.
	groups  map[string]*decode.Decoder
	file    int   // that is read now
	stopped error // of emit
	records []flow.Record
}

// FileError is the reason in [Count.Errors] of a file that could not be read
// to its end. What it held before counts.
const FileError = "file_error"

// Decode decodes files in order and calls emit, which may be nil, for the
// records of each datagram. It returns one Count per file, in order. A data
// set that waited for a template of a later file counts for its own file. A
// file that cannot be read, or not to its end, does not keep the others from
// being read; the error joins those of all files. An error of emit ends the
// reading.
func Decode(files []string, emit Emit) ([]Count, error) {
	r := newRun(files, emit)
	var errs []error
	for i, file := range files {
		r.file = i
		b, err := os.ReadFile(file)
		if err == nil {
			err = r.read(file, b)
		}
		if r.stopped != nil {
			return r.counts, r.stopped
		}
		if err != nil {
			r.counts[i].Errors[FileError]++
			errs = append(errs, err)
		}
	}
	r.countWaiting()
	return r.counts, errors.Join(errs...)
}

// DecodeBytes does what Decode does for one file whose contents are at hand.
func DecodeBytes(name string, b []byte, emit Emit) (Count, error) {
	r := newRun([]string{name}, emit)
	err := r.read(name, b)
	r.countWaiting()
	return r.counts[0], err
}

func newRun(files []string, emit Emit) *run {
	r := &run{emit: emit, groups: make(map[string]*decode.Decoder), counts: make([]Count, len(files))}
	for i, file := range files {
		r.counts[i] = Count{File: file, Errors: make(map[string]uint64)}
	}
	return r
}

func (r *run) read(file string, b []byte) error {
	switch {
	case isPcap(b):
		return r.pcap(file, b)
	case isPcapNG(b):
		return r.pcapNG(file, b)
	case len(b) > 2 && b[0] == 0x1f && b[1] == 0x8b:
		return fileError(file, 0, "is compressed with gzip: decompress it first")
	}
	g := r.group(scopeOf(file))
	for len(b) > 0 {
		n := messageLength(b)
		if err := r.datagram(g, netip.IPv4Unspecified(), b[:n], 0); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// group returns the decoder of a scope. Nothing expires: the times of a file
// do not matter here, and its sets may wait for any later file.
func (r *run) group(scope string) *decode.Decoder {
	g, ok := r.groups[scope]
	if !ok {
		g = decode.New(decode.Config{
			TrustTemplates: true,
			VXLAN:          true,
			HoldMS:         1 << 62,
			HoldBytes:      256 << 20,
			OnHeld: func(origin int, before, after *decode.Stats) {
				r.counts[origin].add(before, after, 1)
				r.counts[r.file].add(before, after, -1)
			},
		})
		r.groups[scope] = g
	}
	return g
}

// datagram decodes one datagram of the current file.
func (r *run) datagram(g *decode.Decoder, exporter netip.Addr, b []byte, receivedMS int64) error {
	before := g.Stats()
	g.SetOrigin(r.file)
	r.records = g.Decode(r.records[:0], exporter, b, receivedMS)
	after := g.Stats()
	r.counts[r.file].Packets++
	r.counts[r.file].add(&before, &after, 1)
	if r.emit == nil || len(r.records) == 0 {
		return nil
	}
	r.stopped = r.emit(exporter, r.records)
	return r.stopped
}

// add counts what a decoder did between two moments, or takes it back.
func (c *Count) add(before, after *decode.Stats, sign int) {
	plus := func(n *uint64, a, b uint64) { *n += uint64(sign) * (b - a) }
	plus(&c.Records, before.DataRecords+before.FlowSamples, after.DataRecords+after.FlowSamples)
	plus(&c.Options, before.Options, after.Options)
	plus(&c.Templates, before.Templates, after.Templates)
	plus(&c.OptionsTemplates, before.OptionsTemplates, after.OptionsTemplates)
	plus(&c.FlowSamples, before.FlowSamples, after.FlowSamples)
	plus(&c.CounterSamples, before.CounterSamples, after.CounterSamples)
	plus(&c.OtherSamples, before.OtherSamples, after.OtherSamples)
	for reason := range decode.Reasons {
		if n := after.Drops[reason] - before.Drops[reason]; n != 0 {
			name := reason.String()
			c.Errors[name] += uint64(sign) * n
			if c.Errors[name] == 0 {
				delete(c.Errors, name)
			}
		}
	}
}

// countWaiting counts the sets whose template never came.
func (r *run) countWaiting() {
	for _, g := range r.groups {
		g.Waiting(func(origin int) {
			r.counts[origin].Errors[decode.NoTemplate.String()]++
		})
	}
}

// scopeOf returns what the raw files of one exporter have in common.
func scopeOf(file string) string {
	dir, name := filepath.Split(file)
	for _, mark := range []string{"_opttpl", "_tpl", "_data", "_dpi"} {
		if i := strings.Index(name, mark); i > 0 {
			return dir + name[:i]
		}
	}
	return dir
}

// fileError says where in a file reading it stopped.
func fileError(file string, at int, cause string) error {
	return fmt.Errorf("capture %s: byte %d: %s", file, at, cause)
}
