package listen_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/flowhound/flowhound/collector/listen"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// open opens sockets and closes them with the test.
func open(t testing.TB, cfg listen.Config) *listen.Sockets {
	t.Helper()
	s, err := listen.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// got is what a worker was given.
type got struct {
	worker int
	from   netip.AddrPort
	data   string
	slack  int
}

// receive starts all workers and returns a function that waits for n
// datagrams.
func receive(t *testing.T, s *listen.Sockets) func(n int) []got {
	t.Helper()
	var mu sync.Mutex
	var all []got
	var wg sync.WaitGroup
	for i := range s.Workers() {
		wg.Go(func() {
			err := s.Worker(i).Receive(context.Background(), func(batch []listen.Packet) {
				mu.Lock()
				defer mu.Unlock()
				for _, p := range batch {
					all = append(all, got{i, p.From, string(p.Data), cap(p.Data) - len(p.Data)})
				}
			}, nil)
			if err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(func() { _ = s.Close(); wg.Wait() })
	return func(n int) []got {
		deadline := time.Now().Add(10 * time.Second)
		for {
			mu.Lock()
			if len(all) >= n || time.Now().After(deadline) {
				defer mu.Unlock()
				if len(all) != n {
					t.Fatalf("got %d datagrams, want %d", len(all), n)
				}
				return all
			}
			mu.Unlock()
			time.Sleep(time.Millisecond)
		}
	}
}

// send sends data from one address to another.
func send(t testing.TB, from string, to netip.AddrPort, data []byte) {
	t.Helper()
	c, err := net.DialUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(from+":0")), net.UDPAddrFromAddrPort(to))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write(data); err != nil {
		t.Fatal(err)
	}
}

// TestReceive: each datagram arrives once, with its source and slack, on
// several addresses, in batches larger than one.
func TestReceive(t *testing.T) {
	s := open(t, listen.Config{Addresses: []string{"127.0.0.1:0", "127.0.0.1:0"}, Workers: 2})
	const n = 200
	for i := range n {
		send(t, "127.0.0.1", s.Addresses()[i%2], fmt.Appendf(nil, "datagram %d", i))
	}
	seen := make(map[string]bool)
	for _, g := range receive(t, s)(n) {
		seen[g.data] = true
		if g.from.Addr().String() != "127.0.0.1" || g.slack < listen.Slack {
			t.Errorf("from %v with %d bytes of slack, want 127.0.0.1 and at least %d", g.from, g.slack, listen.Slack)
		}
	}
	if len(seen) != n {
		t.Errorf("got %d different datagrams, want %d", len(seen), n)
	}
	var packets, bytes uint64
	for _, k := range s.Stats() {
		packets += k.Packets
		bytes += k.Bytes
		if k.ReceiveBuffer <= 0 {
			t.Errorf("%s: receive buffer %d", k.Address, k.ReceiveBuffer)
		}
	}
	if packets != n || bytes == 0 {
		t.Errorf("counted %d packets of %d bytes, want %d", packets, bytes, n)
	}
}

// TestSteering: an exporter belongs to one worker whatever port it sends from
// and whichever address it sends to, and exporters spread over the workers.
func TestSteering(t *testing.T) {
	s := open(t, listen.Config{Addresses: []string{"127.0.0.1:0", ":0"}, Workers: 4})
	const exporters, ports = 32, 6
	for e := range exporters {
		for p := range ports {
			to := s.Addresses()[p%2]
			if to.Addr() == netip.IPv6Unspecified() {
				to = netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), to.Port())
			}
			send(t, fmt.Sprintf("127.0.%d.1", e), to, []byte("x"))
		}
	}
	workers := make(map[netip.Addr]map[int]bool)
	used := make(map[int]bool)
	for _, g := range receive(t, s)(exporters * ports) {
		if workers[g.from.Addr()] == nil {
			workers[g.from.Addr()] = make(map[int]bool)
		}
		workers[g.from.Addr()][g.worker] = true
		used[g.worker] = true
	}
	if len(workers) != exporters {
		t.Errorf("saw %d exporters, want %d: IPv4 sources must not be mapped", len(workers), exporters)
	}
	for addr, of := range workers {
		if len(of) != 1 {
			t.Errorf("exporter %v reached workers %v, want one", addr, of)
		}
	}
	if len(used) != 4 {
		t.Errorf("%d exporters used workers %v, want all 4", exporters, used)
	}
}

