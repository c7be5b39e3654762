package load

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// process is a receiver in a process of its own, and its children.
type process struct {
	cmd    *exec.Cmd
	output output
	ended  chan error
	before time.Duration // its CPU time when it was ready
}

// output keeps what a process prints.
type output struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// startProcess starts a command on one core, if there is one to spare.
func startProcess(cmd *exec.Cmd) (*process, error) {
	p := &process{cmd: cmd, ended: make(chan error, 1)}
	cmd.Stdout, cmd.Stderr = &p.output, &p.output
	start := cmd.Start
	if core, _, ok := cores(); ok {
		start = func() error { return pinned(core, cmd.Start) }
	}
	if err := start(); err != nil {
		return nil, err
	}
	go func() { p.ended <- cmd.Wait() }()
	return p, nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// fail adds what the process said last to an error about it.
func (p *process) fail(err error) error {
	text := strings.TrimSpace(p.output.String())
	return fmt.Errorf("%s: %w: %q", filepath.Base(p.cmd.Path), err, text[max(0, len(text)-300):])
}

// stop ends the process and returns all the CPU time of it and of the children
// that it waited for.
func (p *process) stop(signal os.Signal) (time.Duration, error) {
	if err := p.cmd.Process.Signal(signal); err != nil {
		return 0, p.fail(err)
	}
	select {
	case <-p.ended: // how it exits on a signal is its own affair
	case <-time.After(stopTime):
		_ = p.cmd.Process.Kill()
		<-p.ended
		return 0, p.fail(errors.New("it did not end"))
	}
	s := p.cmd.ProcessState
	return s.UserTime() + s.SystemTime(), nil
}

// kill ends a process that nothing is wanted of any more.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it may have ended
	for _, pid := range tree(p.pid())[1:] {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
}

// cpu returns the CPU time of the process and its living descendants.
func (p *process) cpu() (total time.Duration) {
	for _, pid := range tree(p.pid()) {
		if f := statFields(pid); f != nil {
			total += ticks(f[11]) + ticks(f[12]) // utime and stime of proc(5)
		}
	}
	return total
}

// ticks turns clock ticks into time: USER_HZ is 100 on every architecture that
// Go runs on.
func ticks(s string) time.Duration {
	n, _ := strconv.ParseInt(s, 10, 64)
	return time.Duration(n) * 10 * time.Millisecond
}

// statFields returns the fields of /proc/<pid>/stat from the state on, which
// follow the parenthesised name; nil if there is no such process.
func statFields(pid int) []string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil
	}
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	if len(fields) < 13 {
		return nil
	}
	return fields
}

// tree returns a process and its descendants, itself first.
func tree(root int) []int {
	children := map[int][]int{}
	names, _ := filepath.Glob("/proc/[0-9]*")
	for _, name := range names {
		pid, _ := strconv.Atoi(filepath.Base(name))
		if f := statFields(pid); f != nil {
			parent, _ := strconv.Atoi(f[1])
			children[parent] = append(children[parent], pid)
		}
	}
	all := []int{root}
	for i := 0; i < len(all); i++ {
		all = append(all, children[all[i]]...)
	}
	return all
}

// quiet waits until the process has done what it had to do: until its CPU time
// stands still for a while.
func (p *process) quiet(ctx context.Context) (time.Duration, error) {
	const still = 300 * time.Millisecond
	last, since := p.cpu(), time.Now()
	for time.Since(since) < still {
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return 0, ctx.Err()
		}
		// One tick is housekeeping.
		if now := p.cpu(); now > last+10*time.Millisecond {
			last, since = now, time.Now()
		}
	}
	return p.cpu(), nil
}

// socket is a duplicate of another process's UDP socket, by which its queue
// can be made larger and looked into.
type socket struct{ fd int }

// findSocket waits until p or a child of it has bound the address, and
// duplicates the socket (pidfd_getfd(2)), which needs root or the same user
// without Yama's restrictions.
func (p *process) findSocket(ctx context.Context, address netip.AddrPort) (*socket, error) {
	var s *socket
	var failed error
	err := await(ctx, 10*time.Second, func() bool {
		select {
		case err := <-p.ended:
			p.ended <- err
			failed = errors.Join(errors.New("it ended"), err)
			return true
		default:
		}
		for _, pid := range tree(p.pid()) {
			if s, failed = socketOf(pid, address); s != nil || failed != nil {
				return true
			}
		}
		return false
	})
	if err = errors.Join(err, failed); err != nil {
		return nil, p.fail(err)
	}
	return s, nil
}

// socketOf duplicates a process's socket of an address; nil if it has none.
func socketOf(pid int, address netip.AddrPort) (*socket, error) {
	entries, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	for _, e := range entries {
		link, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", pid, e.Name()))
		if err != nil || !strings.HasPrefix(link, "socket:") {
			continue
		}
		number, _ := strconv.Atoi(e.Name())
		fd, err := duplicate(pid, number)
		if err != nil {
			return nil, err
		}
		kind, _ := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
		if kind == unix.SOCK_DGRAM && boundTo(fd, address.Port()) {
			return &socket{fd}, nil
		}
		_ = unix.Close(fd)
	}
	return nil, nil
}

func duplicate(pid, number int) (int, error) {
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return -1, fmt.Errorf("pidfd_open: %w", err)
	}
	defer unix.Close(pidfd)
	fd, err := unix.PidfdGetfd(pidfd, number, 0)
	if err != nil {
		return -1, fmt.Errorf("pidfd_getfd: %w", err)
	}
	return fd, nil
}

func boundTo(fd int, port uint16) bool {
	name, err := unix.Getsockname(fd)
	if err != nil {
		return false
	}
	switch a := name.(type) {
	case *unix.SockaddrInet4:
		return a.Port == int(port)
	case *unix.SockaddrInet6:
		return a.Port == int(port)
	}
	return false
}

// grow makes the receive queue as large as it may be.
func (s *socket) grow() error {
	if unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, prefillBuffer) == nil {
		return nil
	}
	return unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, prefillBuffer)
}

// memory returns the bytes that waiting packets take, and the packets that the
// kernel dropped (SO_MEMINFO of linux/sock_diag.h).
func (s *socket) memory() (queued, limit, drops uint32) {
	var info [9]uint32
	size := uint32(unsafe.Sizeof(info))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(s.fd), unix.SOL_SOCKET, unix.SO_MEMINFO,
		uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		panic("BUG: SO_MEMINFO: " + errno.Error())
	}
	return info[0], info[1], info[8]
}

func (s *socket) close() { _ = unix.Close(s.fd) }
