// Package pseudonym replaces IP addresses by keyed reversible pseudonyms and,
// for whoever holds the key file, turns them back. The permutation is
// ipcrypt-deterministic of draft-denis-ipcrypt: one AES-128 block over the
// 16-byte form of the address. A second key, which outlives key rotation,
// assigns each host its shard.
//
// Output is pseudonymised, never anonymous: popular hosts can be recognised by
// their number of contacts under any key, and the key reveals the whole IPv4
// space within seconds.
package pseudonym

import (
	"crypto/aes"
	"crypto/cipher"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/flowhound/flowhound/internal/flow"
)

// KeySize is the length of a permutation key in bytes (AES-128, as the draft
// fixes it).
const KeySize = 16

// DefaultIPv6Prefix is the number of leading bits that are kept of an IPv6
// address, so that the temporary addresses of one subscriber (RFC 8981) stay
// one host.
const DefaultIPv6Prefix = 64

// ErrWrongKey occurs when a pseudonym decrypts to something that no address of
// its realm can be: it was made with another key, generation or realm.
var ErrWrongKey = errors.New("not a pseudonym of this key and generation")

// Permuter maps addresses to hosts under the keys of one generation. It is not
// safe for concurrent use; [Permuter.Clone] gives each goroutine its own.
type Permuter struct {
	block      cipher.Block // the generation's permutation
	route      cipher.Block // the realm's shard key, the same in every generation
	generation flow.Generation
	prefix     int
	mask       [16]byte // of IPv6 addresses
	in, out    [16]byte // scratch that may escape into cipher.Block once, not per call
}

// NewPermuter returns the permuter of the given keys. prefix is the number of
// IPv6 bits kept, 32 to 128. The keys are copied into AES key schedules; the
// caller may wipe its own.
func NewPermuter(key, route [KeySize]byte, g flow.Generation, prefix int) (*Permuter, error) {
	if err := checkPrefix(prefix); err != nil {
		return nil, err
	}
	p := &Permuter{generation: g, prefix: prefix, mask: prefixMask(prefix)}
	p.block = mustAES(key)
	p.route = mustAES(route)
	return p, nil
}

// Clone returns an independent permuter of the same keys.
func (p *Permuter) Clone() *Permuter {
	c := *p
	return &c
}

// Generation returns the generation whose pseudonyms p makes.
func (p *Permuter) Generation() flow.Generation { return p.generation }

// IPv6Prefix returns the number of leading bits kept of an IPv6 address.
func (p *Permuter) IPv6Prefix() int { return p.prefix }

// Cut returns a with the IPv6 bits beyond the prefix cleared; IPv4 addresses
// are returned as they are. Two addresses with equal cuts are one host.
func (p *Permuter) Cut(a flow.Addr) flow.Addr {
	if a.Is4() {
		return a
	}
	for i, m := range p.mask {
		a[i] &= m
	}
	return a
}

// Host returns the pseudonym and the shard of a.
func (p *Permuter) Host(a flow.Addr) (h flow.Host) {
	p.Name(&h, &a)
	return h
}

// Name sets h to the host of a. It is Host for the millions: a Host is copied
// in pieces that are not those in which it was written, which is as dear as
// the encryption.
func (p *Permuter) Name(h *flow.Host, a *flow.Addr) {
	p.in = *a
	if !a.Is4() {
		p.in = p.Cut(*a)
	}
	p.route.Encrypt(p.out[:], p.in[:])
	h.Shard = flow.Shard(p.out[0])
	p.block.Encrypt(p.out[:], p.in[:])
	h.Pseudonym = p.out
}

// Router returns the pseudonym of an exporter's own address, of which nothing
// is cut: two routers of one IPv6 prefix are two. Of an IPv4 address it is
// that of the host.
func (p *Permuter) Router(a flow.Addr) flow.Pseudonym {
	p.in = a
	p.block.Encrypt(p.out[:], p.in[:])
	return p.out
}

// Hosts appends the hosts of addrs to dst, in their order.
func (p *Permuter) Hosts(dst []flow.Host, addrs []flow.Addr) []flow.Host {
	dst = slices.Grow(dst, len(addrs))
	for i := range addrs {
		dst = dst[:len(dst)+1]
		p.Name(&dst[len(dst)-1], &addrs[i])
	}
	return dst
}

// Reveal returns the address, or the first address of the IPv6 prefix, that
// has pseudonym s. [ErrWrongKey] tells that no address has it: a wrong key
// passes unnoticed with probability 2^-(128-prefix) or less.
func (p *Permuter) Reveal(s flow.Pseudonym) (netip.Addr, error) {
	p.in = s
	p.block.Decrypt(p.out[:], p.in[:])
	a := flow.Addr(p.out)
	if a != p.Cut(a) {
		return netip.Addr{}, ErrWrongKey
	}
	return a.NetIP(), nil
}

func checkPrefix(prefix int) error {
	if prefix < 32 || prefix > 128 {
		return fmt.Errorf("IPv6 prefix %d: want 32 to 128", prefix)
	}
	return nil
}

func prefixMask(prefix int) (m [16]byte) {
	for i := range prefix {
		m[i/8] |= 0x80 >> (i % 8)
	}
	return m
}

func mustAES(key [KeySize]byte) cipher.Block {
	b, err := aes.NewCipher(key[:])
	if err != nil {
		panic("BUG: AES-128 refuses a 16-byte key: " + err.Error())
	}
	return b
}