// TestSteeringIPv6 does the same for the one IPv6 source that loopback has.
func TestSteeringIPv6(t *testing.T) {
	s, err := listen.Open(listen.Config{Addresses: []string{"[::1]:0"}, Workers: 4})
	if err != nil {
		t.Skipf("no IPv6 here: %v", err)
	}
	t.Cleanup(func() { _ = s.Close() })
	for range 16 {
		send(t, "[::1]", s.Addresses()[0], []byte("x"))
	}
	all := receive(t, s)(16)
	for _, g := range all {
		if g.worker != all[0].worker || g.from.Addr() != netip.IPv6Loopback() {
			t.Errorf("worker %d from %v, want worker %d from ::1", g.worker, g.from, all[0].worker)
		}
	}
}

// TestJoined: datagrams that the kernel joined come apart again, the shorter
// last one too, in more than one batch. A sender's UDP_SEGMENT over loopback
// joins them where a network card's driver would.
func TestJoined(t *testing.T) {
	s := open(t, listen.Config{Addresses: []string{"127.0.0.1:0"}, Workers: 1})
	const size, n = 20, 100
	var all []byte
	for i := range n {
		all = append(all, fmt.Sprintf("%-*d", size, i)...)
	}
	oob := binary.NativeEndian.AppendUint64(nil, uint64(unix.CmsgLen(2)))
	oob = binary.NativeEndian.AppendUint32(oob, unix.SOL_UDP)
	oob = binary.NativeEndian.AppendUint32(oob, unix.UDP_SEGMENT)
	oob = binary.NativeEndian.AppendUint64(oob, size)
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, _, err := c.WriteMsgUDPAddrPort(all[:len(all)-size/2], oob, s.Addresses()[0]); err != nil {
		t.Skipf("the kernel sends no segments: %v", err)
	}
	send(t, "127.0.0.1", s.Addresses()[0], []byte("alone"))
	for i, g := range receive(t, s)(n + 1) {
		want := fmt.Sprintf("%-*d", size, i)
		switch i {
		case n - 1:
			want = want[:size/2]
		case n:
			want = "alone"
		}
		if g.data != want || g.slack < listen.Slack || i < n && g.from != c.LocalAddr().(*net.UDPAddr).AddrPort() {
			t.Errorf("datagram %d: %q from %v with %d bytes of slack, want %q from %v", i, g.data, g.from, g.slack, want, c.LocalAddr())
		}
	}
	if k := s.Stats()[0]; k.Packets != n+1 || k.Bytes != uint64(len(all)-size/2+len("alone")) {
		t.Errorf("counted %d packets of %d bytes, want %d", k.Packets, k.Bytes, n+1)
	}
}

// TestTruncated: a datagram above MaxDatagram is cut and counted.
func TestTruncated(t *testing.T) {
	s := open(t, listen.Config{Addresses: []string{"127.0.0.1:0"}, Workers: 1})
	send(t, "127.0.0.1", s.Addresses()[0], make([]byte, 9216))
	send(t, "127.0.0.1", s.Addresses()[0], make([]byte, 9217))
	all := receive(t, s)(2)
	if len(all[0].data) != 9216 || len(all[1].data) != 9216 || all[1].slack < listen.Slack {
		t.Errorf("lengths %d and %d, slack %d", len(all[0].data), len(all[1].data), all[1].slack)
	}
	if n := s.Stats()[0].Truncated; n != 1 {
		t.Errorf("truncated: got %d, want 1", n)
	}
}

// TestInUse: a port that another process listens on is an error of one clear
// line, even where he shares it by SO_REUSEPORT.
func TestInUse(t *testing.T) {
	for _, share := range []bool{false, true} {
		lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
			if !share {
				return nil
			}
			var err error
			_ = c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) })
			return err
		}}
		c, err := lc.ListenPacket(t.Context(), "udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		address := c.LocalAddr().String()
		_, err = listen.Open(listen.Config{Addresses: []string{address}, Workers: 2})
		if want := "listen udp " + address + ": address already in use"; err == nil || err.Error() != want {
			t.Errorf("share %v: got error %v, want %q", share, err, want)
		}
		c.Close()
	}
}

func TestBadConfig(t *testing.T) {
	f := func(cfg listen.Config, want string) {
		t.Helper()
		s, err := listen.Open(cfg)
		if err == nil {
			s.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: got error %v, want %q in it", cfg, err, want)
		}
	}
	f(listen.Config{}, "no address")
	f(listen.Config{Addresses: []string{"127.0.0.1"}}, "missing port")
	f(listen.Config{Addresses: []string{"127.0.0.1:0"}, Workers: -1}, "out of range")
	f(listen.Config{Addresses: []string{"203.0.113.9:2055"}}, "cannot assign requested address")
	f(listen.Config{Files: []*os.File{os.Stdin}}, "passed socket")
}

