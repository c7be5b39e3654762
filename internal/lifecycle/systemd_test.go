package lifecycle

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The messages that arrive at a notify socket are those of sd_notify(3).
func TestSystemdNotifier(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	SystemdNotifier{}.Notify("RELOADING=1", monotonic())
	buf := make([]byte, 200)
	_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	n, err := conn.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(buf[:n]), "\n")
	usec, found := strings.CutPrefix(lines[len(lines)-1], "MONOTONIC_USEC=")
	if v, err := strconv.ParseUint(usec, 10, 64); lines[0] != "RELOADING=1" || !found || err != nil || v == 0 {
		t.Errorf("got %q", buf[:n])
	}

	t.Setenv("WATCHDOG_USEC", "15000000")
	t.Setenv("WATCHDOG_PID", strconv.Itoa(os.Getpid()))
	if d := (SystemdNotifier{}).Watchdog(); d != 15*time.Second {
		t.Errorf("watchdog: got %s, want 15s", d)
	}
	t.Setenv("WATCHDOG_PID", "1")
	if d := (SystemdNotifier{}).Watchdog(); d != 0 {
		t.Errorf("watchdog of another process: got %s, want 0", d)
	}
}

// A child process gets sockets as systemd hands them over: descriptors from 3
// on, and LISTEN_PID, LISTEN_FDS, LISTEN_FDNAMES.
func TestActivation(t *testing.T) {
	if os.Getenv("ACTIVATED_CHILD") != "" {
		activatedChild()
		return
	}
	udp := func() *os.File {
		c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		f, err := c.File()
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	tcp, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	f := func(names, want string, files ...*os.File) {
		t.Helper()
		// The shell replaces itself, so that LISTEN_PID is the child's own.
		cmd := exec.Command("/bin/sh", "-c", `LISTEN_PID=$$ exec "$0" -test.run='^TestActivation$'`, os.Args[0])
		cmd.Env = append(os.Environ(), "ACTIVATED_CHILD=1", fmt.Sprintf("LISTEN_FDS=%d", len(files)), "LISTEN_FDNAMES="+names)
		cmd.ExtraFiles = files
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), want) {
			t.Errorf("%s: got %s (%v), want %q", names, out, err, want)
		}
	}
	f("netflow:sflow:netflow", "netflow 2 sflow 1 again 0\n", udp(), udp(), udp())
	f("netflow:netfow", `socket "netfow" from the service manager: unknown FileDescriptorName, want one of netflow, sflow`, udp(), udp())
	f("netflow", `socket "netflow" from the service manager: not a datagram socket`, tcp)
}

func activatedChild() {
	files, err := ActivatedDatagrams("netflow", "sflow")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("netflow %d sflow %d again %d\n", len(files["netflow"]), len(files["sflow"]), len(ActivatedFiles()))
}

// SIGHUP, SIGTERM and the notify socket work on a real process.
func TestRealSignals(t *testing.T) {
	if os.Getenv("SIGNAL_CHILD") != "" {
		signalChild()
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestRealSignals$")
	cmd.Env = append(os.Environ(), "SIGNAL_CHILD=1")
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "reloaded\nstopped\nend <nil>\n") {
		t.Errorf("got %s (%v)", out, err)
	}
}

func signalChild() {
	self, _ := os.FindProcess(os.Getpid())
	p := &Process{
		Parts: []Part{{
			Name: "a",
			Stop: func(context.Context) error { fmt.Println("stopped"); return nil },
		}},
		Reload: func(context.Context) error {
			fmt.Println("reloaded")
			return self.Signal(syscall.SIGTERM)
		},
		Logger:   slog.New(slog.DiscardHandler),
		Notifier: hangUpWhenReady{self},
	}
	fmt.Println("end", p.Run(context.Background()))
}

// hangUpWhenReady sends the process a SIGHUP once it is ready.
type hangUpWhenReady struct{ self *os.Process }

func (h hangUpWhenReady) Notify(assignments ...string) {
	if slices.Equal(assignments, []string{"READY=1", "STATUS=running"}) {
		if _, done := os.LookupEnv("HUNG_UP"); !done {
			_ = os.Setenv("HUNG_UP", "1")
			_ = h.self.Signal(syscall.SIGHUP)
		}
	}
}

func (hangUpWhenReady) Watchdog() time.Duration { return 0 }
