package graph

import (
	"cmp"
	"fmt"
	"iter"
	"maps"
	"slices"
	"testing"

	"github.com/flowhound/flowhound/internal/flow"
	"pgregory.net/rapid"
)

// model is the window semantics said naively: a map from link to the newest
// slice with traffic.
type model struct {
	seen     map[[2]flow.Host]flow.Slice
	answered map[[2]flow.Host]bool
	oldest   flow.Slice
	cap      int
}

func newModel(cap int) *model {
	return &model{seen: map[[2]flow.Host]flow.Slice{}, answered: map[[2]flow.Host]bool{}, cap: cap}
}

// pairKey names a pair of hosts.
func pairKey(a, b flow.Host) [2]flow.Host {
	if a.Compare(b) > 0 {
		a, b = b, a
	}
	return [2]flow.Host{a, b}
}

func (m *model) apply(c flow.Contact) {
	if c.Local == c.Remote || c.Slice < m.oldest || c.Bits&(flow.BitOut|flow.BitIn) == 0 {
		return
	}
	if c.Bits&flow.BitOut != 0 {
		m.link(c.Local, c.Remote, c.Slice)
	}
	if c.Bits&flow.BitIn != 0 {
		m.link(c.Remote, c.Local, c.Slice)
	}
	key := pairKey(c.Local, c.Remote)
	if m.alive(key) {
		m.answered[key] = m.answered[key] || c.Bits&flow.BitAnswered != 0
	}
	m.forget()
}

func (m *model) alive(key [2]flow.Host) bool {
	_, there := m.seen[key]
	_, back := m.seen[[2]flow.Host{key[1], key[0]}]
	return there || back
}

func (m *model) link(from, to flow.Host, s flow.Slice) {
	m.seen[[2]flow.Host{from, to}] = max(s, m.seen[[2]flow.Host{from, to}])
	var out []flow.Host
	for l := range m.seen {
		if l[0] == from {
			out = append(out, l[1])
		}
	}
	if len(out) > m.cap {
		worst := slices.MaxFunc(out, func(a, b flow.Host) int {
			x, y := priority(&from.Pseudonym, &a.Pseudonym), priority(&from.Pseudonym, &b.Pseudonym)
			if x < y {
				return -1
			}
			return 1
		})
		delete(m.seen, [2]flow.Host{from, worst})
	}
}

func (m *model) expire(oldest flow.Slice) {
	m.oldest = max(m.oldest, oldest)
	maps.DeleteFunc(m.seen, func(_ [2]flow.Host, s flow.Slice) bool { return s < m.oldest })
	m.forget()
}

func (m *model) forget() {
	maps.DeleteFunc(m.answered, func(key [2]flow.Host, _ bool) bool { return !m.alive(key) })
}

// check compares a view with the model: vertices, order, rows, last slices.
func (m *model) check(g *Graph, v *View) error {
	hosts := map[flow.Host]bool{}
	for l := range m.seen {
		hosts[l[0]], hosts[l[1]] = true, true
	}
	want := slices.SortedFunc(maps.Keys(hosts), flow.Host.Compare)
	if v.Len() != len(want) || v.Links() != len(m.seen) {
		return fmt.Errorf("got %d hosts, %d links, want %d and %d", v.Len(), v.Links(), len(want), len(m.seen))
	}
	if st := g.Stats(); st.Hosts != uint64(len(want)) || st.Links != uint64(len(m.seen)) {
		return fmt.Errorf("stats say %d hosts %d links, want %d and %d", st.Hosts, st.Links, len(want), len(m.seen))
	}
	for i, h := range want {
		x, ok := v.Find(h)
		if !ok || int(x) != i || v.Host(x) != h || v.ShardOf(x) != h.Shard {
			return fmt.Errorf("host %v: got vertex %d found %v host %v, want vertex %d", h, x, ok, v.Host(Vertex(i)), i)
		}
		for j, to := range want {
			s, live := m.seen[[2]flow.Host{h, to}]
			out, _ := v.Peer(x, Vertex(j))
			in, _ := v.Peer(Vertex(j), x)
			if out.Has(Out) != live || in.Has(In) != live {
				return fmt.Errorf("link %d → %d: got out %v in %v, want %v", i, j, out.Has(Out), in.Has(In), live)
			}
			l, ok := v.Link(x, Vertex(j))
			if ok != live || live && (l.LastSeen != s || l.Answered != m.answered[pairKey(h, to)]) {
				return fmt.Errorf("link %d → %d: got %+v %v, want slice %d answered %v, live %v", i, j, l, ok, s, m.answered[pairKey(h, to)], live)
			}
		}
		if row := v.Of(x); !slices.IsSortedFunc(row, func(a, b Peer) int { return cmp.Compare(a.Vertex(), b.Vertex()) }) ||
			slices.ContainsFunc(row, func(p Peer) bool { return p&peerDirs == 0 }) {
			return fmt.Errorf("vertex %d: row out of order, or with strangers: %v", i, row)
		}
	}
	return nil
}

