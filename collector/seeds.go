package collector

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/flowhound/flowhound/federation/wire"
	"github.com/flowhound/flowhound/internal/flow"
)

// readSeeds reads the addresses of known bots from the file at path. Errors
// name the file and the line, and never quote it.
func readSeeds(path string) ([]netip.Addr, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("seeds: %w", err)
	}
	defer f.Close()
	addrs, err := parseSeeds(f)
	if err != nil {
		return nil, fmt.Errorf("seeds: %s:%w", path, err)
	}
	return addrs, nil
}

// parseSeeds reads one address per line; # starts a comment. Its errors start
// with the line number.
func parseSeeds(r io.Reader) ([]netip.Addr, error) {
	var addrs []netip.Addr
	lines := bufio.NewScanner(r)
	n := 0
	for lines.Scan() {
		n++
		text, _, _ := strings.Cut(lines.Text(), "#")
		text = strings.TrimSpace(text)
		if text == "" {
			continue
		}
		a, err := netip.ParseAddr(text)
		if err != nil || a.Zone() != "" {
			return nil, fmt.Errorf("%d: want one IP address, without a port or a prefix length", n)
		}
		if len(addrs) == wire.MaxSeeds {
			return nil, fmt.Errorf("%d: more than %d addresses", n, wire.MaxSeeds)
		}
		addrs = append(addrs, a)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("%d: %w", n+1, err)
	}
	return addrs, nil
}

// seedsOf returns the seeds message of addrs: in canonical order, each host
// once, so that equal files make equal messages.
func seedsOf(source string, addrs []netip.Addr, hosts func(flow.Addr) flow.Host, g flow.Generation) wire.Seeds {
	m := wire.Seeds{Source: source}
	for _, a := range addrs {
		m.Hosts = append(m.Hosts, wire.Seed{Host: hosts(flow.AddrFrom(a)), Generation: g})
	}
	slices.SortFunc(m.Hosts, func(a, b wire.Seed) int { return a.Host.Compare(b.Host) })
	m.Hosts = slices.Compact(m.Hosts)
	return m
}

// tellSeeds makes m the seeds of its source, unless it is already. A source
// that never told any does not start with none.
func tellSeeds(ctx context.Context, log Log, m wire.Seeds) error {
	payload := m.Append(nil)
	last, have, err := log.LastControl(ctx, m.Key())
	if err != nil {
		return fmt.Errorf("seeds: read the last ones: %w", err)
	}
	if bytes.Equal(have, payload) || last == 0 && len(m.Hosts) == 0 {
		return nil
	}
	if _, err := log.AppendControl(ctx, m.Key(), last, payload); err != nil {
		return fmt.Errorf("seeds: write: %w", err)
	}
	return nil
}
