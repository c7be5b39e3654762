package pseudonym

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/flowhound/flowhound/internal/flow"
)

// maxAuditLine bounds one line of an audit file in bytes.
const maxAuditLine = 1 << 14

// Request says who asks for an address, and why. Every field is required.
type Request struct {
	Time      time.Time
	User      string // who asks
	Case      string // identifier in the operator's own case system
	Reason    string
	Pseudonym string // as printed, "p1.<generation>.<26 letters>"
}

// auditLine is one line of an audit file. Hash is the SHA-256 of the line's
// bytes before `,"hash"`, and Prev the Hash of the line before.
type auditLine struct {
	Seq       uint64 `json:"seq"`
	Time      string `json:"time"`
	User      string `json:"user"`
	Case      string `json:"case"`
	Reason    string `json:"reason"`
	Pseudonym string `json:"pseudonym"`
	Outcome   string `json:"outcome"`
	Note      string `json:"note,omitempty"`
	Prev      string `json:"prev"`
}

// Chain is the state of an audit file: how many lines it has and the hash of
// the last. Whoever keeps a copy elsewhere can tell later that lines were cut
// off or that the whole file was written anew.
type Chain struct {
	Lines uint64 `json:"lines"`
	Head  string `json:"head"` // 64 hex digits, zeros when there is no line
}

// Reveal turns r.Pseudonym back into its address and leaves an audit line in
// the file at path, which is created when missing. The line is on disk before
// the address is returned; when it cannot be written, or the chain of the file
// is broken, nothing is revealed. Refused requests leave a line too. The line
// never holds the address.
func Reveal(k *Keys, path string, r Request) (netip.Addr, error) {
	if r.User == "" || r.Case == "" || r.Reason == "" {
		return netip.Addr{}, errors.New("reveal: want a user, a case and a reason")
	}
	s, g, err := flow.ParsePseudonym(r.Pseudonym)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("reveal: %w", err)
	}
	a, revealErr := k.Reveal(s, g)
	outcome := "revealed"
	if revealErr != nil {
		outcome = "refused: " + revealErr.Error()
	}
	if err := appendAudit(path, r, outcome); err != nil {
		return netip.Addr{}, fmt.Errorf("reveal: audit file %s: %w", path, err)
	}
	if revealErr != nil {
		return netip.Addr{}, fmt.Errorf("reveal: %w", revealErr)
	}
	return a, nil
}

// VerifyAudit reads audit lines to the end of r and checks that each one is
// whole and names the hash of the line before. The error names the first line
// that does not fit.
func VerifyAudit(r io.Reader) (Chain, error) {
	c, rest, err := readChain(r)
	if err == nil && rest > 0 {
		err = fmt.Errorf("line %d: incomplete", c.Lines+1)
	}
	return c, err
}

// readChain follows the chain; rest is the length of a last line without its
// newline, which a crash leaves when nothing was answered yet.
func readChain(r io.Reader) (c Chain, rest int, err error) {
	c.Head = strings.Repeat("0", 2*sha256.Size)
	br := bufio.NewReaderSize(r, maxAuditLine)
	for {
		line, err := br.ReadSlice('\n')
		if err == io.EOF {
			return c, len(line), nil
		}
		if err != nil {
			return c, 0, fmt.Errorf("line %d: %w", c.Lines+1, err)
		}
		hash, err := checkLine(bytes.TrimSuffix(line, []byte("\n")), c)
		if err != nil {
			return c, 0, fmt.Errorf("line %d: %w", c.Lines+1, err)
		}
		c = Chain{Lines: c.Lines + 1, Head: hash}
	}
}

// checkLine returns the hash of a line that continues chain c.
func checkLine(line []byte, c Chain) (string, error) {
	const tail = len(`,"hash":""}`) + 2*sha256.Size
	if len(line) <= tail {
		return "", errors.New("too short for an audit line")
	}
	body := line[:len(line)-tail]
	sum := sha256.Sum256(body)
	hash := hex.EncodeToString(sum[:])
	if string(line[len(body):]) != `,"hash":"`+hash+`"}` {
		return "", errors.New("the hash does not match the line")
	}
	var l auditLine
	if err := json.Unmarshal(append(bytes.Clone(body), '}'), &l); err != nil {
		return "", err
	}
	if l.Prev != c.Head || l.Seq != c.Lines+1 {
		return "", errors.New("it does not continue the line before")
	}
	return hash, nil
}

// appendAudit adds one line under an exclusive lock and syncs it to disk.
func appendAudit(path string, r Request, outcome string) error {
	fd, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return cause(err)
	}
	defer fd.Close()
	if err := syscall.Flock(int(fd.Fd()), syscall.LOCK_EX); err != nil {
		return fmt.Errorf("lock: %w", err)
	}
	info, err := fd.Stat()
	if err != nil {
		return cause(err)
	}
	c, rest, err := readChain(fd)
	if err != nil {
		return err
	}
	line := auditLine{Seq: c.Lines + 1, Time: r.Time.UTC().Format(time.RFC3339Nano), User: r.User, Case: r.Case,
		Reason: r.Reason, Pseudonym: r.Pseudonym, Outcome: outcome, Prev: c.Head}
	if rest > 0 {
		// A request died before its line was whole, hence unanswered.
		line.Note = fmt.Sprintf("removed an incomplete line of %d bytes", rest)
		if err := fd.Truncate(info.Size() - int64(rest)); err != nil {
			return cause(err)
		}
	}
	text, err := line.text()
	if err != nil {
		return err
	}
	if _, err := fd.Write(text); err != nil {
		return cause(err)
	}
	if err := fd.Sync(); err != nil {
		return cause(err)
	}
	if info.Size() == 0 {
		return syncDir(filepath.Dir(path))
	}
	return nil
}

// text returns the line with its hash and a newline.
func (l auditLine) text() ([]byte, error) {
	b, err := json.Marshal(l)
	if err != nil {
		return nil, err
	}
	b = b[:len(b)-1]
	sum := sha256.Sum256(b)
	b = fmt.Appendf(b, `,"hash":"%x"}`+"\n", sum)
	if len(b) > maxAuditLine {
		return nil, fmt.Errorf("a line of %d bytes, want at most %d: shorten the reason", len(b), maxAuditLine)
	}
	return b, nil
}
