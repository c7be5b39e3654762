package session

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"
)

// session is one connection. One goroutine runs it:
//
//	accepted ──► TLS agreed ──► reading ◄──► waiting for its turn
//	    │            │             │
//	    └── refused ─┘             └── ended: peer, time, malformed, stop
type session struct {
	server *Server
	id     uint64
	from   netip.Addr
	conn   net.Conn // as accepted
	stream net.Conn // what is read: conn, or TLS over it
	turn   turn

	mu    sync.Mutex // guards until and the order of deadlines
	until time.Time  // no read ends later, zero for no bound
}

// run reads the session until it ends.
func (k *session) run(ctx context.Context) {
	if !k.agree(ctx) {
		k.leave(func(s *Stats) { s.Refused[RefusedHandshake]++ })
		return
	}
	k.turn.taken = make(chan struct{})
	why := k.read()
	k.hand(Batch{End: true, Why: why})
	switch why {
	case EndPeer, EndStop:
		_ = k.stream.Close()
	default:
		reset(k.conn)
	}
	k.leave(func(s *Stats) { s.Ended[why]++ })
}

// leave counts the end and makes room for another session.
func (k *session) leave(count func(*Stats)) {
	s := k.server
	s.mu.Lock()
	defer s.mu.Unlock()
	count(&s.stats)
	delete(s.open, k)
	if s.from[k.from]--; s.from[k.from] == 0 {
		delete(s.from, k.from)
	}
}

// agree speaks TLS, where it is configured, and reports whether the peer did.
func (k *session) agree(ctx context.Context) bool {
	k.stream = k.conn
	cfg := k.server.tls.Load()
	if cfg == nil {
		return true
	}
	stream := tls.Server(k.conn, cfg)
	k.stream = stream
	ctx, cancel := context.WithTimeout(ctx, HandshakeTime)
	defer cancel()
	if err := stream.HandshakeContext(ctx); err != nil {
		_ = k.conn.Close() // lets the alert out that says why
		return false
	}
	return true
}

// read hands all messages over and returns why there are no more.
func (k *session) read() End {
	// The longest message fits whatever stands before it, as that is moved to
	// the front after each read.
	buf := make([]byte, maxMessage+Slack)
	have := 0
	var messages [][]byte
	deadline := time.Now().Add(k.server.cfg.IdleTimeout)
	for {
		k.limit(deadline)
		n, readErr := k.stream.Read(buf[have:maxMessage])
		began := have > 0
		have += n
		var used int
		var err error
		messages, used, err = Split(messages[:0], buf[:have])
		if len(messages) > 0 {
			if !k.server.cfg.Admits(k.from) {
				return EndExporter
			}
			k.hand(Batch{Messages: messages})
			have = copy(buf, buf[used:have])
			began = false
			// The time in which we did not read is not the exporter's.
			deadline = time.Now().Add(k.server.cfg.IdleTimeout)
		}
		if !began && have > 0 {
			deadline = time.Now().Add(min(MessageTime, k.server.cfg.IdleTimeout))
		}
		switch {
		case errors.Is(err, ErrVersion):
			return EndVersion
		case err != nil:
			return EndLength
		case readErr != nil:
			return k.why(readErr, have > 0)
		}
	}
}

// why tells what the error of a read means, inside a message or between two.
func (k *session) why(err error, inside bool) End {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		switch {
		case k.stopping():
			return EndStop
		case inside:
			return EndSlow
		}
		return EndIdle
	case errors.Is(err, io.EOF) && !inside:
		return EndPeer
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return EndTruncated
	}
	return EndError
}

// hand waits for the reader to take a batch.
func (k *session) hand(b Batch) {
	b.Session, b.From = k.id, k.from
	k.turn.Batch = b
	k.server.batches <- &k.turn
	<-k.turn.taken
	bytes := 0
	for _, m := range b.Messages {
		bytes += len(m)
	}
	k.server.mu.Lock()
	defer k.server.mu.Unlock()
	k.server.stats.Messages += uint64(len(b.Messages))
	k.server.stats.Bytes += uint64(bytes)
}

// limit sets the deadline of reads.
func (k *session) limit(t time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.until.IsZero() && k.until.Before(t) {
		t = k.until
	}
	_ = k.conn.SetReadDeadline(t)
}

// hurry sets the end of all reads.
func (k *session) hurry(until time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.until = until
	_ = k.conn.SetReadDeadline(until)
}

func (k *session) stopping() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return !k.until.IsZero()
}
