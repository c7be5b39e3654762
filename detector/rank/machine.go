package rank

import (
	"fmt"
	"runtime"

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
	c.Weights = c.weights()
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
//
// The rankings by all weights go through the same rounds. One that ends earlier
// than others stays as it is, and its values are still sent.
type Machine struct {
	cfg      Config
	view     *graph.View
	kernel   kernel
	plan     plan
	round    int
	inbox    [2]map[int]*Message // by sender: this round's and the next one's
	hosts    int
	rankings []ranking // by weight
	begun    bool
	done     bool
}

// ranking is how far the ranking by one weight is.
type ranking struct {
	supersteps int
	delta      float64
	done       bool
}

// Event is what happened: a message came in or, if Message is nil, nothing
// did and the machine may go on if it can.
type Event struct{ Message *Message }

// Ready is what the outside has to do after a step.
type Ready struct {
	Send      []*Message // to deliver, in any order, at least once each
	Superstep int        // that this step finished, 0 if none
	More      bool       // the next round can be computed without another message
	Done      bool       // Results may be called
}

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
	m := &Machine{cfg: cfg, view: v, plan: newPlan(v, &cfg), rankings: make([]ranking, len(cfg.Weights))}
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
		return Ready{Done: true}, nil
	}
	if !m.complete() {
		return Ready{}, nil
	}
	return m.advance(), nil
}

// complete reports whether every other node's message of this round is there.
func (m *Machine) complete() bool { return len(m.inbox[0]) == m.cfg.Nodes-1 }

// Results returns the rankings by weight. It panics before Ready.Done.
func (m *Machine) Results() []Result {
	if !m.done {
		panic("BUG: the results of unfinished rankings were asked for")
	}
	results := make([]Result, len(m.rankings))
	for w, r := range m.rankings {
		ranks := m.kernel.ranks(w)
		m.clearForeign(ranks)
		results[w] = Result{
			Client: ranks[client], Server: ranks[server],
			Hosts: m.hosts, Supersteps: r.supersteps, Delta: r.delta,
		}
	}
	return results
}

// clearForeign takes away the shares that other nodes sent.
func (m *Machine) clearForeign(ranks [2][]float64) {
	for s, node := range m.cfg.Owner {
		if node != m.cfg.Self {
			lo, hi := m.view.Shard(flow.Shard(s))
			clear(ranks[server][lo:hi])
			clear(ranks[client][lo:hi])
		}
	}
}

// advance finishes the round whose messages are all there.
func (m *Machine) advance() Ready {
	var updates []*update
	if sums := m.reduce(); m.round == 0 {
		updates = m.first(sums)
	} else {
		m.take()
		updates = m.next(sums)
	}
	if updates == nil {
		m.done = true
		return Ready{Done: true}
	}
	m.kernel.superstep(updates)
	m.inbox[0], m.inbox[1] = m.inbox[1], m.inbox[0]
	clear(m.inbox[1])
	m.round++
	ready := Ready{Superstep: m.round - 1, More: m.complete()}
	if m.cfg.Nodes > 1 {
		ready.Send = m.messages(m.kernel.sums())
	}
	return ready
}

// first returns the updates that begin all rankings; none if there is no host.
func (m *Machine) first(t totals) (updates []*update) {
	if m.hosts = t.hosts; m.hosts == 0 {
		return nil
	}
	for w := range m.plan.weights {
		m.plan.weights[w].all = t.weights[w].Seeds
		updates = append(updates, firstUpdate(m.hosts))
	}
	return updates
}

// next ends the rankings that have reached their goal, and returns the updates of
// the others, by weight; none if all are done.
func (m *Machine) next(t totals) []*update {
	updates := make([]*update, len(m.rankings))
	steps, more := m.round-1, false
	for w := range m.rankings {
		r := &m.rankings[w]
		if r.done {
			continue
		}
		r.supersteps, r.delta = steps, max(t.weights[w].Delta[server], t.weights[w].Delta[client])
		r.done = steps == m.plan.limit || steps > 0 && m.cfg.Iterations == 0 && r.delta < m.cfg.Tolerance
		if !r.done {
			updates[w], more = m.plan.weights[w].update(&m.cfg.Params, m.hosts, t.weights[w]), true
		}
	}
	if !more {
		return nil
	}
	return updates
}

// take puts the values of this round's messages into the mirrors.
func (m *Machine) take() {
	for _, message := range m.inbox[0] {
		for which := range message.Values {
			m.kernel.take(m.plan.receive[which][message.From], message.Values[which], which)
		}
	}
}

// messages returns this round's message to every other node.
func (m *Machine) messages(sums []ShardSums) []*Message {
	var out []*Message
	for to := range m.cfg.Nodes {
		if to == m.cfg.Self {
			continue
		}
		message := &Message{Epoch: m.cfg.Epoch, From: m.cfg.Self, To: to, Round: m.round, Shards: cloneSums(sums)}
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
