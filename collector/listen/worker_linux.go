package listen

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// rounds is how many full batches one socket may give before the others get
// their turn.
const rounds = 8

// Worker receives from its own socket of each address.
type Worker struct {
	sockets []*socket
	polls   []unix.PollFd // of the event, then of the sockets

	running  sync.Mutex // held by Receive
	stopping atomic.Bool
	eventMu  sync.Mutex // guards event
	event    int        // eventfd that makes Receive look around, -1 when closed

	headers  []mmsghdr
	iovecs   []unix.Iovec
	names    []unix.RawSockaddrInet6 // large enough for both families
	controls []control
	slots    []byte
	batch    []Packet
}

// mmsghdr is struct mmsghdr of recvmmsg(2).
type mmsghdr struct {
	header unix.Msghdr
	length uint32
}

// control is the one control message that a message comes with, if the kernel
// joined datagrams: the size of each but the last.
type control struct {
	header unix.Cmsghdr
	size   int32
	_      int32
}

// A message is one datagram, or several of one sender that the kernel joined.
// Their slots lie so that the first bytes of all do not compete for the same
// few sets of a cache.
const (
	maxMessage = 1 << 16
	slotSize   = maxMessage + 1536
)

// smallestQueued is less than the memory that the kernel accounts for any
// datagram in a buffer (768 bytes on amd64).
const smallestQueued = 512

func newWorker(i int, sockets []*socket) (*Worker, error) {
	event, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("listen: eventfd: %w", err)
	}
	w := &Worker{
		event:    event,
		polls:    []unix.PollFd{{Fd: int32(event), Events: unix.POLLIN}},
		headers:  make([]mmsghdr, BatchSize),
		iovecs:   make([]unix.Iovec, BatchSize),
		names:    make([]unix.RawSockaddrInet6, BatchSize),
		controls: make([]control, BatchSize),
		slots:    make([]byte, BatchSize*slotSize),
		batch:    make([]Packet, 0, BatchSize),
	}
	for _, k := range sockets {
		if k.worker == i {
			w.sockets = append(w.sockets, k)
			w.polls = append(w.polls, unix.PollFd{Fd: int32(k.fd), Events: unix.POLLIN})
		}
	}
	for i := range w.headers {
		w.iovecs[i].Base = &w.slots[i*slotSize]
		w.iovecs[i].SetLen(maxMessage)
		h := &w.headers[i].header
		h.Name = (*byte)(unsafe.Pointer(&w.names[i]))
		h.Iov = &w.iovecs[i]
		h.SetIovlen(1)
		h.Control = (*byte)(unsafe.Pointer(&w.controls[i]))
	}
	return w, nil
}

// Receive reads batches until ctx ends or the sockets are closed, which gives
// nil, and calls handle for each. The batch, and the bytes that it points to,
// belong to handle only during the call. idle, where it is not nil, is called
// after each second without a datagram. Both are called by one goroutine,
// which Receive locks to its thread.
//
// When ctx ends, what waits in the sockets that Open opened is read first: it
// would be lost with them. What waits in passed sockets is left to the next
// process.
func (w *Worker) Receive(ctx context.Context, handle func(batch []Packet), idle func()) error {
	w.running.Lock()
	defer w.running.Unlock()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer context.AfterFunc(ctx, w.wake)()
	for !w.stopping.Load() {
		n, err := unix.Poll(w.polls, int(time.Second/time.Millisecond))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("listen: poll: %w", err)
		}
		if ctx.Err() != nil {
			return w.empty(handle)
		}
		if w.polls[0].Revents != 0 {
			// What woke us may be the end of an earlier call's context.
			w.calm()
		}
		if n == 0 && idle != nil {
			idle()
		}
		for i, k := range w.sockets {
			if w.polls[i+1].Revents == 0 {
				continue
			}
			if err := w.drain(k, handle); err != nil {
				return err
			}
		}
	}
	return nil
}

