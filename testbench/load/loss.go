package load

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/flowhound/flowhound/testbench/exporter"
)

// Loss is what a collector on one core lost of a steady stream.
type Loss struct {
	PacketsPerSecond float64 `json:"packets_per_second"` // that were sent
	Seconds          float64 `json:"seconds"`
	Sent             uint64  `json:"packets_sent"`
	Received         uint64  `json:"packets_received"`
	Dropped          uint64  `json:"packets_dropped"` // by the kernel
	CPU              float64 `json:"cpu_share"`       // of the core that the collector took
	OneCore          bool    `json:"one_core"`        // whether sender and collector had a core each
	wanted           float64 // packets per second
}

func (l *Loss) rows() []row {
	if l == nil {
		return nil
	}
	what := fmt.Sprintf("zero loss at %.0f joined packets/s for %.0f s", l.wanted, l.Seconds)
	value := fmt.Sprintf("%d of %d packets lost, %.0f %% of a core", l.Sent-min(l.Sent, l.Received), l.Sent, 100*l.CPU)
	if l.PacketsPerSecond < .98*l.wanted {
		value += fmt.Sprintf("; the sender managed %.0f packets/s", l.PacketsPerSecond)
	}
	return []row{{what: what, value: value, target: "0 lost",
		met: l.Received >= l.Sent && l.PacketsPerSecond >= .98*l.wanted}}
}

// apart runs f on the sender's core, if there are two.
func apart(f func() error) error {
	if _, core, ok := cores(); ok {
		return pinned(core, f)
	}
	return f()
}

// measureLoss sends to FlowHound in a process of its own, bound to one core. The
// pairs of hosts recur, as an ISP's do within a minute. Packets come joined, as
// from a fast network card: one core does not send so many apart.
func (r *run) measureLoss() error {
	address, err := freeAddress()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp(r.dir, "loss-")
	if err != nil {
		return err
	}
	cmd, _ := r.own().command("", dir, address)
	p, err := startProcess(cmd)
	if err != nil {
		return err
	}
	defer p.kill()
	s, err := p.findSocket(r.ctx, address)
	if err != nil {
		return err
	}
	defer s.close()
	if p.before, err = p.quiet(r.ctx); err != nil {
		return err
	}
	l := &Loss{wanted: r.cfg.LossRate}
	_, _, l.OneCore = cores()
	f, err := newFiller(address, r.repeats, exporter.NewPace(r.cfg.LossRate), true)
	if err != nil {
		return err
	}
	begin := time.Now()
	err = apart(func() error { return r.stream(f, begin.Add(r.cfg.Loss)) })
	l.Seconds = time.Since(begin).Seconds()
	if err := errors.Join(err, f.close()); err != nil {
		return err
	}
	took, err := p.quiet(r.ctx)
	if err != nil {
		return err
	}
	_, _, drops := s.memory()
	if _, err := p.stop(unix.SIGTERM); err != nil {
		return err
	}
	a, err := readAccount(p.output.String())
	if err != nil {
		return p.fail(err)
	}
	l.Sent, l.Received, l.Dropped = f.sent, a.Packets, uint64(drops)
	l.PacketsPerSecond = float64(f.sent) / l.Seconds
	l.CPU = (took - p.before).Seconds() / l.Seconds
	r.result.Loss = l
	return nil
}

// stream sends until a moment.
func (r *run) stream(f *filler, until time.Time) error {
	if err := f.templates(r.ctx); err != nil {
		return err
	}
	for time.Now().Before(until) {
		if err := f.fill(r.ctx, exporters*burst); err != nil {
			return err
		}
	}
	return nil
}

// restartRate is in packets per second.
const restartRate = 20_000

// Restart is what a restart of the collector under load lost. Templates are
// sent once, at the start: what is not on disk is lost for good.
type Restart struct {
	Flows uint64 `json:"flows_sent"` // in each run
	// Lost are the flows that no commit in the log covers: with sockets that
	// the collector opens, and with a socket that a service manager holds.
	Lost     uint64 `json:"flows_lost"`
	LostHeld uint64 `json:"flows_lost_socket_held"`
	heldSent uint64
}

