package collector

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/flowhound/flowhound/collector/pseudonym"
	"github.com/flowhound/flowhound/federation/wire"
	"github.com/flowhound/flowhound/internal/flow"
)

// Config are the settings of a collector.
type Config struct {
	// Name of this collector in the ring: 1 to 32 of a-z, 0-9 and "-". Each
	// collector needs its own, and keeps it over restarts. Default: local.
	Name string `yaml:"name"`
	// Addresses to receive export packets on over UDP, as host:port; without a
	// host, all IPv4 and IPv6 addresses. Every protocol is understood on every
	// port. Default: :2055 and :4739 (NetFlow, IPFIX), :6343 (sFlow).
	Listen []string `yaml:"listen"`
	// IPFIX over TCP and TLS.
	Sessions Sessions `yaml:"sessions"`
	// Flow messages of goflow2 from Kafka.
	Kafka Kafka `yaml:"kafka"`
	// Threads that receive and decode, each with its own sockets and tables;
	// 0 means one per CPU. Default: 0.
	Workers int `yaml:"workers"`
	// Receive buffer wanted per socket, in bytes; what the kernel granted is a
	// metric. Default: 67108864 (64 MiB).
	ReceiveBuffer int `yaml:"receive_buffer"`
	// Exporters that are listened to; packets of all others are dropped and
	// counted. An empty list listens to everybody. SIGHUP reloads it.
	// Default: empty.
	Exporters []Exporter `yaml:"exporters"`
	// Contacts that one exporter may begin in the time of one flush, so that
	// forged flows cannot fill the graph; beyond it, flow records that would
	// begin another one are dropped and counted, and the others still count. 0
	// means no limit. Default: 4194304.
	NewContacts int `yaml:"new_contacts"`
	// Take the 16 bits of the NetFlow v5 sampling field as the rate, for
	// exporters that ignore the two mode bits in it. Default: false.
	V5RawSampling bool `yaml:"v5_raw_sampling"`
	// Look into VXLAN packets of sFlow samples and report the inner hosts.
	// Default: false.
	VXLAN bool `yaml:"vxlan"`
	// The permutation keys.
	Keys Keys `yaml:"keys"`
	// How flows that several routers report are counted.
	Dedup Dedup `yaml:"dedup"`
	// The templates and sampling rates that exporters told, kept over restarts.
	Templates Templates `yaml:"templates"`
	// File with the IP addresses of known bots, such as a honeypot's visitors:
	// one per line, # starts a comment. SIGHUP reloads it. Empty for none.
	// Default: empty.
	Seeds string `yaml:"seeds"`
	// Time between two flushes of contacts into the log, 100ms to 10m.
	// Default: 10s.
	Flush time.Duration `yaml:"flush"`
	// Time after the end of a slice in which its flow records still count into
	// it, 0s to 1h. Default: 30s.
	Grace time.Duration `yaml:"grace"`
	// IPv4 contacts that one worker's table has room for, 256 to 67108864; two
	// tables of 65 bytes each per worker. At three quarters a flush comes
	// early. Default: 524288.
	Contacts int `yaml:"contacts"`
	// The same for IPv6, 89 bytes each. Default: 65536.
	ContactsIPv6 int `yaml:"contacts_ipv6"`
	// Contacts that wait in memory while the log does not answer, 144 bytes
	// each; beyond it the oldest flush is dropped as a whole. Default: 1048576.
	Queue int `yaml:"queue"`
	// Memory that remembers which contacts the greater of their two hosts was
	// told in the slice at hand, in bytes: telling it again would change
	// neither graph nor scores. 0 tells everything, else at least 33554432.
	// In a ring whose nodes share the hosts, 0 makes the flows and bytes exact
	// that explain shows for peers on other nodes. Default: 33554432 (32 MiB).
	FarFilter int `yaml:"far_filter"`
	// Keep flow records of loopback addresses (127.0.0.0/8, ::1) instead of
	// counting and dropping them. Default: false.
	KeepLoopback bool `yaml:"keep_loopback"`
	// Prefixes whose hosts are no part of the graph, such as the operator's
	// own resolvers and monitoring: flow records to or from them are counted
	// and dropped. Default: empty.
	Ignore []Prefix `yaml:"ignore"`

	// Slice is the ring's slice length, the same in all its members; the
	// process sets it. Default: 5m.
	Slice time.Duration `yaml:"-"`
}

