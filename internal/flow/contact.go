package flow

import "encoding/base32"

// Shards is the number of shards of the host graph. It is fixed when a ring
// is created: a contact's two halves carry the shard of each end.
const Shards = 256

// Shard names one of the [Shards] parts of the host graph.
type Shard uint8

// Pseudonym is the keyed reversible permutation of one [Addr]: pseudonymised,
// not anonymous. Detectors know hosts by nothing else.
type Pseudonym [16]byte

// Generation numbers the keys of one key file; a pseudonym can be revealed
// with the key of its generation only.
type Generation uint8

// Host is a vertex of the host graph: a pseudonym and the shard that a second,
// slowly changing key assigned to it.
type Host struct {
	Pseudonym Pseudonym
	Shard     Shard
}

// Compare orders hosts canonically: by shard, then by pseudonym. Every row and
// every reduction of an epoch follows this order.
func (h Host) Compare(o Host) int {
	if h.Shard != o.Shard {
		return int(h.Shard) - int(o.Shard)
	}
	for i := range h.Pseudonym {
		if h.Pseudonym[i] != o.Pseudonym[i] {
			return int(h.Pseudonym[i]) - int(o.Pseudonym[i])
		}
	}
	return 0
}

// Slice numbers a span of time: Unix milliseconds divided by the slice length.
// A contact belongs to the slice of its last flow's end.
type Slice uint32

// SliceOf returns the slice of a time in Unix milliseconds; lengthMS > 0.
// Times before 1970 belong to slice 0.
func SliceOf(unixMS, lengthMS int64) Slice {
	if unixMS < 0 {
		return 0
	}
	return Slice(unixMS / lengthMS)
}

// Bits of [Contact.Bits].
const (
	BitOut      = 1 << iota // local sent to remote: the link local → remote
	BitIn                   // remote sent to local: the link remote → local
	BitAnswered             // evidence that the called side answered
)

// Counters are what one direction of a contact carried in one flush window.
type Counters struct {
	Flows   uint32
	Packets uint64
	Bytes   uint64
}

// Contact is what two hosts did in one flush window and one slice. It is told
// to the shards of both ends, each time with that shard's host as Local.
type Contact struct {
	Local, Remote   Host
	Slice           Slice
	FirstMS, LastMS int64 // Unix milliseconds
	Out, In         Counters
	Port            uint16 // the service's port: the lower-numbered of the first flow's two
	Proto           uint8
	Flags           uint8 // TCP flags of all flows, ORed
	Bits            uint8
}

// Flip returns the contact as its other end sees it.
func (c Contact) Flip() Contact {
	c.Local, c.Remote = c.Remote, c.Local
	c.Out, c.In = c.In, c.Out
	c.Bits = FlipBits(c.Bits)
	return c
}

// FlipBits returns the bits of a contact as the other end sees them.
func FlipBits(bits uint8) uint8 {
	return bits&^(BitOut|BitIn) | bits&BitOut<<1 | bits&BitIn>>1
}

// pseudonymText is the alphabet of printed pseudonyms: lower-case base32
// without padding, so that a double click selects one and nobody takes it for
// an IP address.
var pseudonymText = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)
