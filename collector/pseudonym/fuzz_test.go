package pseudonym

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

// A file that verifies has a hash in every line, so that no other bytes do.
func FuzzVerifyAudit(f *testing.F) {
	line := auditLine{Seq: 1, Time: time.Unix(0, 0).UTC().Format(time.RFC3339), User: "u", Case: "c", Reason: "r",
		Prev: strings.Repeat("0", 64)}
	text, err := line.text()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte(`{"seq":1}` + "\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := VerifyAudit(bytes.NewReader(b))
		if err == nil && (c.Lines != uint64(bytes.Count(b, []byte("\n"))) || bytes.Count(b, []byte(`,"hash":"`)) < int(c.Lines)) {
			t.Fatalf("%q verifies with %d lines", b, c.Lines)
		}
	})
}
