// Package listen receives export datagrams: one SO_REUSEPORT socket per
// listener address and worker, read in batches by recvmmsg(2).
package listen

import (
	"context"
	"net/netip"
	"os"
)

// Config are the settings of [Open].
type Config struct {
	Addresses     []string // "host:port"; an empty host means all addresses, IPv4 and IPv6
	Workers       int      // 0 means GOMAXPROCS
	ReceiveBuffer int      // bytes per socket; 0 means 64 MiB
	// Files are sockets passed by systemd (several of one name allowed), used
	// instead of opening Addresses where it is not empty.
	Files []*os.File
}

// Packet is one received datagram.
type Packet struct {
	From netip.AddrPort // unmapped: an IPv4 source is an IPv4 address
	Data []byte         // has at least Slack bytes of capacity behind its length
}

// Slack is the number of bytes behind each datagram that may be read.
const Slack = 16

// Sockets are the open sockets of all workers.
type Sockets struct{}

// Open opens the sockets of all addresses and workers.
func Open(cfg Config) (*Sockets, error) { return &Sockets{}, nil }

// Workers returns the number of workers.
func (s *Sockets) Workers() int { return 0 }

// Worker returns worker i, 0 ≤ i < Workers.
func (s *Sockets) Worker(i int) *Worker { return nil }

// Close closes all sockets; every Receive returns.
func (s *Sockets) Close() error { return nil }

// Stats returns the counts of every socket. It may be called from any goroutine.
func (s *Sockets) Stats() []SocketStats { return nil }

// SocketStats are the counts of one socket.
type SocketStats struct {
	Address       string // as bound
	Worker        int
	Packets       uint64
	Bytes         uint64
	Truncated     uint64 // longer than a slot, cut
	KernelDrops   uint64 // since the socket was opened
	ReceiveBuffer int    // bytes that the kernel granted
	Queued        int    // bytes that wait in the kernel now
}

// Worker receives from its own socket of each address.
type Worker struct{}

// Receive reads batches until ctx ends or the sockets are closed and calls
// handle for each. The batch and the bytes it points to belong to handle only
// during the call. It locks the calling goroutine to its thread. Where idle
// is not nil, it is called at least once a second when nothing arrives.
func (w *Worker) Receive(ctx context.Context, handle func(batch []Packet), idle func()) error {
	return nil
}
