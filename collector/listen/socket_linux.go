package listen

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Sockets are the open sockets of all workers. Its methods may be called from
// any goroutine.
type Sockets struct {
	workers   []*Worker
	sockets   []*socket
	addresses []netip.AddrPort

	mu     sync.Mutex // guards closed and the sockets' drops
	closed bool
}

// socket is one bound UDP socket.
type socket struct {
	fd      int
	address netip.AddrPort
	worker  int
	buffer  int
	passed  bool // the service manager keeps it open after us

	packets, bytes, truncated atomic.Uint64 // written by its worker only

	drops     uint64
	dropsSeen uint32 // of the kernel's 32-bit counter
}

// Open opens the sockets of all addresses and workers, and takes over those of
// Files. A port that anybody uses already is an error, even where he would
// share it.
func Open(cfg Config) (*Sockets, error) {
	if cfg.Workers == 0 {
		cfg.Workers = runtime.GOMAXPROCS(0)
	}
	if cfg.ReceiveBuffer == 0 {
		cfg.ReceiveBuffer = DefaultReceiveBuffer
	}
	if cfg.Workers < 1 || cfg.ReceiveBuffer < 0 {
		return nil, fmt.Errorf("listen: %d workers and %d bytes of buffer: out of range", cfg.Workers, cfg.ReceiveBuffer)
	}
	s := &Sockets{}
	if err := s.open(cfg); err != nil {
		s.closeSockets()
		return nil, err
	}
	for i := range cfg.Workers {
		w, err := newWorker(i, s.sockets)
		if err != nil {
			_ = s.Close()
			return nil, err
		}
		s.workers = append(s.workers, w)
	}
	return s, nil
}

func (s *Sockets) open(cfg Config) error {
	for _, address := range cfg.Addresses {
		if err := s.listen(address, cfg.Workers); err != nil {
			return err
		}
	}
	if err := s.adopt(cfg.Files, cfg.Workers); err != nil {
		return err
	}
	if len(s.sockets) == 0 {
		return errors.New("listen: no address and no socket to listen on")
	}
	groups := make(map[netip.AddrPort][]*socket)
	for _, k := range s.sockets {
		if err := k.setBuffer(cfg.ReceiveBuffer); err != nil {
			return fmt.Errorf("listen udp %s: receive buffer: %w", k.address, err)
		}
		// Datagrams of one sender that follow each other may come joined, for
		// the price of one (UDP_GRO). Kernels before 5.0 cannot.
		_ = unix.SetsockoptInt(k.fd, unix.SOL_UDP, unix.UDP_GRO, 1)
		if len(groups[k.address]) == 0 {
			s.addresses = append(s.addresses, k.address)
		}
		groups[k.address] = append(groups[k.address], k)
	}
	for address, group := range groups {
		if len(group) == 1 {
			continue
		}
		if err := steer(group[0].fd, len(group)); err != nil {
			return fmt.Errorf("listen udp %s: steering by source address: %w", address, err)
		}
	}
	return nil
}

// listen opens one socket per worker for an address.
func (s *Sockets) listen(address string, workers int) error {
	local, err := resolve(address)
	if err != nil {
		return err
	}
	if local.Port() != 0 {
		// Among sockets with SO_REUSEPORT the kernel reports no conflict: a
		// second FlowHound would quietly take a share of the packets.
		if err := tryBind(local); err != nil {
			return fmt.Errorf("listen udp %s: %w", local, err)
		}
	}
	for worker := range workers {
		fd, err := bind(local, true)
		if err != nil {
			return fmt.Errorf("listen udp %s: %w", local, err)
		}
		k := &socket{fd: fd, worker: worker}
		s.sockets = append(s.sockets, k)
		if k.address, err = localAddress(fd); err != nil {
			return fmt.Errorf("listen udp %s: %w", local, err)
		}
		local = netip.AddrPortFrom(local.Addr(), k.address.Port())
	}
	return nil
}

// adopt takes over sockets that systemd opened. Those of one address go to
// the workers in turn.
func (s *Sockets) adopt(files []*os.File, workers int) error {
	next := make(map[netip.AddrPort]int)
	for _, f := range files {
		fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("listen: passed socket %q: %w", f.Name(), err)
		}
		k := &socket{fd: fd, passed: true}
		s.sockets = append(s.sockets, k)
		kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
		if err == nil && kind != unix.SOCK_DGRAM {
			err = errors.New("not a datagram socket")
		}
		if err == nil {
			k.address, err = localAddress(fd)
		}
		if err != nil {
			return fmt.Errorf("listen: passed socket %q: %w", f.Name(), err)
		}
		k.worker = next[k.address] % workers
		next[k.address]++
	}
	return nil
}

