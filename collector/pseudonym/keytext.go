package pseudonym

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/flowhound/flowhound/internal/flow"
)

// A key file is text, one "name: value" a line, in this order:
//
//	version: 1
//	realm: default
//	ipv6_prefix: 64
//	shard_secret: <64 hex digits>
//	generation_1: <64 hex digits>
//	…
//	check: <first 16 hex digits of the SHA-256 of all lines above>
//
// Lines that start with # are comments; they count for the check.
const keyHeader = `# FlowHound permutation keys. Whoever reads this file can turn every pseudonym
# back into an address: keep it 0600, back it up, keep it off the detectors.
`

// appendText appends the text form of k to b.
func (k *Keys) appendText(b []byte) []byte {
	start := len(b)
	b = append(b, keyHeader...)
	b = fmt.Appendf(b, "version: 1\nrealm: %s\nipv6_prefix: %d\nshard_secret: %x\n", k.realm, k.prefix, k.shards)
	for _, g := range k.generations {
		b = fmt.Appendf(b, "generation_%d: %x\n", g.number, g.secret)
	}
	return fmt.Appendf(b, "check: %s\n", checkSum(b[start:]))
}

// parseKeys reads the text form of keys. Errors name the line and never quote
// a secret.
func parseKeys(text string) (*Keys, error) {
	body, check, ok := cutLastLine(text)
	if !ok || check != "check: "+checkSum([]byte(body)) {
		return nil, errors.New("the check line does not match: the file is incomplete or was edited")
	}
	k := new(Keys)
	next := 0
	for i, line := range strings.Split(strings.TrimSuffix(body, "\n"), "\n") {
		if strings.HasPrefix(line, "#") {
			continue
		}
		if err := k.parseLine(next, line); err != nil {
			return nil, fmt.Errorf("line %d: %w", i+1, err)
		}
		next++
	}
	if len(k.generations) == 0 {
		return nil, errors.New("no generation in it")
	}
	return k, nil
}

// parseLine reads the n-th line that is not a comment, counted from 0.
func (k *Keys) parseLine(n int, line string) error {
	name, value, ok := strings.Cut(line, ": ")
	if !ok {
		return errors.New(`want "name: value"`)
	}
	fixed := []string{"version", "realm", "ipv6_prefix", "shard_secret"}
	if n < len(fixed) && name != fixed[n] {
		return fmt.Errorf("want %s", fixed[n])
	}
	switch n {
	case 0:
		if value != "1" {
			return fmt.Errorf("version %q: this FlowHound reads version 1", value)
		}
		return nil
	case 1:
		k.realm = value
		return checkRealm(value)
	case 2:
		prefix, err := strconv.Atoi(value)
		if err != nil {
			return fmt.Errorf("ipv6_prefix %q: want a number", value)
		}
		k.prefix = prefix
		return checkPrefix(prefix)
	case 3:
		return parseSecret(&k.shards, value)
	}
	return k.parseGeneration(name, value)
}

func (k *Keys) parseGeneration(name, value string) error {
	number, ok := strings.CutPrefix(name, "generation_")
	n, err := strconv.ParseUint(number, 10, 8)
	if !ok || err != nil || n == 0 {
		return fmt.Errorf("want generation_1 to generation_%d", maxGeneration)
	}
	g := generation{number: flow.Generation(n)}
	if len(k.generations) > 0 && g.number <= k.Newest() {
		return fmt.Errorf("generation %d after %d: want them ascending", g.number, k.Newest())
	}
	if err := parseSecret(&g.secret, value); err != nil {
		return err
	}
	k.generations = append(k.generations, g)
	return nil
}

func parseSecret(dst *[secretSize]byte, value string) error {
	b, err := hex.DecodeString(value)
	if err != nil || len(b) != len(dst) {
		return fmt.Errorf("want %d hex digits", 2*len(dst))
	}
	copy(dst[:], b)
	clear(b)
	return nil
}

func cutLastLine(text string) (body, last string, ok bool) {
	text, ok = strings.CutSuffix(text, "\n")
	i := strings.LastIndexByte(text, '\n')
	if !ok || i < 0 {
		return "", "", false
	}
	return text[:i+1], text[i+1:], true
}

func checkSum(body []byte) string {
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:8])
}
