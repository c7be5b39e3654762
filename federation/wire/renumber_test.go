package wire

import (
	"bytes"
	"testing"

	"github.com/flowhound/flowhound/internal/flow"
)

// A renumbered batch is the one that would have been encoded with the other
// numbers, and the first one is left as it was.
func TestRenumber(t *testing.T) {
	for _, name := range []string{"a", "pop-1", "a-name-of-thirty-two-characters-"} {
		h := Header{Collector: name, Incarnation: 7, Shard: 9, Seq: 1 << 40, Generation: 3}
		cs := []flow.Contact{{Local: flow.Host{Shard: 9}, FirstMS: 5}, {Local: flow.Host{Shard: 9}, Port: 53}}
		b := AppendBatch(nil, h, cs)
		before := bytes.Clone(b)
		h.Incarnation, h.Seq = 1<<50, 2
		if got, want := Renumber(b, h.Incarnation, h.Seq), AppendBatch(nil, h, cs); !bytes.Equal(got, want) {
			t.Errorf("%s: got %x, want %x", name, got, want)
		}
		if !bytes.Equal(b, before) {
			t.Errorf("%s: the batch itself was changed", name)
		}
	}
}
