// Package flow holds the types that every other package speaks: flow records
// as exporters send them, contacts between two hosts, pseudonyms, shards and
// slices. The words are those of RFC 7011 §2 and of docs/design.md.
package flow

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// Addr is a plain IP address in 16-byte form, IPv4 as ::ffff:a.b.c.d. It lives
// only inside the collector's memory and in the key-holder's tools, so every
// formatting verb and encoder prints a placeholder instead of the address;
// whoever may show it says so by calling [Addr.NetIP].
type Addr [16]byte

// redacted stands where a plain address would have been printed.
const redacted = "[address]"

// AddrFrom returns the 16-byte form of a. The zone of an IPv6 address is
// dropped.
func AddrFrom(a netip.Addr) Addr { return a.As16() }

// NetIP returns the address for a reader who may see it: the decode command
// and the reveal tool.
func (a Addr) NetIP() netip.Addr { return netip.AddrFrom16(a).Unmap() }

// Is4 reports whether a is an IPv4 address in its mapped form.
func (a Addr) Is4() bool {
	return binary.LittleEndian.Uint64(a[:8]) == 0 && binary.BigEndian.Uint32(a[8:12]) == 0xffff
}

// IsZero reports whether no byte of a is set: no address was decoded.
func (a Addr) IsZero() bool { return a == Addr{} }

// String returns a placeholder, never the address.
func (a Addr) String() string { return redacted }

// Format prints a placeholder for every verb, %x and %v included.
func (a Addr) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// MarshalText returns a placeholder, so that JSON, YAML and slog are safe too.
func (a Addr) MarshalText() ([]byte, error) { return []byte(redacted), nil }
