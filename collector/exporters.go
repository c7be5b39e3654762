package collector

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"sync"

	"github.com/flowhound/flowhound/collector/decode"
)

// unnamed labels exporters that no entry of the configuration names. Their
// addresses are never printed.
const unnamed = "unnamed"

// access decides who is listened to. It is immutable; a reload makes another.
type access struct {
	open      bool // the list is empty: everybody is
	exporters []Exporter
	prefixes  map[netip.Prefix]int // to an index of exporters
	lengths   []int                // prefix lengths in the map, longest first
}

func newAccess(exporters []Exporter) (*access, error) {
	a := &access{open: len(exporters) == 0, exporters: exporters, prefixes: make(map[netip.Prefix]int)}
	names := make(map[string]bool)
	for i, e := range exporters {
		if !validExporter(e.Name) {
			return nil, fmt.Errorf("exporters[%d].name: %q, want 1 to 64 letters, digits, dots, dashes and underscores, not %q",
				i, e.Name, unnamed)
		}
		if names[e.Name] {
			return nil, fmt.Errorf("exporters[%d].name: %q is there twice", i, e.Name)
		}
		names[e.Name] = true
		if e.NewContacts < 0 || e.NewContacts > 1<<30 {
			return nil, fmt.Errorf("exporters[%d].new_contacts: %d, want 0 to %d", i, e.NewContacts, 1<<30)
		}
		if len(e.From) == 0 {
			return nil, fmt.Errorf("exporters[%d].from: %q has no address", i, e.Name)
		}
		for _, p := range e.From {
			if j, ok := a.prefixes[p.Prefix]; ok {
				return nil, fmt.Errorf("exporters[%d].from: %v belongs to %q already", i, p, exporters[j].Name)
			}
			a.prefixes[p.Prefix] = i
			if !slices.Contains(a.lengths, p.Bits()) {
				a.lengths = append(a.lengths, p.Bits())
			}
		}
	}
	slices.SortFunc(a.lengths, func(x, y int) int { return cmp.Compare(y, x) })
	return a, nil
}

// find returns the entry of the longest prefix that holds addr, nil for none.
func (a *access) find(addr netip.Addr) *Exporter {
	for _, n := range a.lengths {
		p, err := addr.Prefix(n)
		if err != nil { // longer than the address
			continue
		}
		if i, ok := a.prefixes[p]; ok {
			return &a.exporters[i]
		}
	}
	return nil
}

// admits reports whether packets from addr are listened to.
func (a *access) admits(addr netip.Addr) bool { return a.open || a.find(addr) != nil }

// name returns the configured name of addr, or unnamed.
func (a *access) name(addr netip.Addr) string {
	if e := a.find(addr); e != nil {
		return e.Name
	}
	return unnamed
}

// sampling returns the decoder's rule for addr.
func (a *access) sampling(addr netip.Addr) decode.SamplingRule {
	if e := a.find(addr); e != nil {
		return decode.SamplingRule{Rate: e.Sampling.Default, Force: e.Sampling.Force}
	}
	return decode.SamplingRule{}
}

func validExporter(name string) bool {
	if len(name) < 1 || len(name) > 64 || name == unnamed {
		return false
	}
	for _, c := range name {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !letter && c != '.' && c != '-' && c != '_' {
			return false
		}
	}
	return true
}

// refusedRing remembers the last sources that were refused, in fixed space: a
// million forged sources leave 64.
type refusedRing struct {
	mu      sync.Mutex // guards all below
	sources [64]refused
	next    int
}

// refused is one refused source. The address is plain: it leaves the collector
// as a pseudonym only.
type refused struct {
	addr   netip.Addr
	count  uint64 // datagrams since it entered the ring
	lastMS int64  // Unix milliseconds
}

// add counts a refused datagram.
func (r *refusedRing) add(addr netip.Addr, nowMS int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.sources {
		if s := &r.sources[i]; s.addr == addr {
			s.count++
			s.lastMS = nowMS
			return
		}
	}
	r.sources[r.next] = refused{addr: addr, count: 1, lastMS: nowMS}
	r.next = (r.next + 1) % len(r.sources)
}

// list returns the sources in the ring, the latest first.
func (r *refusedRing) list() []refused {
	r.mu.Lock()
	defer r.mu.Unlock()
	var list []refused
	for _, s := range r.sources {
		if s.addr.IsValid() {
			list = append(list, s)
		}
	}
	slices.SortStableFunc(list, func(a, b refused) int { return cmp.Compare(b.lastMS, a.lastMS) })
	return list
}