// Keys are the settings of the permutation.
type Keys struct {
	// File that holds the keys, mode 0600. Created at the first start. Empty
	// means "keys" in the state directory. Default: empty.
	File string `yaml:"file"`
	// Name of the address space. It must match that of the file. Default:
	// default.
	Realm string `yaml:"realm"`
	// Leading bits kept of an IPv6 address, 32 to 128: hosts that share them
	// are one. It must match that of the file. Default: 64.
	IPv6Prefix int `yaml:"ipv6_prefix"`
	// Generation that new pseudonyms are made with; 0 means the newest in the
	// file. Default: 0.
	Generation int `yaml:"generation"`
}

// Dedup says whose counters of a flow count where several routers report it.
// The graph is the same in all modes: only flows, packets and bytes differ.
type Dedup struct {
	// Which counters count: "off", those of all records; "ingress", those of
	// records that do not say that they were metered where the flow leaves a
	// router; "first-come", those of the exporter that reported a flow first.
	// Default: ingress.
	Mode string `yaml:"mode"`
	// Time after which another exporter may report the flow, in first-come
	// mode: twice the routers' active timeout. Default: 2m.
	Timeout time.Duration `yaml:"timeout"`
	// Number of flows remembered in first-come mode, 16 bytes each, 1024 to 268435456,
	// rounded up to a power of two; beyond it, the one unheard of for longest
	// among its neighbours is forgotten, and counted. Default: 1048576.
	Flows int `yaml:"flows"`
}

// The modes of [Dedup].
const (
	dedupOff       = "off"
	dedupIngress   = "ingress"
	dedupFirstCome = "first-come"
)

// Templates says where templates are kept over restarts.
type Templates struct {
	// Path of the file, so that data is decoded from the first packet after a
	// restart; exporters stand in it by pseudonym. Empty means
	// "templates" in the state directory, "none" not to keep them. Default:
	// empty.
	File string `yaml:"file"`
}

// Exporter is one exporter, or a group that needs no telling apart.
type Exporter struct {
	// Name in metrics and listings: 1 to 64 letters, digits, dots, dashes and
	// underscores.
	Name string `yaml:"name"`
	// Addresses or prefixes that its packets come from; the longest prefix of
	// all exporters wins.
	From []Prefix `yaml:"from"`
	// What is known about its sampling.
	Sampling Sampling `yaml:"sampling"`
	// Contacts that each of its addresses may begin in the time of one flush;
	// 0 means collector.new_contacts. Default: 0.
	NewContacts int `yaml:"new_contacts"`
}

// Sampling is what the configuration says about an exporter's sampling.
type Sampling struct {
	// Rate 1:N assumed where the exporter tells none; 0 means 1. Default: 0.
	Default uint32 `yaml:"default"`
	// Use the default even where the exporter tells another rate. Default:
	// false.
	Force bool `yaml:"force"`
}

// Prefix is an IP prefix that may be written as a single address.
type Prefix struct{ netip.Prefix }

// UnmarshalText reads 192.0.2.0/24, 192.0.2.1, 2001:db8::/32 or 2001:db8::1.
func (p *Prefix) UnmarshalText(text []byte) error {
	s := string(text)
	if !strings.Contains(s, "/") {
		a, err := netip.ParseAddr(s)
		if err != nil || a.Zone() != "" {
			return fmt.Errorf("want an address such as 192.0.2.1 or a prefix such as 192.0.2.0/24, got %q", s)
		}
		p.Prefix = netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen())
		return nil
	}
	q, err := netip.ParsePrefix(s)
	if err != nil || q != q.Masked() || q.Addr().Is4In6() {
		return fmt.Errorf("want a prefix without host bits such as 192.0.2.0/24, got %q", s)
	}
	p.Prefix = q
	return nil
}

