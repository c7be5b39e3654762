package rank

import (
	"errors"
	"fmt"
	"runtime"
	"slices"

	"github.com/flowhound/flowhound/detector/graph"
	"github.com/flowhound/flowhound/internal/flow"
)

// Config places a machine among the nodes that rank one epoch together.
type Config struct {
	Params
	Epoch uint64 // messages of another epoch are ignored
	Self  int    // this node's number
	Nodes int    // how many nodes there are; 0 and 1 both mean this one alone
	// Owner is the node of each shard; nil means that all are Self's. It must
	// agree with the shards that the view owns, and be the same on all nodes.
	Owner *[flow.Shards]int
}

// defaults sets what the zero value stands for.
func (c *Config) defaults() {
	c.Nodes = max(1, c.Nodes)
	if c.Owner == nil {
		c.Owner = new([flow.Shards]int)
		for s := range c.Owner {
			c.Owner[s] = c.Self
		}
	}
	if c.Workers <= 0 {
		c.Workers = runtime.GOMAXPROCS(0)
	}
	if c.Memory == nil {
		c.Memory = new(Memory)
	}
}

// Machine is one node's part of a ranking. It neither waits nor sends: Step
// takes an event and says what to send.
//
//	greeting ──all greetings──► superstep 1 ──all values──► superstep 2 … ──► done
//
// In round 0 the nodes tell each other how many hosts and seeds their shards
// hold, in round k ≥ 1 the shares of their ranks after k-1 supersteps. A
// message is sent to every other node even if it holds no value: its arrival
// is the barrier. So a peer is at most one round ahead, and all stop in the
// same round because they add the same numbers in the same order.
type Machine struct {
	cfg    Config
	view   *graph.View
	kernel kernel
	plan   plan
	round  int
	inbox  [2]map[int]*Message // by sender: this round's and the next one's
	hosts  int
	delta  float64
	begun  bool
	done   bool
}

// Event is what happened: a message came in or, if Message is nil, nothing
// did and the machine may go on if it can.
type Event struct{ Message *Message }

// Ready is what the outside has to do after a step.
type Ready struct {
	Send []*Message // to deliver, in any order, at least once each
	// Superstep is the superstep that this step finished, 0 if none, and Delta
	// its L1 change, known one superstep later on several nodes.
	Superstep int
	Delta     float64
	More      bool // the next round can be computed without another message
	Done      bool // Result may be called
}

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
	// receiver mirrors, in canonical order: little-endian float64 or float32.
	Values [2][]byte
}

// Mirrors describes the hosts whose values one node sends to another.
type Mirrors struct {
	Hosts  int
	Digest uint64
}

// ShardSums are one shard's part of the reductions.
type ShardSums struct {
	Shard        flow.Shard
	Hosts, Seeds int // in round 0
	// From round 1 on, for the server and the client rank: the rank that the
	// shares carry, the rank of hosts without a link to carry it, and the L1
	// change.
	Mass, Dangling, Delta [2]float64
}

// Indices of pairs of values.
const (
	server = 0
	client = 1
)

// NewMachine returns a machine that has sent nothing yet. The first step,
// usually with an empty event, greets the other nodes.
func NewMachine(v *graph.View, cfg Config) (*Machine, error) {
	if err := cfg.checkFor(v); err != nil {
		return nil, err
	}
	cfg.defaults()
	for s, node := range cfg.Owner {
		if node < 0 || node >= cfg.Nodes || v.Owned(flow.Shard(s)) != (node == cfg.Self) {
			return nil, fmt.Errorf("rank: shard %d: node %d of %d is said to own it, node %d asks (owned: %v)",
				s, node, cfg.Nodes, cfg.Self, v.Owned(flow.Shard(s)))
		}
	}
	m := &Machine{cfg: cfg, view: v, plan: newPlan(v, &cfg)}
	m.inbox = [2]map[int]*Message{{}, {}}
	m.kernel = newKernel(v, &m.plan, &cfg)
	return m, nil
}

