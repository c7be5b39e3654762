//go:build !linux

package listen

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"time"
)

// Sockets are the open sockets.
type Sockets struct {
	worker Worker
}

// Worker receives from all sockets.
type Worker struct {
	conns          []*net.UDPConn
	packets, bytes atomic.Uint64
}

// Open opens a socket for each address; passed sockets are not supported.
func Open(cfg Config) (*Sockets, error) {
	s := &Sockets{}
	if len(cfg.Files) > 0 || len(cfg.Addresses) == 0 {
		return nil, errors.New("listen: want addresses; passed sockets are supported on Linux only")
	}
	for _, address := range cfg.Addresses {
		a, err := net.ResolveUDPAddr("udp", address)
		if err != nil {
			return nil, err
		}
		conn, err := net.ListenUDP("udp", a)
		if err != nil {
			return nil, errors.Join(err, s.Close())
		}
		if cfg.ReceiveBuffer == 0 {
			cfg.ReceiveBuffer = DefaultReceiveBuffer
		}
		_ = conn.SetReadBuffer(cfg.ReceiveBuffer) // the system may allow less
		s.worker.conns = append(s.worker.conns, conn)
	}
	return s, nil
}

// Workers returns 1.
func (s *Sockets) Workers() int { return 1 }

// Worker returns the only worker.
func (s *Sockets) Worker(int) *Worker { return &s.worker }

// Addresses returns the addresses listened on.
func (s *Sockets) Addresses() (as []netip.AddrPort) {
	for _, c := range s.worker.conns {
		as = append(as, c.LocalAddr().(*net.UDPAddr).AddrPort())
	}
	return as
}

// Close closes the sockets; Receive returns.
func (s *Sockets) Close() (err error) {
	for _, c := range s.worker.conns {
		if e := c.Close(); !errors.Is(e, net.ErrClosed) {
			err = errors.Join(err, e)
		}
	}
	return err
}

// Stats returns the counts of all sockets together.
func (s *Sockets) Stats() []SocketStats {
	return []SocketStats{{Packets: s.worker.packets.Load(), Bytes: s.worker.bytes.Load()}}
}

// Receive reads datagrams until ctx ends or the sockets are closed. The batch
// belongs to handle only during the call; idle is called now and then. When
// ctx ends, what waits in the sockets is read first.
func (w *Worker) Receive(ctx context.Context, handle func(batch []Packet), idle func()) error {
	slot := make([]byte, MaxDatagram+Slack)
	for ctx.Err() == nil {
		for _, c := range w.conns {
			switch err := w.read(c, slot, time.Second/10/time.Duration(len(w.conns)), handle); {
			case errors.Is(err, net.ErrClosed):
				return nil
			case errors.Is(err, os.ErrDeadlineExceeded):
				if idle != nil {
					idle()
				}
			case err != nil:
				return err
			}
		}
	}
	for _, c := range w.conns {
		// Bounded, so that a sender that never pauses cannot prolong it.
		for range 1 << 17 {
			if w.read(c, slot, time.Millisecond, handle) != nil {
				break
			}
		}
	}
	return nil
}

// read gives one datagram to handle.
func (w *Worker) read(c *net.UDPConn, slot []byte, patience time.Duration, handle func([]Packet)) error {
	_ = c.SetReadDeadline(time.Now().Add(patience))
	n, from, err := c.ReadFromUDPAddrPort(slot[:MaxDatagram])
	if err != nil {
		return err
	}
	w.packets.Add(1)
	w.bytes.Add(uint64(n))
	from = netip.AddrPortFrom(from.Addr().Unmap().WithZone(""), from.Port())
	handle([]Packet{{From: from, Data: slot[:n]}})
	return nil
}