// testHost returns one of few hosts, spread over three shards.
func testHost(i int) flow.Host {
	return flow.Host{Pseudonym: flow.Pseudonym{0: byte(i * 37), 15: byte(i)}, Shard: flow.Shard(i % 3 * 100)}
}

func drawContact(t *rapid.T, oldest flow.Slice) flow.Contact {
	return flow.Contact{
		Local: testHost(rapid.IntRange(0, 13).Draw(t, "local")), Remote: testHost(rapid.IntRange(0, 13).Draw(t, "remote")),
		Slice: flow.Slice(max(0, int(oldest)+rapid.IntRange(-1, 6).Draw(t, "slice"))),
		Bits:  uint8(rapid.IntRange(1, 7).Draw(t, "bits")),
		Out:   flow.Counters{Flows: 1, Bytes: 40}, In: flow.Counters{Flows: 1, Bytes: 60},
	}
}

// The store keeps exactly the links of the window, whatever comes in whatever
// order, and a restored copy goes on in the same way.
func TestWindowAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cfg := DefaultConfig()
		cfg.MaxOutDegree = uint32(rapid.SampledFrom([]int{1, 2, 4, 1000}).Draw(t, "cap"))
		g, m := New(cfg), newModel(int(cfg.MaxOutDegree))
		g.Expire(0)
		t.Repeat(map[string]func(*rapid.T){
			"apply": func(t *rapid.T) {
				var batch []flow.Contact
				for range rapid.IntRange(1, 20).Draw(t, "contacts") {
					c := drawContact(t, m.oldest)
					m.apply(c)
					batch = append(batch, c)
					if rapid.Bool().Draw(t, "both halves") && m.cap == 1000 {
						batch = append(batch, c.Flip())
					}
				}
				g.Apply(1, batch)
			},
			"expire": func(t *rapid.T) {
				oldest := m.oldest + flow.Slice(rapid.IntRange(0, 4).Draw(t, "by"))
				g.Expire(oldest)
				m.expire(oldest)
			},
			"restore": func(t *rapid.T) { g = copyOf(t, g, cfg) },
			"": func(t *rapid.T) {
				if err := m.check(g, g.Freeze()); err != nil {
					t.Fatal(err)
				}
			},
		})
	})
}

// inChunks yields a list in parts of three.
func inChunks[T any](list []T) iter.Seq2[[]T, error] {
	return func(yield func([]T, error) bool) {
		for part := range slices.Chunk(list, 3) {
			if !yield(part, nil) {
				return
			}
		}
	}
}

func copyOf(t interface{ Fatal(...any) }, g *Graph, cfg Config) *Graph {
	saver := NewSaver(g)
	defer saver.Close()
	var hosts [flow.Shards][]SavedHost
	var pairs [flow.Shards][]SavedPair
	for i := range saver.HostChunks() {
		s, list := saver.Hosts(nil, i)
		hosts[s] = append(hosts[s], list...)
	}
	for i := range saver.PairChunks() {
		s, list := saver.Pairs(nil, i)
		pairs[s] = append(pairs[s], list...)
	}
	r, err := NewRestorer(cfg, saver.Window())
	if err != nil {
		t.Fatal(err)
	}
	for s := range flow.Shards {
		if err := r.Hosts(flow.Shard(s), len(hosts[s]), inChunks(hosts[s])); err != nil {
			t.Fatal(err)
		}
	}
	for s := range flow.Shards {
		if err := r.Pairs(flow.Shard(s), len(pairs[s]), inChunks(pairs[s])); err != nil {
			t.Fatal(err)
		}
	}
	if g, err = r.Graph(); err != nil {
		t.Fatal(err)
	}
	return g
}