// wake makes Receive look whether it is to end.
func (w *Worker) wake() {
	w.eventMu.Lock()
	defer w.eventMu.Unlock()
	if w.event >= 0 {
		_, _ = unix.Write(w.event, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	}
}

// calm takes a wake-up back.
func (w *Worker) calm() {
	var b [8]byte
	_, _ = unix.Read(int(w.polls[0].Fd), b[:])
}

// stop ends Receive, waits for that, and closes the event.
func (w *Worker) stop() {
	w.stopping.Store(true)
	w.wake()
	w.running.Lock()
	defer w.running.Unlock()
	w.eventMu.Lock()
	defer w.eventMu.Unlock()
	if w.event >= 0 {
		_ = unix.Close(w.event)
		w.event = -1
	}
}

// drain reads what waits in a socket: until a batch is not full, as then the
// queue was empty.
func (w *Worker) drain(k *socket, handle func([]Packet)) error {
	for range rounds {
		n, err := w.receive(k)
		if err != nil {
			return err
		}
		w.give(handle)
		if n < BatchSize {
			break
		}
	}
	return nil
}

// empty reads what waits in the sockets that end with this process. A sender
// that never pauses cannot prolong it beyond what a full buffer holds.
func (w *Worker) empty(handle func([]Packet)) error {
	for _, k := range w.sockets {
		if k.passed {
			continue
		}
		for most := 2*k.buffer/smallestQueued + BatchSize; most > 0; {
			n, err := w.receive(k)
			if err != nil {
				return err
			}
			w.give(handle)
			if n < BatchSize {
				break
			}
			most -= n
		}
	}
	return nil
}

// receive reads up to BatchSize messages, makes their datagrams the batch, and
// returns how many messages there were.
func (w *Worker) receive(k *socket) (messages int, err error) {
	w.batch = w.batch[:0]
	for i := range w.headers {
		h := &w.headers[i].header
		h.Namelen = unix.SizeofSockaddrInet6
		h.SetControllen(int(unsafe.Sizeof(control{})))
	}
	r, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, uintptr(k.fd),
		uintptr(unsafe.Pointer(&w.headers[0])), BatchSize, unix.MSG_DONTWAIT, 0, 0)
	switch errno {
	case 0:
	case unix.EAGAIN, unix.EINTR, unix.ENOBUFS, unix.ENOMEM:
		return 0, nil
	default:
		return 0, fmt.Errorf("receive udp %s: %w", k.address, errno)
	}
	bytes, truncated := 0, 0
	for i := range int(r) {
		bytes += int(w.headers[i].length)
		truncated += w.split(i)
	}
	k.packets.Add(uint64(len(w.batch)))
	k.bytes.Add(uint64(bytes))
	k.truncated.Add(uint64(truncated))
	return int(r), nil
}

// split adds the datagrams of message i to the batch and returns how many of
// them were too long.
func (w *Worker) split(i int) (truncated int) {
	from, left, size := sender(&w.names[i]), int(w.headers[i].length), w.joined(i)
	if size == 0 {
		size = left
	}
	for at := i * slotSize; ; at += size {
		n := min(size, left)
		if left -= n; n > MaxDatagram {
			n = MaxDatagram
			truncated++
		}
		w.batch = append(w.batch, Packet{From: from, Data: w.slots[at : at+n : at+n+Slack]})
		if left == 0 {
			return truncated
		}
	}
}

// joined returns the size of the datagrams that the kernel joined to message i,
// all but the last, 0 if it is one datagram.
func (w *Worker) joined(i int) int {
	c, h := &w.controls[i], &w.headers[i].header
	if h.Controllen == 0 || c.header.Level != unix.SOL_UDP || c.header.Type != unix.UDP_GRO {
		return 0
	}
	return int(c.size)
}

// give hands the batch on, in pieces.
func (w *Worker) give(handle func([]Packet)) {
	for piece := range slices.Chunk(w.batch, BatchSize) {
		handle(piece)
	}
}

// sender returns a source address, without the zone: exporters are known by
// address.
func sender(sa *unix.RawSockaddrInet6) netip.AddrPort {
	// The port stands in network order, at the same place in both families.
	p := (*[2]byte)(unsafe.Pointer(&sa.Port))
	port := uint16(p[0])<<8 | uint16(p[1])
	if sa.Family == unix.AF_INET {
		v4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(sa))
		return netip.AddrPortFrom(netip.AddrFrom4(v4.Addr), port)
	}
	return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr).Unmap(), port)
}
