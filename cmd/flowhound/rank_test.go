package main

import (
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/flowhound/flowhound/detector/graph"
	"github.com/flowhound/flowhound/detector/rank"
)

// Ranks that are further from the definition than rounding or the tolerance
// allow are an error, and so are those that are no numbers.
func TestVerifyRanks(t *testing.T) {
	v := graph.FromLinks(3, []uint32{0, 0, 1}, []uint32{1, 2, 2})
	f := func(p rank.Params, change float64, right bool) {
		t.Helper()
		got, err := rank.Run(v, p)
		if err != nil {
			t.Fatal(err)
		}
		got[0].Client[1] += change
		if err := verifyRanks(io.Discard, got[0], rank.Reference(v, p)[0], p); (err == nil) != right {
			t.Errorf("%+v, a rank changed by %g: got %v", p, change, err)
		}
	}
	counted, near := rank.Params{Damping: 0.5, Iterations: 3}, rank.Params{Damping: 0.5, Tolerance: 1e-9}
	f(counted, 0, true)
	f(counted, 2e-12, false)
	f(near, 0, true)
	f(near, 4e-9, false)
	f(near, math.NaN(), false)
}

// terminal returns the two ends of a pseudo-terminal: what a program writes to
// its end appears at the screen.
func terminal(t *testing.T) (program, screen *os.File) {
	t.Helper()
	screen, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("no pseudo-terminal here: %v", err)
	}
	t.Cleanup(func() { screen.Close() })
	number, err := unix.IoctlGetInt(int(screen.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(screen.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	return program, screen
}

// Who loads a long list at a terminal sees how far it is, of standard input too;
// nothing of that is left behind, and a pipe or file gets none of it.
func TestProgressOfLoading(t *testing.T) {
	path := filepath.Join(t.TempDir(), "links.txt")
	if err := os.WriteFile(path, []byte(strings.Repeat("1 2\n2 3\n", 1<<19)), 0o600); err != nil {
		t.Fatal(err)
	}
	f := func(edges, want string) {
		t.Helper()
		stdin, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer stdin.Close()
		program, screen := terminal(t)
		seen := make(chan string)
		go func() {
			b, _ := io.ReadAll(screen) // ends with an error when the program's end is closed
			seen <- string(b)
		}()
		code := run(t.Context(), []string{"rank", "--edges", edges}, stdin, io.Discard, program)
		program.Close()
		text := <-seen
		if code != 0 || !strings.Contains(text, want) {
			t.Errorf("%s: got exit status %d, screen %q, want %q on it", edges, code, text, want)
		}
		before, sum, _ := strings.Cut(text, edges+": ") // the bar goes before the sum comes
		if !strings.HasSuffix(before, " \r") || strings.Count(sum, "\r\n") != 1 || !strings.HasSuffix(sum, "\r\n") {
			t.Errorf("%s: the bar stays on the screen: %q", edges, text)
		}
	}
	f(path, "% |")
	f("-", "reading links")

	var log strings.Builder
	if code := run(t.Context(), []string{"rank", "--edges", path}, nil, io.Discard, &log); code != 0 || strings.Contains(log.String(), "reading") {
		t.Errorf("without a terminal: got exit status %d, %q", code, log.String())
	}
}
