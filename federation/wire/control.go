package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/flowhound/flowhound/internal/flow"
)

// Append implements Control: the name and then varints in the order of the
// fields; AtMS in zigzag.
func (c Commit) Append(b []byte) []byte {
	start := len(b)
	b = appendName(append(b, version, kindCommit), c.Collector)
	for _, v := range [...]uint64{c.Incarnation, c.Flush, uint64(c.Ended), c.Records, c.Contacts, c.Late} {
		b = binary.AppendUvarint(b, v)
	}
	b = binary.AppendVarint(b, c.AtMS)
	for _, seq := range c.Last {
		b = binary.AppendUvarint(b, seq)
	}
	return appendChecksum(b, start)
}

// Append implements Control: slice, number of names, names.
func (c Close) Append(b []byte) []byte {
	if len(c.Without) > MaxWithout {
		panic(fmt.Sprintf("BUG: close without %d collectors", len(c.Without)))
	}
	start := len(b)
	b = binary.AppendUvarint(append(b, version, kindClose), uint64(c.Slice))
	b = binary.AppendUvarint(b, uint64(len(c.Without)))
	for _, name := range c.Without {
		b = appendName(b, name)
	}
	return appendChecksum(b, start)
}

const seedBytes = hostBytes + 2

// Append implements Control: source, number of hosts, then per host the
// pseudonym, shard and generation.
func (s Seeds) Append(b []byte) []byte {
	if len(s.Hosts) > MaxSeeds {
		panic(fmt.Sprintf("BUG: %d seeds", len(s.Hosts)))
	}
	start := len(b)
	b = appendName(append(b, version, kindSeeds), s.Source)
	b = binary.AppendUvarint(b, uint64(len(s.Hosts)))
	for _, seed := range s.Hosts {
		b = append(b, seed.Host.Pseudonym[:]...)
		b = append(b, byte(seed.Host.Shard), byte(seed.Generation))
	}
	return appendChecksum(b, start)
}

// ReadControl decodes a control message: the result is a Commit, a Close or a
// Seeds.
func ReadControl(b []byte) (Control, error) {
	kind, body, err := open(b)
	if err != nil {
		return nil, fmt.Errorf("control message: %w", err)
	}
	r := reader{b: body}
	var c Control
	switch kind {
	case kindCommit:
		c = r.commit()
	case kindClose:
		c = r.close()
	case kindSeeds:
		c = r.seeds()
	default:
		return nil, fmt.Errorf("control message: kind %q is unknown", kind)
	}
	if r.err == nil && len(r.b) > 0 {
		r.err = fmt.Errorf("%d bytes too many", len(r.b))
	}
	if r.err != nil {
		return nil, fmt.Errorf("control message of kind %q: %w", kind, r.err)
	}
	return c, nil
}

func (r *reader) slice() flow.Slice {
	v := r.uvarint()
	if v > math.MaxUint32 {
		r.fail(errNumber)
	}
	return flow.Slice(v)
}

func (r *reader) commit() Commit {
	c := Commit{Collector: r.name(), Incarnation: r.uvarint(), Flush: r.uvarint(), Ended: r.slice()}
	c.Records, c.Contacts, c.Late = r.uvarint(), r.uvarint(), r.uvarint()
	at := r.uvarint()
	c.AtMS = int64(at>>1) ^ -int64(at&1)
	for i := range c.Last {
		c.Last[i] = r.uvarint()
	}
	return c
}

func (r *reader) close() Close {
	c := Close{Slice: r.slice()}
	n := r.count(MaxWithout, 2)
	for range n {
		c.Without = append(c.Without, r.name())
		if r.err != nil {
			return Close{}
		}
	}
	return c
}

func (r *reader) seeds() Seeds {
	s := Seeds{Source: r.name()}
	n := r.count(MaxSeeds, seedBytes)
	if n*seedBytes != len(r.b) {
		r.fail(errors.New("the hosts do not fill the message"))
		return Seeds{}
	}
	if n > 0 {
		s.Hosts = make([]Seed, n)
	}
	for i := range s.Hosts {
		h := &s.Hosts[i]
		b := r.bytes(seedBytes)
		h.Host = flow.Host{Pseudonym: flow.Pseudonym(b), Shard: flow.Shard(b[hostBytes])}
		h.Generation = flow.Generation(b[hostBytes+1])
	}
	return s
}
