package feed

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The test binary runs itself as another process; this variable says as what.
const childRole = "FLOWHOUND_FEED_CHILD"

func child(role string) int {
	roles := map[string]func(args []string) error{
		"writer": func(a []string) error { return writer(a[0]) },
		"server": func(a []string) error { return natsServer(a[0], a[1]) },
		"full":   func(a []string) error { return fullDisk(a[0]) },
		"spool":  func(a []string) error { return spool(a[0], a[1]) },
	}
	if err := roles[role](os.Args[1:]); err != nil {
		fmt.Println("error:", err)
		return 1
	}
	return 0
}

// process is a child; lines receives its standard output and is closed at its
// end.
type process struct {
	cmd   *exec.Cmd
	lines chan string
}

func start(t *testing.T, attr *syscall.SysProcAttr, role string, args ...string) *process {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, args...)
	cmd.Env = append(os.Environ(), childRole+"="+role)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = attr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Skipf("cannot start a child process as %s: %v", role, err)
	}
	p := &process{cmd, make(chan string, 1<<16)}
	go func() {
		defer close(p.lines)
		for in := bufio.NewReader(out); ; {
			line, err := in.ReadString('\n')
			if err != nil { // a line that the kill cut short says nothing
				_, _ = io.Copy(io.Discard, in)
				return
			}
			p.lines <- strings.TrimSpace(line)
		}
	}()
	t.Cleanup(p.kill)
	return p
}

// kill ends the child by SIGKILL and waits for it.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}

// line waits for the child's next line.
func (p *process) line(t *testing.T) string {
	t.Helper()
	select {
	case line, ok := <-p.lines:
		if !ok {
			t.Fatal("the child ended")
		}
		return line
	case <-time.After(20 * time.Second):
		t.Fatal("the child says nothing")
	}
	return ""
}