func (x *Restart) rows() []row {
	if x == nil {
		return nil
	}
	share, held := 100*float64(x.Lost)/float64(x.Flows), 100*float64(x.LostHeld)/float64(max(1, x.heldSent))
	return []row{
		atMost("lost over a restart at 20,000 packets/s", share, 1, "%.2f", " %"),
		atMost("the same, socket held by the service manager", held, 0, "%.2f", " %"),
	}
}

func (r *run) measureRestart() (err error) {
	x := &Restart{}
	if x.Flows, x.Lost, err = r.restart(false); err != nil {
		return err
	}
	if x.heldSent, x.LostHeld, err = r.restart(true); err != nil {
		return err
	}
	r.result.Restart = x
	return nil
}

// restart sends for six seconds; after two it stops the collector and starts
// it again.
func (r *run) restart(held bool) (sent, lost uint64, err error) {
	address, err := freeAddress()
	if err != nil {
		return 0, 0, err
	}
	dir, err := os.MkdirTemp(r.dir, "restart-")
	if err != nil {
		return 0, 0, err
	}
	var files []*os.File
	if held {
		if files, err = holdSocket(address.String()); err != nil {
			return 0, 0, err
		}
		defer files[0].Close()
	}
	begin := func() (*process, error) {
		cmd, _ := r.own().command("", dir, address)
		if held {
			cmd = activated(cmd, files)
		}
		p, err := startProcess(cmd)
		if err != nil {
			return nil, err
		}
		ready := func() bool { return strings.Contains(p.output.String(), "ready") }
		if err := await(r.ctx, 10*time.Second, ready); err != nil {
			p.kill()
			return nil, p.fail(err)
		}
		return p, nil
	}
	first, err := begin()
	if err != nil {
		return 0, 0, err
	}
	defer first.kill()
	f, err := newFiller(address, r.repeats, exporter.NewPace(restartRate), false)
	if err != nil {
		return 0, 0, err
	}
	f.tolerant, f.renews = true, true
	sending := make(chan error, 1)
	go func() {
		sending <- r.stream(f, time.Now().Add(6*time.Second))
	}()
	time.Sleep(2 * time.Second)
	if _, err := first.stop(unix.SIGTERM); err != nil {
		return 0, 0, err
	}
	second, err := begin()
	if err != nil {
		return 0, 0, err
	}
	defer second.kill()
	if err := errors.Join(<-sending, f.close()); err != nil {
		return 0, 0, err
	}
	if _, err := second.quiet(r.ctx); err != nil {
		return 0, 0, err
	}
	if _, err := second.stop(unix.SIGTERM); err != nil {
		return 0, 0, err
	}
	total := uint64(0)
	for _, p := range []*process{first, second} {
		a, err := readAccount(p.output.String())
		if err != nil {
			return 0, 0, p.fail(err)
		}
		total += a.Records
	}
	return f.flows, f.flows - min(f.flows, total), nil
}

// holdSocket opens the socket as flowhound.socket does.
func holdSocket(address string) ([]*os.File, error) {
	c, err := net.ListenPacket("udp4", address)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	f, err := c.(*net.UDPConn).File()
	if err != nil {
		return nil, err
	}
	// ReceiveBuffer= is forced by systemd, too.
	_ = unix.SetsockoptInt(int(f.Fd()), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 64<<20)
	return []*os.File{f}, nil
}

// activated makes a command find files as sd_listen_fds(3) says. The shell is
// there because LISTEN_PID is the process's own.
func activated(cmd *exec.Cmd, files []*os.File) *exec.Cmd {
	script := fmt.Sprintf(`LISTEN_PID=$$ LISTEN_FDS=%d LISTEN_FDNAMES=netflow exec "$0" "$@"`, len(files))
	x := exec.CommandContext(context.Background(), "/bin/sh", append([]string{"-c", script, cmd.Path}, cmd.Args[1:]...)...)
	x.ExtraFiles = files
	return x
}
