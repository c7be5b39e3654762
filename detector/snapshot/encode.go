package snapshot

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/flowhound/flowhound/detector/graph"
	"github.com/flowhound/flowhound/internal/flow"
)

// errShort occurs when a payload ends within a value.
var errShort = errors.New("it ends within a value")

func appendWindow(b []byte, w graph.Window) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(w.Oldest))
	b = binary.LittleEndian.AppendUint32(b, uint32(w.Newest))
	return append(b, flag(w.Started, 1))
}

func parseWindow(b []byte) (w graph.Window, err error) {
	if len(b) != 9 || b[8] > 1 {
		return w, fmt.Errorf("%d bytes, not a window", len(b))
	}
	return graph.Window{
		Oldest:  flow.Slice(binary.LittleEndian.Uint32(b)),
		Newest:  flow.Slice(binary.LittleEndian.Uint32(b[4:])),
		Started: b[8] == 1,
	}, nil
}

// hostSize is the size of a host in a block: 16 bytes of pseudonym and one of
// generation.
const hostSize = 17

// appendHosts appends the payload of a block, the shard and then the hosts, none
// for no hosts.
func appendHosts(b []byte, s flow.Shard, hosts []graph.SavedHost) []byte {
	if len(hosts) == 0 {
		return b
	}
	b = append(b, byte(s))
	for i := range hosts {
		b = append(b, hosts[i].Pseudonym[:]...)
		b = append(b, byte(hosts[i].Generation))
	}
	return b
}

// parseHosts returns the hosts of a payload, in the array of to if it is large
// enough.
func parseHosts(to []graph.SavedHost, b []byte) (hosts []graph.SavedHost, err error) {
	if len(b)%hostSize != 1 {
		return to, errShort
	}
	n := len(b) / hostSize
	to = slices.Grow(to, n)[:n]
	for i := range to {
		saved := b[1+i*hostSize:][:hostSize]
		to[i].Pseudonym, to[i].Generation = flow.Pseudonym(saved), flow.Generation(saved[16])
	}
	return to, nil
}

func flag(set bool, bit byte) byte {
	if set {
		return bit
	}
	return 0
}
