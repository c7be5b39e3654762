package graph

import (
	"slices"
	"strings"
	"testing"

	"github.com/flowhound/flowhound/internal/flow"
)

// TestRestorerRefuses: a saved state that no graph can have is an error that
// says what is wrong. The one that the others are made from is not.
func TestRestorerRefuses(t *testing.T) {
	type state struct {
		hosts          []SavedHost
		pairs          []SavedPair
		nHosts, nPairs int // as announced, beyond what there are
	}
	// f restores three hosts of shard 5 with two pairs, after a change.
	f := func(want string, change func(*state)) {
		t.Helper()
		s := state{
			hosts: []SavedHost{{Pseudonym: flow.Pseudonym{1}}, {Pseudonym: flow.Pseudonym{2}}, {Pseudonym: flow.Pseudonym{3}}},
			pairs: []SavedPair{
				{Lo: 0, Hi: 1, HiShard: 5, Live: 1, Seen: [2]flow.Slice{101, 0}, Due: 100},
				{Lo: 1, Hi: 2, HiShard: 5, Live: 3, Seen: [2]flow.Slice{102, 103}, Due: 102},
			},
		}
		change(&s)
		r, err := NewRestorer(DefaultConfig(), Window{Oldest: 100, Newest: 103, Started: true})
		if err != nil {
			t.Fatal(err)
		}
		if err = r.Hosts(5, len(s.hosts)+s.nHosts, inChunks(s.hosts)); err == nil {
			err = r.Pairs(5, len(s.pairs)+s.nPairs, inChunks(s.pairs))
		}
		var g *Graph
		if err == nil {
			g, err = r.Graph()
		}
		switch {
		case want == "" && err != nil:
			t.Errorf("got %v, want a graph", err)
		case want == "" && (g.Stats().Hosts != 3 || g.Stats().Pairs != 2 || g.Stats().Links != 3):
			t.Errorf("got %+v, want 3 hosts, 2 pairs and 3 links", g.Stats())
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("got %v, want %q", err, want)
		}
	}
	f("", func(*state) {})
	f("there are more than announced", func(s *state) { s.nHosts = -1 })
	f("there are 1 fewer than announced", func(s *state) { s.nHosts = 1 })
	f("there are more than announced", func(s *state) { s.nPairs = -1 })
	f("there are 9 fewer than announced", func(s *state) { s.nPairs = 9 })
	f("more than a shard holds", func(s *state) { s.nHosts = localMax })
	f("more than a shard holds", func(s *state) { s.nPairs = localMax })
	f("host 3 of shard 5: saved twice", func(s *state) { s.hosts = append(s.hosts, s.hosts[1]) })
	f("pair 2 of shard 5: saved twice", func(s *state) { s.pairs = append(s.pairs, s.pairs[0]) })
	f("pair 200 of shard 5: saved twice", func(s *state) { // in another group
		for i := range 199 {
			s.hosts = append(s.hosts, SavedHost{Pseudonym: flow.Pseudonym{9, byte(i)}})
			s.pairs = append(s.pairs, SavedPair{Lo: 0, Hi: uint32(i + 3), HiShard: 5, Live: 1, Seen: [2]flow.Slice{101, 0}, Due: 101})
		}
		s.pairs = slices.Insert(s.pairs, 200, s.pairs[1])
	})
	f("host 1: no link", func(s *state) { s.pairs[0].Hi, s.pairs[1].Lo = 2, 0; s.pairs = s.pairs[:1] })
	f("no such host", func(s *state) { s.pairs[1].Hi = 3 })
	f("no such host", func(s *state) { s.pairs[1].HiShard = 6 })
	f("not in canonical order", func(s *state) { s.pairs[0].Lo, s.pairs[0].Hi = 1, 0 })
	f("out of range", func(s *state) { s.pairs[0].Live = 0 })
	f("out of range", func(s *state) { s.pairs[0].Flows = maxFlows + 1 })
	f("out of range", func(s *state) { s.pairs[0].Bytes = maxBytes + 1 })
	f("outside of the window", func(s *state) { s.pairs[0].Due = 99 })
	f("outside of the window", func(s *state) { s.pairs[0].Due = 102 })
	f("outside of the window", func(s *state) { s.pairs[1].Seen[1] = 104 })
}
