package rank

import (
	"errors"
	"fmt"
	"slices"

	"github.com/flowhound/flowhound/internal/flow"
)

// Message is what one node tells another in one round. Its slices belong to
// the receiver.
type Message struct {
	Epoch    uint64
	From, To int
	Round    int
	Shards   []ShardSums // the sender's shards, ascending
	// Mirrors has the number of values and a digest of the hosts they belong
	// to; it is set in round 0.
	Mirrors [2]Mirrors
	// Values are the server and client shares of the sender's hosts that the
	// receiver mirrors, weight by weight, in canonical order: little-endian
	// float64 or float32. An undirected ranking has no client shares.
	Values [2][]byte
}

// Mirrors describes the hosts whose values one node sends to another.
type Mirrors struct {
	Hosts  int
	Digest uint64
}

// ShardSums are one shard's part of the reductions.
type ShardSums struct {
	Shard   flow.Shard
	Hosts   int          // in round 0
	Weights []WeightSums // by weight
}

// WeightSums are the sums of the rankings by one weight.
type WeightSums struct {
	Seeds int // in round 0
	// From round 1 on, for the server and the client rank: the rank that the
	// shares carry, the rank of hosts without a link to carry it, and the L1
	// change.
	Mass, Dangling, Delta [2]float64
}

func cloneSums(sums []ShardSums) []ShardSums {
	sums = slices.Clone(sums)
	for i := range sums {
		sums[i].Weights = slices.Clone(sums[i].Weights)
	}
	return sums
}

func (s *WeightSums) add(o WeightSums) {
	s.Seeds += o.Seeds
	for which := range s.Mass {
		s.Mass[which] += o.Mass[which]
		s.Dangling[which] += o.Dangling[which]
		s.Delta[which] += o.Delta[which]
	}
}

// Indices of pairs of values.
const (
	server = 0
	client = 1
)

// receive puts a message into its round's inbox. Messages of another epoch, of
// a past round, or again, are ignored: the network may repeat and delay.
func (m *Machine) receive(message *Message) error {
	if message.Epoch != m.cfg.Epoch || m.done || message.Round < m.round {
		return nil
	}
	err := m.check(message)
	if err != nil {
		return fmt.Errorf("rank: message of round %d from node %d: %w", message.Round, message.From, err)
	}
	box := m.inbox[message.Round-m.round]
	if box[message.From] == nil {
		box[message.From] = message
	}
	return nil
}

// check reports a message that no node of this ranking can have sent.
func (m *Machine) check(message *Message) error {
	from := message.From
	if from < 0 || from >= m.cfg.Nodes || from == m.cfg.Self || message.To != m.cfg.Self {
		return fmt.Errorf("to node %d: not between nodes of this ranking", message.To)
	}
	if message.Round > m.round+1 {
		return fmt.Errorf("this node is in round %d", m.round)
	}
	i := 0
	for s, owner := range m.cfg.Owner {
		if owner != from {
			continue
		}
		if i >= len(message.Shards) || message.Shards[i].Shard != flow.Shard(s) {
			return fmt.Errorf("sums of shard %d are missing", s)
		}
		if got := len(message.Shards[i].Weights); got != len(m.rankings) {
			return fmt.Errorf("sums of %d weights, this node ranks by %d", got, len(m.rankings))
		}
		i++
	}
	if i != len(message.Shards) {
		return errors.New("sums of shards that it does not own")
	}
	for which := range message.Values {
		list := m.plan.receive[which][from]
		if message.Round == 0 {
			if want := m.plan.mirrors(m.view, list); message.Mirrors[which] != want {
				return fmt.Errorf("it sends %d hosts (digest %x), this node mirrors %d (digest %x)",
					message.Mirrors[which].Hosts, message.Mirrors[which].Digest, want.Hosts, want.Digest)
			}
		} else if got, want := len(message.Values[which]), len(m.rankings)*len(list)*m.kernel.width(); got != want {
			return fmt.Errorf("%d bytes of values, want %d", got, want)
		}
	}
	return nil
}

// totals are reductions over all shards of all nodes.
type totals struct {
	hosts   int
	weights []WeightSums
}

// reduce adds the sums of this round's messages and of the own shards, in the
// order of shards.
func (m *Machine) reduce() totals {
	own := m.plan.greeting()
	if m.round > 0 {
		own = m.kernel.sums()
	}
	var byShard [flow.Shards]ShardSums
	for _, s := range own {
		byShard[s.Shard] = s
	}
	for _, message := range m.inbox[0] {
		for _, s := range message.Shards {
			byShard[s.Shard] = s
		}
	}
	t := totals{weights: make([]WeightSums, len(m.rankings))}
	for _, s := range byShard {
		t.hosts += s.Hosts
		for w := range s.Weights {
			t.weights[w].add(s.Weights[w])
		}
	}
	return t
}
