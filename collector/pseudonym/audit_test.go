package pseudonym

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/flowhound/flowhound/internal/flow"
)

const canary = "203.0.113.99"

func auditFixture(t *testing.T) (*KeyFile, string, Request) {
	t.Helper()
	f, keys := createKeys(t)
	p, err := f.Permuter(1)
	if err != nil {
		t.Fatal(err)
	}
	s := p.Host(flow.AddrFrom(netip.MustParseAddr(canary))).Pseudonym
	return f, filepath.Join(filepath.Dir(keys), "audit.jsonl"), Request{
		Time: time.Unix(1_700_000_000, 0), User: "ada", Case: "ABUSE-17", Reason: "bot in cluster 3", Pseudonym: s.Text(1),
	}
}

func TestRevealLeavesALine(t *testing.T) {
	f, path, r := auditFixture(t)
	for range 3 {
		if a, err := Reveal(f.Keys, path, r); err != nil || a.String() != canary {
			t.Fatalf("Reveal: %v, %v", a, err)
		}
	}
	bad := r
	bad.Pseudonym = flow.Pseudonym{1}.Text(1)
	if _, err := Reveal(f.Keys, path, bad); !errors.Is(err, ErrWrongKey) {
		t.Fatalf("stranger's pseudonym: %v, want ErrWrongKey", err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	c, err := VerifyAudit(bytes.NewReader(text))
	if err != nil || c.Lines != 4 {
		t.Fatalf("VerifyAudit: %+v, %v, want 4 lines", c, err)
	}
	if n := bytes.Count(text, []byte(`"outcome":"refused`)); n != 1 {
		t.Errorf("%d refused lines, want 1:\n%s", n, text)
	}
	if bytes.Contains(text, []byte(canary)) {
		t.Errorf("the audit file holds the address:\n%s", text)
	}
}

func TestAuditSeesEveryFlip(t *testing.T) {
	f, path, r := auditFixture(t)
	for range 2 {
		if _, err := Reveal(f.Keys, path, r); err != nil {
			t.Fatal(err)
		}
	}
	text, _ := os.ReadFile(path)
	for i := range text {
		bad := bytes.Clone(text)
		bad[i] ^= 1
		if _, err := VerifyAudit(bytes.NewReader(bad)); err == nil {
			t.Errorf("bit 0 of byte %d (%q) flipped: the chain verifies", i, text[i])
		}
	}
	lines := bytes.SplitAfter(text, []byte("\n"))
	if _, err := VerifyAudit(bytes.NewReader(slices.Concat(rehash(lines[0], "cluster 3", "cluster 4"), lines[1]))); err == nil {
		t.Error("the first line rewritten with its own hash: the chain verifies")
	}
	if _, err := VerifyAudit(bytes.NewReader(lines[1])); err == nil {
		t.Error("the first line removed: the chain verifies")
	}
	if err := os.WriteFile(path, lines[1], 0o600); err != nil {
		t.Fatal(err)
	}
	if a, err := Reveal(f.Keys, path, r); err == nil {
		t.Errorf("broken chain: revealed %v", a)
	}
}

// rehash changes a line and gives it the hash that then belongs to it.
func rehash(line []byte, from, to string) []byte {
	body, _, _ := bytes.Cut(bytes.Replace(line, []byte(from), []byte(to), 1), []byte(`,"hash"`))
	return fmt.Appendf(bytes.Clone(body), `,"hash":"%x"}`+"\n", sha256.Sum256(body))
}

func TestRevealNeedsItsLine(t *testing.T) {
	f, path, r := auditFixture(t)
	refuse := func(what string, r Request, path string) {
		t.Helper()
		if a, err := Reveal(f.Keys, path, r); err == nil || a.IsValid() {
			t.Errorf("%s: revealed %v, %v", what, a, err)
		}
	}
	noCase, noReason, noUser := r, r, r
	noCase.Case, noReason.Reason, noUser.User = "", "", ""
	refuse("no case", noCase, path)
	refuse("no reason", noReason, path)
	refuse("no user", noUser, path)
	refuse("no directory", r, filepath.Join(path, "none", "audit"))
	refuse("full disk", r, "/dev/full")
	long := r
	long.Reason = strings.Repeat("x", maxAuditLine)
	refuse("endless reason", long, path)
}

func TestAuditGoesOnAfterACrash(t *testing.T) {
	f, path, r := auditFixture(t)
	for range 2 {
		if _, err := Reveal(f.Keys, path, r); err != nil {
			t.Fatal(err)
		}
	}
	info, _ := os.Stat(path)
	if err := os.Truncate(path, info.Size()-10); err != nil {
		t.Fatal(err)
	}
	if _, err := Reveal(f.Keys, path, r); err != nil {
		t.Fatal(err)
	}
	text, _ := os.ReadFile(path)
	if c, err := VerifyAudit(bytes.NewReader(text)); err != nil || c.Lines != 2 {
		t.Errorf("after the repair: %+v, %v, want 2 lines", c, err)
	}
	if !bytes.Contains(text, []byte("removed an incomplete line")) {
		t.Errorf("the repair is not noted:\n%s", text)
	}
}

func TestAuditOfManyAtOnce(t *testing.T) {
	f, path, r := auditFixture(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 5 {
				if _, err := Reveal(f.Keys, path, r); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	fd, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer fd.Close()
	if c, err := VerifyAudit(fd); err != nil || c.Lines != 40 {
		t.Errorf("40 requests at once: %+v, %v", c, err)
	}
}
