package listen_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"

	"github.com/flowhound/flowhound/collector/listen"
)

// count runs a worker whose context has ended and returns how many datagrams
// it delivered.
func count(t *testing.T, w *listen.Worker) (n int) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := w.Receive(ctx, func(batch []listen.Packet) { n += len(batch) }, nil); err != nil {
		t.Fatal(err)
	}
	return n
}

// TestEndReadsWhatWaits: what the kernel had taken when the end was asked for
// is delivered, whichever of the sockets holds it, more than one batch too.
func TestEndReadsWhatWaits(t *testing.T) {
	s := open(t, listen.Config{Addresses: []string{"127.0.0.1:0", "127.0.0.1:0"}, Workers: 1})
	const n = 20*listen.BatchSize + 7
	for i := range n {
		send(t, "127.0.0.1", s.Addresses()[i%2], fmt.Appendf(nil, "datagram %d", i))
	}
	if got := count(t, s.Worker(0)); got != n {
		t.Errorf("%d datagrams delivered at the end, want %d", got, n)
	}
}

// TestEndLeavesPassedSockets: the service manager keeps its sockets, and the
// next process reads what waits in them.
func TestEndLeavesPassedSockets(t *testing.T) {
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	f, err := c.(*net.UDPConn).File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	to := netip.MustParseAddrPort(c.LocalAddr().String())
	first := open(t, listen.Config{Files: []*os.File{f}, Workers: 1})
	const n = 100
	for range n {
		send(t, "127.0.0.1", to, []byte("x"))
	}
	if got := count(t, first.Worker(0)); got != 0 {
		t.Errorf("%d datagrams taken from a passed socket at the end, want 0", got)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	receive(t, open(t, listen.Config{Files: []*os.File{f}, Workers: 1}))(n)
}

// TestEndUnderFire: a sender that never pauses does not keep Receive alive.
func TestEndUnderFire(t *testing.T) {
	s := open(t, listen.Config{Addresses: []string{"127.0.0.1:0"}, Workers: 1, ReceiveBuffer: 1 << 16})
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(s.Addresses()[0]))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	stop := make(chan struct{})
	var sender sync.WaitGroup
	defer sender.Wait()
	defer close(stop)
	sender.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				_, _ = c.Write(make([]byte, 64))
			}
		}
	})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	n := 0
	// A handler that sends more than it was given keeps the queue full.
	err = s.Worker(0).Receive(ctx, func(batch []listen.Packet) {
		n += len(batch)
		for range 2 * len(batch) {
			_, _ = c.Write(make([]byte, 64))
		}
	}, nil)
	if most := 2*s.Stats()[0].ReceiveBuffer/512 + 2*listen.BatchSize; err != nil || n > most {
		t.Errorf("%d datagrams at the end, want at most %d; error %v", n, most, err)
	}
}
