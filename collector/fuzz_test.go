package collector

import (
	"strings"
	"testing"
)

// Whatever a seeds file holds, it yields addresses or an error with a line.
func FuzzParseSeeds(f *testing.F) {
	f.Add("10.0.0.1\n# c\n2001:db8::1 # bot\n")
	f.Add("10.0.0.0/8\n\x00")
	f.Fuzz(func(t *testing.T, text string) {
		addrs, err := parseSeeds(strings.NewReader(text))
		if err != nil && (err.Error()[0] < '1' || err.Error()[0] > '9') {
			t.Fatalf("%q: error without a line: %v", text, err)
		}
		if len(addrs) > strings.Count(text, "\n")+1 {
			t.Fatalf("%q: %d addresses", text, len(addrs))
		}
	})
}
