package exporter

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
	"golang.org/x/time/rate"
)

// SenderConfig describes where and how packets are sent.
type SenderConfig struct {
	Target netip.AddrPort // required
	// Source is the local address, such as 127.0.0.2: every loopback address
	// is another exporter to a collector. The zero address leaves the choice
	// to the kernel.
	Source netip.Addr
	// Segment hands packets of equal length to the kernel together
	// (UDP_SEGMENT, Linux 4.18), which costs a fifth of a call for each.
	Segment bool
	// Pace limits the packets of all senders that share it; nil is no limit.
	Pace *rate.Limiter
}

// NewPace returns a limit of packets per second. Bursts are 5 ms long.
func NewPace(packetsPerSecond float64) *rate.Limiter {
	return rate.NewLimiter(rate.Limit(packetsPerSecond), max(maxSegments, int(packetsPerSecond/200)))
}

// What the kernel takes in one call: UDP_MAX_SEGMENTS, and an IP packet.
const (
	maxSegments   = 64
	maxSegmentsSz = 65_000
)

// Sender sends export packets from one address. It is not safe for concurrent
// use.
type Sender struct {
	cfg     SenderConfig
	conn    *net.UDPConn
	batch   []byte // packets of length size, the last one may be shorter
	size    int
	waiting int
	oob     []byte
}

// OpenSender binds the source address and connects to the target.
func OpenSender(c SenderConfig) (*Sender, error) {
	var local *net.UDPAddr
	if c.Source.IsValid() {
		local = net.UDPAddrFromAddrPort(netip.AddrPortFrom(c.Source, 0))
	}
	conn, err := net.DialUDP("udp", local, net.UDPAddrFromAddrPort(c.Target))
	if err != nil {
		return nil, fmt.Errorf("sender: %w", err)
	}
	return &Sender{cfg: c, conn: conn, oob: make([]byte, unix.CmsgSpace(2))}, nil
}

// Send sends a packet, or keeps it for a segmented call until a packet of
// another length, 64 packets or [Sender.Flush] come. A failure may report an
// earlier packet's, such as a refused connection.
func (s *Sender) Send(ctx context.Context, packet []byte) error {
	if s.waiting > 0 && (len(packet) > s.size || len(s.batch)%s.size != 0 ||
		s.waiting == maxSegments || len(s.batch)+len(packet) > maxSegmentsSz) {
		if err := s.Flush(ctx); err != nil {
			return err
		}
	}
	if s.waiting == 0 {
		s.size = len(packet)
	}
	s.batch = append(s.batch, packet...)
	s.waiting++
	if !s.cfg.Segment {
		return s.Flush(ctx)
	}
	return nil
}

// Flush sends the packets that are kept.
func (s *Sender) Flush(ctx context.Context) error {
	if s.waiting == 0 {
		return nil
	}
	if s.cfg.Pace != nil {
		if s.cfg.Pace.WaitN(ctx, s.waiting) != nil {
			// The context is over, or will be before its turn comes.
			return fmt.Errorf("sender: pace: %w", cmp.Or(ctx.Err(), context.DeadlineExceeded))
		}
	}
	var oob []byte
	if s.waiting > 1 {
		oob = s.segmentSize()
	}
	_, _, err := s.conn.WriteMsgUDP(s.batch, oob, nil)
	s.batch, s.waiting = s.batch[:0], 0
	if err != nil {
		return fmt.Errorf("sender: %w", err)
	}
	return nil
}

// segmentSize returns the control message that tells the packets' length.
func (s *Sender) segmentSize() []byte {
	b := s.oob[:0]
	b = binary.NativeEndian.AppendUint64(b, uint64(unix.CmsgLen(2)))
	b = binary.NativeEndian.AppendUint32(b, unix.SOL_UDP)
	b = binary.NativeEndian.AppendUint32(b, unix.UDP_SEGMENT)
	b = binary.NativeEndian.AppendUint16(b, uint16(s.size))
	return b[:cap(s.oob)]
}

// Close closes the socket; packets that are kept are dropped. It may be called
// twice.
func (s *Sender) Close() error {
	if s.conn == nil {
		return nil
	}
	err := s.conn.Close()
	s.conn = nil
	return err
}