// resolve turns "host:port" into an address. All addresses of both families
// are [::].
func resolve(address string) (netip.AddrPort, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("listen udp %q: %w", address, err)
	}
	udp, err := net.ResolveUDPAddr("udp", address)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("listen udp %q: %w", address, err)
	}
	if host == "" {
		return netip.AddrPortFrom(netip.IPv6Unspecified(), uint16(udp.Port)), nil
	}
	a := udp.AddrPort()
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()), nil
}

func tryBind(local netip.AddrPort) error {
	fd, err := bind(local, false)
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

// bind opens a UDP socket. [::] takes IPv4 as well, and falls back to 0.0.0.0
// where the kernel has no IPv6.
func bind(local netip.AddrPort, share bool) (fd int, err error) {
	family := unix.AF_INET6
	if local.Addr().Is4() {
		family = unix.AF_INET
	}
	fd, err = unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if errors.Is(err, unix.EAFNOSUPPORT) && local.Addr() == netip.IPv6Unspecified() {
		return bind(netip.AddrPortFrom(netip.IPv4Unspecified(), local.Port()), share)
	}
	if err != nil {
		return -1, err
	}
	if share {
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	}
	if err == nil && family == unix.AF_INET6 {
		only := 1
		if local.Addr().IsUnspecified() {
			only = 0
		}
		err = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, only)
	}
	if err == nil {
		err = unix.Bind(fd, sockaddr(local))
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	sa := &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
	if iface, err := net.InterfaceByName(a.Addr().Zone()); err == nil {
		sa.ZoneId = uint32(iface.Index)
	}
	return sa
}

func localAddress(fd int) (netip.AddrPort, error) {
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return netip.AddrPort{}, err
	}
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port)), nil
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr), uint16(sa.Port)), nil
	}
	return netip.AddrPort{}, errors.New("not an IP socket")
}

// setBuffer asks for a receive buffer, by force where that is allowed, and
// notes what was granted. A larger buffer, set by systemd, stays.
func (k *socket) setBuffer(size int) (err error) {
	if k.buffer, err = granted(k.fd); err != nil || k.buffer >= size {
		return err
	}
	if unix.SetsockoptInt(k.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, size) != nil {
		// Without CAP_NET_ADMIN the kernel cuts the size to rmem_max.
		if err := unix.SetsockoptInt(k.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, size); err != nil {
			return err
		}
	}
	k.buffer, err = granted(k.fd)
	return err
}

// granted returns the size of a receive buffer as it was asked for: socket(7)
// doubles it.
func granted(fd int) (int, error) {
	n, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF)
	return n / 2, err
}

// Workers returns the number of workers.
func (s *Sockets) Workers() int { return len(s.workers) }

// Worker returns worker i, 0 ≤ i < Workers.
func (s *Sockets) Worker(i int) *Worker { return s.workers[i] }

// Addresses returns the addresses listened on, with the ports that were found
// for port 0.
func (s *Sockets) Addresses() []netip.AddrPort { return s.addresses }

// Close makes every Receive return, waits for that, and closes the sockets.
// It must not be called by a handler. Further calls do nothing.
func (s *Sockets) Close() error {
	for _, w := range s.workers {
		w.stop()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	return s.closeSockets()
}

func (s *Sockets) closeSockets() (err error) {
	for _, k := range s.sockets {
		err = errors.Join(err, unix.Close(k.fd))
	}
	return err
}

// Indices of SO_MEMINFO's answer (linux/sock_diag.h).
const (
	meminfoQueued = 0
	meminfoDrops  = 8
	meminfoWords  = 9
)

// Stats returns the counts of every socket.
func (s *Sockets) Stats() []SocketStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	stats := make([]SocketStats, len(s.sockets))
	for i, k := range s.sockets {
		stats[i] = SocketStats{
			Address: k.address.String(), Worker: k.worker, ReceiveBuffer: k.buffer,
			Packets: k.packets.Load(), Bytes: k.bytes.Load(), Truncated: k.truncated.Load(),
		}
		if info, ok := k.meminfo(s.closed); ok {
			stats[i].Queued = int(info[meminfoQueued])
			k.drops += uint64(info[meminfoDrops] - k.dropsSeen)
			k.dropsSeen = info[meminfoDrops]
		}
		stats[i].KernelDrops = k.drops
	}
	return stats
}
