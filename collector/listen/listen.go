// Package listen receives export datagrams. Each worker has one SO_REUSEPORT
// socket per listener address; a classic BPF program in the kernel steers
// datagrams by their source address, so that one exporter always belongs to
// one worker: its templates arrive in order, and nothing about it is shared.
// A worker reads batches of up to 64 messages by recvmmsg(2) into slots that are
// allocated once. A message may be many datagrams of one exporter that the
// kernel joined on their way (UDP_GRO): most of what a datagram costs is the
// kernel's work for each message.
//
// Systems other than Linux get one worker and one read per datagram.
package listen

import (
	"net/netip"
	"os"
)

// Sizes of the receive path.
const (
	// BatchSize is the largest number of datagrams of one batch.
	BatchSize = 64
	// MaxDatagram is the longest datagram that arrives whole: a jumbo frame.
	// Longer ones are cut and counted.
	MaxDatagram = 9216
	// Slack is the number of bytes behind each datagram that may be read.
	Slack = 16
	// DefaultReceiveBuffer is about half a second of 100 000 packets/s.
	DefaultReceiveBuffer = 64 << 20
)

// Config are the settings of [Open].
type Config struct {
	// Addresses are "host:port" or "[host]:port"; an empty host means all
	// addresses of both families, port 0 a free port.
	Addresses []string
	// Workers is the number of workers; 0 means GOMAXPROCS.
	Workers int
	// ReceiveBuffer is asked for each socket, in bytes; 0 means 64 MiB. The
	// kernel may grant less: see SocketStats.
	ReceiveBuffer int
	// Files are bound UDP sockets passed by systemd, several of one name and
	// address allowed. They are duplicated; the caller may close them.
	Files []*os.File
}

// Packet is one received datagram.
type Packet struct {
	From netip.AddrPort // an IPv4 source is never IPv4-mapped; without zone
	Data []byte         // at most MaxDatagram bytes, its capacity Slack more
}

// SocketStats are the counts of one socket.
type SocketStats struct {
	Address   string // as bound
	Worker    int
	Packets   uint64 // delivered to the worker
	Bytes     uint64
	Truncated uint64 // of Packets, cut at MaxDatagram
	// KernelDrops are the messages that found the buffer full since the socket
	// was opened, which systemd may have done long before: datagrams, or
	// several joined that the kernel counts as one.
	KernelDrops   uint64
	ReceiveBuffer int // bytes that the kernel granted, before it doubles them for its own use
	Queued        int // bytes of memory that waiting datagrams take now
}
