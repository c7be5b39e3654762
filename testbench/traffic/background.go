package traffic

import (
	"math/rand/v2"
	"slices"
)

// drawing collects the calls of a network while it is drawn.
type drawing struct {
	c   Config
	rng *rand.Rand
	hostRange
	calls   []Call   // those of the other family may come first
	popular zipf     // of the external servers
	busy    []uint32 // subscribers, each as often as it calls
}

func newDrawing(c Config, first uint32, rng *rand.Rand, calls []Call) *drawing {
	d := &drawing{c: c, rng: rng, calls: slices.Grow(calls, c.Links)}
	d.hostRange = hostRange{first, uint32(c.Internal * float64(c.Hosts)), uint32(c.Hosts)}
	servers := max(1, int(c.Servers*float64(d.hosts-d.subscribers)))
	d.popular = newZipf(servers, c.ServerZipf)
	return d
}

// background draws everything but the botnet.
func (d *drawing) background() {
	forward := float64(d.c.Links) / (1 + d.c.Reply)
	d.clients()
	d.inbound(int(d.c.Inbound * forward))
	for range int(d.c.Transit * forward) {
		d.call(d.external(), d.server(), Transit, d.c.Reply)
	}
	d.scans()
	d.swarms()
	d.reachAll()
}

// call adds a call unless a host would call itself.
func (d *drawing) call(client, server uint32, k Kind, reply float64) {
	if client != server {
		d.calls = append(d.calls, Call{client, server, k, d.rng.Float64() < reply})
	}
}

func (d *drawing) subscriber() uint32 { return d.first + d.rng.Uint32N(d.subscribers) }
func (d *drawing) external() uint32 {
	return d.first + d.subscribers + d.rng.Uint32N(d.hosts-d.subscribers)
}
func (d *drawing) server() uint32 {
	return d.first + d.subscribers + uint32(d.popular.draw(d.rng))
}

// clients lets every subscriber call servers by popularity, and others.
func (d *drawing) clients() {
	for s := d.first; s < d.first+d.subscribers; s++ {
		for range d.c.Activity.draw(d.rng, d.c.Hosts) {
			d.busy = append(d.busy, s)
			if d.rng.Float64() < d.c.LongTail {
				d.call(s, d.external(), Tail, d.c.Reply)
			} else {
				d.call(s, d.server(), Web, d.c.Reply)
			}
		}
	}
}

// inbound lets externals call the subscribers that run servers.
func (d *drawing) inbound(n int) {
	servers := sample(max(1, int(d.c.InternalServers*float64(d.subscribers))), d.subscriber)
	popular := newZipf(len(servers), d.c.InternalZipf)
	for range n {
		d.call(d.external(), servers[popular.draw(d.rng)], Inbound, d.c.Reply)
	}
}

// scans lets a few externals probe subscribers one after the other.
func (d *drawing) scans() {
	for _, s := range sample(d.c.Scanners, d.external) {
		for range d.c.Scan.draw(d.rng, d.c.Hosts) {
			d.call(s, d.subscriber(), Scan, d.c.ScanReply)
		}
	}
}

// swarms lets the subscribers that share files meet other members.
func (d *drawing) swarms() {
	if d.c.P2P == 0 || d.c.Swarms == 0 || d.c.MaxSwarms == 0 {
		return
	}
	pools := make([][]uint32, d.c.Swarms)
	for i := range pools {
		pools[i] = sample(d.c.Swarm.draw(d.rng, d.c.Hosts/4), d.member)
	}
	for _, s := range sample(int(d.c.P2P*float64(d.subscribers)), d.subscriber) {
		joined := 1 + d.rng.IntN(d.c.MaxSwarms)
		contacts := d.c.SwarmContacts.draw(d.rng, d.c.Hosts)
		for range joined {
			d.join(s, pools[d.rng.IntN(len(pools))], (contacts+joined-1)/joined)
		}
	}
}

func (d *drawing) member() uint32 {
	if d.rng.Float64() < d.c.SwarmInternal {
		return d.subscriber()
	}
	return d.external()
}

// join lets a sharer and up to n members of a pool call each other.
func (d *drawing) join(s uint32, pool []uint32, n int) {
	for i := range min(n, len(pool)) { // a shuffle's first n steps choose n members
		j := i + d.rng.IntN(len(pool)-i)
		pool[i], pool[j] = pool[j], pool[i]
		if d.rng.Float64() < d.c.SwarmIncoming {
			d.call(pool[i], s, Share, d.c.Reply)
		} else {
			d.call(s, pool[i], Share, d.c.Reply)
		}
	}
}

// reachAll gives each external that nobody called yet one subscriber that
// does, the busier the likelier; subscribers always call someone.
func (d *drawing) reachAll() {
	seen := make([]bool, d.c.Hosts)
	for _, c := range d.calls {
		if c.Client >= d.first {
			seen[c.Client-d.first], seen[c.Server-d.first] = true, true
		}
	}
	for v := d.subscribers; v < d.hosts; v++ {
		if !seen[v] {
			d.call(d.busy[d.rng.IntN(len(d.busy))], d.first+v, Tail, d.c.Reply)
		}
	}
}
