package exporter

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// sink receives datagrams on loopback.
type sink struct{ conn *net.UDPConn }

func newSink(t *testing.T) sink {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.SetReadBuffer(8 << 20); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return sink{conn}
}

func (s sink) addr() netip.AddrPort { return s.conn.LocalAddr().(*net.UDPAddr).AddrPort() }

// packets returns what has arrived; senders on loopback have delivered when
// they return.
func (s sink) packets(t *testing.T) [][]byte {
	t.Helper()
	var all [][]byte
	buf := make([]byte, 1<<16)
	for {
		if err := s.conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		n, err := s.conn.Read(buf)
		if err != nil {
			return all
		}
		all = append(all, bytes.Clone(buf[:n]))
	}
}

func TestSenderDeliversInOrder(t *testing.T) {
	ctx := context.Background()
	for _, segment := range []bool{false, true} {
		in := newSink(t)
		s, err := OpenSender(SenderConfig{Target: in.addr(), Source: netip.MustParseAddr("127.0.0.9"), Segment: segment, Pace: NewPace(1e6)})
		if err != nil {
			t.Fatal(err)
		}
		var sent [][]byte
		// Runs of equal length, longer and shorter ones, more than 64 of one
		// length, and more than one IP packet can hold.
		for i, size := range slices.Concat(slices.Repeat([]int{100}, 200), []int{50, 70, 70, 60, 60, 80}, slices.Repeat([]int{1400}, 130)) {
			b := bytes.Repeat([]byte{byte(i)}, size)
			sent = append(sent, b)
			if err := s.Send(ctx, b); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Flush(ctx); err != nil {
			t.Fatal(err)
		}
		if got := in.packets(t); !slices.EqualFunc(got, sent, bytes.Equal) {
			t.Errorf("segment %v: received %d packets, want the %d sent ones in order", segment, len(got), len(sent))
		}
		for range 2 {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestSenderSource(t *testing.T) {
	in := newSink(t)
	s, err := OpenSender(SenderConfig{Target: in.addr(), Source: netip.MustParseAddr("127.0.0.77")})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Send(context.Background(), []byte{1}); err != nil {
		t.Fatal(err)
	}
	_, from, err := in.conn.ReadFromUDPAddrPort(make([]byte, 10))
	if err != nil || from.Addr().Unmap() != netip.MustParseAddr("127.0.0.77") {
		t.Errorf("packet from %v, %v; want 127.0.0.77", from, err)
	}
	_ = in.conn.Close()
	var failed error
	for range 3 { // one send provokes the refusal, the next one hears of it
		failed = errors.Join(failed, s.Send(context.Background(), []byte{1}))
	}
	if failed == nil {
		t.Error("sending to a closed port: no error")
	}
	if s.Close() != nil {
		t.Error("close fails")
	}
}

func BenchmarkSend(b *testing.B) {
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	packet := make([]byte, 1400)
	for _, segment := range []bool{false, true} {
		b.Run(fmt.Sprint("segment=", segment), func(b *testing.B) {
			s, err := OpenSender(SenderConfig{Target: conn.LocalAddr().(*net.UDPAddr).AddrPort(), Segment: segment})
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				if err := s.Send(context.Background(), packet); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "packets/s")
			_ = s.Close()
		})
	}
}