// DefaultConfig returns the settings that fit one box.
func DefaultConfig() Config {
	return Config{
		Name:          "local",
		Listen:        []string{":2055", ":4739", ":6343"},
		ReceiveBuffer: 64 << 20,
		Keys:          Keys{Realm: pseudonym.DefaultRealm, IPv6Prefix: pseudonym.DefaultIPv6Prefix},
		Flush:         10 * time.Second,
		Grace:         30 * time.Second,
		Contacts:      1 << 19,
		ContactsIPv6:  1 << 16,
		Queue:         1 << 20,
		FarFilter:     minFarFilter,
		NewContacts:   1 << 22,
		Dedup:         Dedup{Mode: dedupIngress, Timeout: 2 * time.Minute, Flows: 1 << 20},
		Slice:         5 * time.Minute,
		Kafka:         Kafka{Topic: "flow-messages", Group: "flowhound"},
		Sessions:      Sessions{MaxSessions: 256, IdleTimeout: 10 * time.Minute},
	}
}

// Validate returns the first setting that cannot work, its key first.
func (c Config) Validate() error {
	for i, address := range c.Listen {
		_, port, err := net.SplitHostPort(address)
		if n, portErr := strconv.ParseUint(port, 10, 16); err != nil || portErr != nil || n > 0 && slices.Contains(c.Listen[:i], address) {
			return fmt.Errorf("listen: %q, want host:port or :port, each once", address)
		}
	}
	if err := wire.CheckName(c.Name); err != nil {
		return fmt.Errorf("name: %q, want 1 to %d of a-z, 0-9 and \"-\"", c.Name, wire.MaxName)
	}
	ints := []struct {
		key           string
		got, min, max int
	}{
		{"workers", c.Workers, 0, 1024},
		{"receive_buffer", c.ReceiveBuffer, 0, 1 << 30},
		{"contacts", c.Contacts, 256, 1 << 26},
		{"contacts_ipv6", c.ContactsIPv6, 256, 1 << 26},
		{"queue", c.Queue, 1, 1 << 30},
		{"new_contacts", c.NewContacts, 0, 1 << 30},
		{"dedup.flows", c.Dedup.Flows, 1 << 10, 1 << 28},
		{"sessions.max_sessions", c.Sessions.MaxSessions, 1, 4096},
		{"keys.ipv6_prefix", c.Keys.IPv6Prefix, 32, 128},
		{"keys.generation", c.Keys.Generation, 0, 255},
	}
	for _, x := range ints {
		if x.got < x.min || x.got > x.max {
			return fmt.Errorf("%s: %d, want %d to %d", x.key, x.got, x.min, x.max)
		}
	}
	if m := c.Dedup.Mode; m != dedupOff && m != dedupIngress && m != dedupFirstCome {
		return fmt.Errorf("dedup.mode: %q, want %s, %s or %s", m, dedupOff, dedupIngress, dedupFirstCome)
	}
	if c.FarFilter != 0 && (c.FarFilter < minFarFilter || c.FarFilter > 1<<36) {
		return fmt.Errorf("far_filter: %d, want 0 or %d to %d", c.FarFilter, minFarFilter, 1<<36)
	}
	times := []struct {
		key           string
		got, min, max time.Duration
	}{
		{"flush", c.Flush, 100 * time.Millisecond, 10 * time.Minute},
		{"grace", c.Grace, 0, time.Hour},
		{"dedup.timeout", c.Dedup.Timeout, time.Second, time.Hour},
		{"slice", c.Slice, time.Second, 24 * time.Hour},
		{"sessions.idle_timeout", c.Sessions.IdleTimeout, time.Second, 24 * time.Hour},
	}
	for _, x := range times {
		if x.got < x.min || x.got > x.max {
			return fmt.Errorf("%s: %v, want %v to %v", x.key, x.got, x.min, x.max)
		}
	}
	if c.Keys.Realm == "" {
		return fmt.Errorf("keys.realm: want a name")
	}
	if err := c.Sessions.files().Validate(); err != nil {
		return fmt.Errorf("sessions.tls: %w", err)
	}
	if err := c.Kafka.validate(); err != nil {
		return err
	}
	_, err := newAccess(c.Exporters)
	return err
}

// generation returns the configured generation, or the newest of keys.
func (k Keys) generation(keys *pseudonym.Keys) flow.Generation {
	if k.Generation == 0 {
		return keys.Newest()
	}
	return flow.Generation(k.Generation)
}