// TestPassedSockets: sockets of one address that systemd opened with
// ReusePort= are spread over the workers and steered.
func TestPassedSockets(t *testing.T) {
	own := open(t, listen.Config{Addresses: []string{"127.0.0.1:0"}, Workers: 1})
	var files []*os.File
	address := ""
	for range 3 {
		lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
			var err error
			_ = c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) })
			return err
		}}
		if address == "" {
			address = "127.0.0.1:0"
		}
		c, err := lc.ListenPacket(t.Context(), "udp", address)
		if err != nil {
			t.Fatal(err)
		}
		address = c.LocalAddr().String()
		f, err := c.(*net.UDPConn).File()
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
		files = append(files, f)
	}
	s := open(t, listen.Config{Files: files, Workers: 3})
	for _, f := range files {
		f.Close()
	}
	for e := range 16 {
		for range 3 {
			send(t, fmt.Sprintf("127.0.%d.1", e), netip.MustParseAddrPort(address), []byte("x"))
		}
	}
	of := make(map[netip.Addr]int)
	used := make(map[int]bool)
	for _, g := range receive(t, s)(48) {
		if w, ok := of[g.from.Addr()]; ok && w != g.worker {
			t.Errorf("exporter %v reached workers %d and %d", g.from.Addr(), w, g.worker)
		}
		of[g.from.Addr()] = g.worker
		used[g.worker] = true
	}
	if len(used) != 3 {
		t.Errorf("used workers %v, want all 3", used)
	}
	_ = own
}

// TestKernelDrops: what the kernel throws away is counted: sent = received +
// dropped, exactly.
func TestKernelDrops(t *testing.T) {
	s := open(t, listen.Config{Addresses: []string{"127.0.0.1:0"}, Workers: 1, ReceiveBuffer: 1 << 16})
	k := s.Stats()[0]
	if k.ReceiveBuffer >= 1<<22 {
		t.Fatalf("receive buffer %d, want about 64 KiB", k.ReceiveBuffer)
	}
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(s.Addresses()[0]))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	const n = 2000
	for range n {
		if _, err := c.Write(make([]byte, 1400)); err != nil {
			t.Fatal(err)
		}
	}
	dropped := s.Stats()[0].KernelDrops
	if dropped == 0 || dropped >= n || s.Stats()[0].Queued == 0 {
		t.Fatalf("dropped %d of %d, queued %d bytes", dropped, n, s.Stats()[0].Queued)
	}
	receive(t, s)(int(n - dropped))
}

// TestEnd: Receive ends with its context and can be called again, and Close
// may be called twice and at any time.
func TestEnd(t *testing.T) {
	s := open(t, listen.Config{Addresses: []string{"127.0.0.1:0"}, Workers: 1})
	for range 3 {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
		if err := s.Worker(0).Receive(ctx, func([]listen.Packet) {}, nil); err != nil || !errors.Is(ctx.Err(), context.DeadlineExceeded) {
			t.Fatalf("Receive: %v, context: %v", err, ctx.Err())
		}
		cancel()
	}
	done := make(chan error)
	go func() { done <- s.Worker(0).Receive(context.Background(), func([]listen.Packet) {}, nil) }()
	time.Sleep(10 * time.Millisecond)
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := s.Worker(0).Receive(context.Background(), func([]listen.Packet) {}, nil); err != nil {
		t.Error(err)
	}
	s.Stats()
}

// TestIdle: a quiet worker gets the chance to flush.
func TestIdle(t *testing.T) {
	s := open(t, listen.Config{Addresses: []string{"127.0.0.1:0"}, Workers: 1})
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	called := false
	if err := s.Worker(0).Receive(ctx, func([]listen.Packet) {}, func() { called = true; cancel() }); err != nil || !called {
		t.Errorf("idle called: %v, error %v", called, err)
	}
}

// BenchmarkReceive drains a queue that was filled before, as a busy collector
// does. The kernel's share is about 0.7 µs a datagram.
func BenchmarkReceive(b *testing.B) {
	s := open(b, listen.Config{Addresses: []string{"127.0.0.1:0"}, Workers: 1, ReceiveBuffer: 256 << 20})
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(s.Addresses()[0]))
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	data := make([]byte, 1416)
	binary.BigEndian.PutUint16(data, 9)
	const fill = 20000
	for received := 0; received < b.N; {
		b.StopTimer()
		for range fill {
			_, _ = c.Write(data)
		}
		b.StartTimer()
		ctx, cancel := context.WithCancel(context.Background())
		var n atomic.Int64
		_ = s.Worker(0).Receive(ctx, func(batch []listen.Packet) {
			if n.Add(int64(len(batch))) >= fill {
				cancel()
			}
		}, cancel)
		received += int(n.Load())
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "packets/s")
}