// Step takes an event and goes on by at most one round. An error says that a
// message cannot belong to this ranking; the machine is unchanged.
func (m *Machine) Step(e Event) (Ready, error) {
	if e.Message != nil {
		if err := m.receive(e.Message); err != nil {
			return Ready{}, err
		}
	}
	if !m.begun {
		m.begun = true
		if m.cfg.Nodes > 1 {
			return Ready{Send: m.messages(m.plan.greeting()), More: m.complete()}, nil
		}
	}
	if m.done {
		return Ready{Done: true, Delta: m.delta}, nil
	}
	if !m.complete() {
		return Ready{}, nil
	}
	return m.advance(), nil
}

// complete reports whether every other node's message of this round is there.
func (m *Machine) complete() bool { return len(m.inbox[0]) == m.cfg.Nodes-1 }

// Result returns the ranking. It panics before Ready.Done.
func (m *Machine) Result() Result {
	if !m.done {
		panic("BUG: the result of an unfinished ranking was asked for")
	}
	ranks := m.kernel.ranks()
	return Result{
		Client: ranks[client], Server: ranks[server],
		Hosts: m.hosts, Supersteps: max(0, m.round-1), Delta: m.delta,
	}
}

// advance finishes the round whose messages are all there.
func (m *Machine) advance() Ready {
	sums := m.reduce()
	if m.round == 0 {
		m.hosts = sums.hosts
		if m.hosts == 0 {
			m.done = true
			return Ready{Done: true}
		}
		each := [2]float64{1 / float64(m.hosts), 1 / float64(m.hosts)}
		m.kernel.superstep(update{base: [2][2]float64{each, each}})
	} else {
		for _, message := range m.inbox[0] {
			for which := range message.Values {
				m.kernel.take(m.plan.receive[which][message.From], message.Values[which], which)
			}
		}
		m.delta = max(sums.delta[server], sums.delta[client])
		steps := m.round - 1
		if steps == m.plan.limit || steps > 0 && m.cfg.Iterations == 0 && m.delta < m.cfg.Tolerance {
			m.done = true
			return Ready{Done: true, Delta: m.delta}
		}
		m.kernel.superstep(m.plan.update(&m.cfg.Params, sums))
	}
	m.inbox[0], m.inbox[1] = m.inbox[1], m.inbox[0]
	clear(m.inbox[1])
	m.round++
	ready := Ready{Superstep: m.round - 1, Delta: m.delta, More: m.complete()}
	if m.cfg.Nodes > 1 {
		ready.Send = m.messages(m.kernel.sums())
	}
	return ready
}

// messages returns this round's message to every other node.
func (m *Machine) messages(sums []ShardSums) []*Message {
	var out []*Message
	for to := range m.cfg.Nodes {
		if to == m.cfg.Self {
			continue
		}
		message := &Message{Epoch: m.cfg.Epoch, From: m.cfg.Self, To: to, Round: m.round, Shards: slices.Clone(sums)}
		for which := range message.Values {
			if list := m.plan.send[which][to]; m.round == 0 {
				message.Mirrors[which] = m.plan.mirrors(m.view, list)
			} else {
				message.Values[which] = m.kernel.give(list, which)
			}
		}
		out = append(out, message)
	}
	return out
}

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
		} else if got, want := len(message.Values[which]), len(list)*m.kernel.width(); got != want {
			return fmt.Errorf("%d bytes of values, want %d", got, want)
		}
	}
	return nil
}

// totals are reductions over all shards of all nodes.
type totals struct {
	hosts, seeds          int
	mass, dangling, delta [2]float64
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
	var t totals
	for _, s := range byShard {
		t.hosts += s.Hosts
		t.seeds += s.Seeds
		for which := range t.mass {
			t.mass[which] += s.Mass[which]
			t.dangling[which] += s.Dangling[which]
			t.delta[which] += s.Delta[which]
		}
	}
	if m.round == 0 {
		m.plan.seeds = t.seeds
	}
	t.hosts, t.seeds = max(t.hosts, m.hosts), m.plan.seeds
	return t
}
