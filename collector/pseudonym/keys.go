package pseudonym

import (
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strconv"

	"github.com/flowhound/flowhound/internal/flow"
)

// secretSize is the length of the random secrets in a key file.
const secretSize = 32

// maxGeneration is the last generation a key file can hold; generations start
// at 1.
const maxGeneration = 255

// DefaultRealm names the addresses of an operator that uses one address space.
const DefaultRealm = "default"

// ErrNoGeneration occurs when a key file has no key for a generation: it was
// erased, or never made.
var ErrNoGeneration = errors.New("no key of this generation")

// Keys are the secrets of one realm: one per generation, and one that fixes
// the shards for good. Each generation has a secret of its own, so that
// erasing it makes its pseudonyms irreversible for everybody.
type Keys struct {
	realm       string
	prefix      int
	shards      [secretSize]byte
	generations []generation // ascending, at least one
}

type generation struct {
	number flow.Generation
	secret [secretSize]byte
}

// NewKeys returns keys with generation 1, drawn from random. The realm names
// one address space (an operator, a VRF) so that the same private address in
// two realms is two hosts: 1 to 64 letters, digits, dots, dashes or
// underscores. prefix is the number of IPv6 bits kept, 32 to 128.
func NewKeys(random io.Reader, realm string, prefix int) (*Keys, error) {
	if err := checkRealm(realm); err != nil {
		return nil, err
	}
	if err := checkPrefix(prefix); err != nil {
		return nil, err
	}
	k := &Keys{realm: realm, prefix: prefix}
	if _, err := io.ReadFull(random, k.shards[:]); err != nil {
		return nil, fmt.Errorf("draw the shard secret: %w", err)
	}
	if err := k.add(random); err != nil {
		return nil, err
	}
	return k, nil
}

// Realm returns the name of the address space.
func (k *Keys) Realm() string { return k.realm }

// IPv6Prefix returns the number of leading bits kept of an IPv6 address.
func (k *Keys) IPv6Prefix() int { return k.prefix }

// Generations returns the generations that have a key, ascending.
func (k *Keys) Generations() []flow.Generation {
	var gs []flow.Generation
	for _, g := range k.generations {
		gs = append(gs, g.number)
	}
	return gs
}

// Newest returns the generation that was added last.
func (k *Keys) Newest() flow.Generation {
	return k.generations[len(k.generations)-1].number
}

// Permuter returns the permuter of generation g, or [ErrNoGeneration].
func (k *Keys) Permuter(g flow.Generation) (*Permuter, error) {
	i := k.find(g)
	if i < 0 {
		return nil, fmt.Errorf("generation %d: %w", g, ErrNoGeneration)
	}
	key := derive(k.generations[i].secret, "ipcrypt-deterministic|flowhound|"+k.realm+"|"+strconv.Itoa(int(g)))
	route := derive(k.shards, "flowhound-shard|"+k.realm)
	defer clear(key[:])
	defer clear(route[:])
	return NewPermuter(key, route, g, k.prefix)
}

// Reveal returns the address behind s, which was made in generation g. The
// errors are [ErrNoGeneration] and [ErrWrongKey].
func (k *Keys) Reveal(s flow.Pseudonym, g flow.Generation) (netip.Addr, error) {
	p, err := k.Permuter(g)
	if err != nil {
		return netip.Addr{}, err
	}
	a, err := p.Reveal(s)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("pseudonym %s: %w", s.Text(g), err)
	}
	return a, nil
}

// Wipe overwrites the secrets. Permuters made before go on working.
func (k *Keys) Wipe() {
	clear(k.shards[:])
	for i := range k.generations {
		clear(k.generations[i].secret[:])
	}
}

func (k *Keys) add(random io.Reader) error {
	g := generation{number: 1}
	if n := len(k.generations); n > 0 {
		if k.Newest() == maxGeneration {
			return fmt.Errorf("add a generation: %d are the most a key file can have, start a new one", maxGeneration)
		}
		g.number = k.Newest() + 1
	}
	if _, err := io.ReadFull(random, g.secret[:]); err != nil {
		return fmt.Errorf("draw the secret of generation %d: %w", g.number, err)
	}
	k.generations = append(k.generations, g)
	return nil
}

// erase forgets the secret of g. The newest stays, because its number would be
// given out again.
func (k *Keys) erase(g flow.Generation) error {
	i := k.find(g)
	switch {
	case i < 0:
		return fmt.Errorf("erase generation %d: %w", g, ErrNoGeneration)
	case g == k.Newest():
		return fmt.Errorf("erase generation %d: it is the newest, rotate first", g)
	}
	clear(k.generations[i].secret[:])
	k.generations = slices.Delete(k.generations, i, i+1)
	return nil
}

func (k *Keys) find(g flow.Generation) int {
	return slices.IndexFunc(k.generations, func(x generation) bool { return x.number == g })
}

// derive makes a permutation key by HKDF-SHA256 (RFC 5869) without salt. The
// info strings of different purposes differ, so the keys are independent, as
// the draft's section on key management demands.
func derive(secret [secretSize]byte, info string) (key [KeySize]byte) {
	b, err := hkdf.Key(sha256.New, secret[:], nil, info, KeySize)
	if err != nil {
		panic("BUG: HKDF refuses 16 bytes: " + err.Error())
	}
	copy(key[:], b)
	clear(b)
	return key
}

func checkRealm(realm string) error {
	if len(realm) < 1 || len(realm) > 64 {
		return fmt.Errorf("realm %q: want 1 to 64 characters", realm)
	}
	for _, c := range realm {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !letter && c != '.' && c != '-' && c != '_' {
			return fmt.Errorf("realm %q: want letters, digits, dots, dashes and underscores only", realm)
		}
	}
	return nil
}
