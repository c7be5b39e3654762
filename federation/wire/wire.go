// Package wire encodes what collectors and detectors write into the log:
// batches of contacts, and the control messages that say which batches count
// (Commit), which slices are over (Close) and which hosts are known bots
// (Seeds). docs/decisions tells why a commit and not a batch is the unit.
//
// Every message starts with a version byte and a kind byte and ends with the
// CRC32C (RFC 3720 §12.1) of all bytes before it. All numbers are
// little-endian. A reader never allocates more than the payload justifies,
// and accepts a message only if every byte of it is accounted for.
package wire

import (
	"fmt"
	"strconv"

	"github.com/flowhound/flowhound/internal/flow"
)

// Bounds of what a message may hold. Readers refuse more, writers panic.
const (
	// MaxContacts is the largest number of contacts in a batch, so that the
	// largest batch stays below the log's message limit of 8 MiB.
	MaxContacts = 1 << 16
	// MaxSeeds is the largest number of hosts in a Seeds message.
	MaxSeeds = 1 << 16
	// MaxWithout is the largest number of collectors in Close.Without.
	MaxWithout = 1 << 12
	// MaxName is the longest name of a collector or seed source, in bytes.
	MaxName = 32
)

// Header says whose contacts a batch holds and which place it has.
type Header struct {
	Collector   string          // a name that CheckName accepts
	Incarnation uint64          // one higher at each start of the collector
	Shard       flow.Shard      // the shard of every contact's Local
	Seq         uint64          // 1, 2, 3, … per incarnation and shard
	Generation  flow.Generation // the key generation of every pseudonym
}

// ID returns the message id under which the log stores this batch once,
// "<collector>.<incarnation>.<shard>.<seq>".
func (h Header) ID() string {
	b := make([]byte, 0, len(h.Collector)+48)
	b = append(append(b, h.Collector...), '.')
	b = append(strconv.AppendUint(b, h.Incarnation, 10), '.')
	b = append(strconv.AppendUint(b, uint64(h.Shard), 10), '.')
	return string(strconv.AppendUint(b, h.Seq, 10))
}

// Control is one message of the control stream: a Commit, a Close or a Seeds,
// by value.
type Control interface {
	// Key returns the key under which the message belongs in the control
	// stream; compare-and-swap is per key.
	Key() string
	// Append appends the encoded message to b. It panics when a name or a
	// count is out of bounds.
	Append(b []byte) []byte
}

var _, _, _ Control = Commit{}, Close{}, Seeds{}

// Commit makes batches count: every batch of this collector and incarnation
// whose Seq is at most Last[Shard], and nothing else of it.
type Commit struct {
	Collector   string
	Incarnation uint64
	Flush       uint64     // 1, 2, 3, … per incarnation
	Ended       flow.Slice // no contact of a slice ≤ Ended follows this commit
	// Last is the last Seq per shard in this incarnation, 0 for none.
	Last [flow.Shards]uint64
	// Records is the number of flow records that went into the contacts which
	// this commit newly covers. Contacts counts those contacts, both halves.
	// Late is how many of the records were moved to Ended+1 because their own
	// slice was over.
	Records, Contacts, Late uint64
	AtMS                    int64 // the collector's clock, Unix milliseconds
}

// Key returns "commit.<collector>".
func (c Commit) Key() string { return CommitKey(c.Collector) }

// CommitKey returns the control key of a collector's commits.
func CommitKey(collector string) string { return "commit." + collector }

// Close ends a slice for the whole ring: the epoch of Slice ranks what the
// commits before this message cover, contacts of slices ≤ Slice only.
type Close struct {
	Slice flow.Slice
	// Without names the live collectors that were not waited for, ascending.
	Without []string
}

// CloseKey is the control key of all Close messages.
const CloseKey = "close"

// Key returns CloseKey.
func (Close) Key() string { return CloseKey }

// Seeds replaces the known bots of one source.
type Seeds struct {
	Source string // a collector's name, or "api"
	Hosts  []Seed
}

// Seed is one known bot and the key generation of its pseudonym.
type Seed struct {
	Host       flow.Host
	Generation flow.Generation
}

// Key returns "seeds.<source>".
func (s Seeds) Key() string { return SeedsKey(s.Source) }

// SeedsKey returns the control key of a source's seeds.
func SeedsKey(source string) string { return "seeds." + source }

// CheckName returns an error unless name can name a collector or a source:
// 1 to 32 of a-z, 0-9 and "-".
func CheckName(name string) error {
	if !validName(name) {
		return fmt.Errorf("name %q: want 1 to %d of a-z, 0-9 and \"-\"", clip(name), MaxName)
	}
	return nil
}

func validName[T string | []byte](name T) bool {
	if len(name) == 0 || len(name) > MaxName {
		return false
	}
	for i := range len(name) {
		c := name[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}

// clip keeps a refused name from filling a log line.
func clip(name string) string {
	if len(name) > MaxName+1 {
		return name[:MaxName+1] + "…"
	}
	return name
}
