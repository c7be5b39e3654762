package flow

import (
	"fmt"
	"strconv"
	"strings"
)

// Text returns the printed form of p, "p1.<generation>.<26 letters>".
func (p Pseudonym) Text(g Generation) string {
	return "p1." + strconv.Itoa(int(g)) + "." + pseudonymText.EncodeToString(p[:])
}

// String returns the printed form without a generation, for logs.
func (p Pseudonym) String() string { return pseudonymText.EncodeToString(p[:]) }

// ParsePseudonym reads the form that [Pseudonym.Text] prints.
func ParsePseudonym(s string) (Pseudonym, Generation, error) {
	var p Pseudonym
	parts := strings.Split(s, ".")
	if len(parts) != 3 || parts[0] != "p1" {
		return p, 0, fmt.Errorf("pseudonym %q: want p1.<generation>.<26 letters>", s)
	}
	g, err := strconv.ParseUint(parts[1], 10, 8)
	if err != nil {
		return p, 0, fmt.Errorf("pseudonym %q: generation: %w", s, err)
	}
	b, err := pseudonymText.DecodeString(parts[2])
	if err != nil || len(b) != len(p) {
		return p, 0, fmt.Errorf("pseudonym %q: want 26 letters of a-z2-7 after the generation", s)
	}
	copy(p[:], b)
	return p, Generation(g), nil
}
