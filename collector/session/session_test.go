package session

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is a server whose batches are kept.
type rig struct {
	*Server
	t       testing.TB
	end     context.CancelFunc
	ended   chan struct{}
	refuses atomic.Bool   // all exporters
	forgets atomic.Bool   // keeps no message
	gate    chan struct{} // where not nil, each batch takes one

	mu       sync.Mutex // guards all below
	messages map[uint64][][]byte
	order    []uint64 // sessions of the batches
	over     map[uint64]End
}

func testConfig() Config {
	return Config{Addresses: []string{"127.0.0.1:0"}, MaxSessions: 8, IdleTimeout: time.Minute}
}

func start(t testing.TB, cfg Config, gate chan struct{}) *rig {
	t.Helper()
	r := &rig{t: t, ended: make(chan struct{}), gate: gate, messages: make(map[uint64][][]byte), over: make(map[uint64]End)}
	cfg.Logger = slog.New(slog.DiscardHandler)
	cfg.Admits = func(netip.Addr) bool { return !r.refuses.Load() }
	s, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	r.Server = s
	return r.run()
}

func (r *rig) run() *rig {
	ctx, end := context.WithCancel(context.Background())
	r.end = end
	go func() {
		defer close(r.ended)
		if err := r.Receive(ctx, r.take); err != nil {
			r.t.Error(err)
		}
	}()
	r.t.Cleanup(r.stop)
	return r
}

func (r *rig) take(b Batch) {
	if r.gate != nil && !b.End {
		<-r.gate
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.order = append(r.order, b.Session)
	if b.End {
		r.over[b.Session] = b.Why
	}
	if r.forgets.Load() {
		return
	}
	for _, m := range b.Messages {
		if cap(m)-len(m) < Slack {
			r.t.Errorf("message with %d bytes of slack", cap(m)-len(m))
		}
		r.messages[b.Session] = append(r.messages[b.Session], bytes.Clone(m))
	}
}

// stop ends the server and checks that every connection is accounted for.
func (r *rig) stop() {
	r.end()
	<-r.ended
	s := r.Stats()
	sum := s.Open
	for _, n := range s.Refused {
		sum += n
	}
	for _, n := range s.Ended {
		sum += n
	}
	if sum != s.Accepted || s.Open != 0 {
		r.t.Errorf("%d accepted, %d accounted for, %d open after the end", s.Accepted, sum, s.Open)
	}
}

func (r *rig) dial() net.Conn {
	r.t.Helper()
	c, err := net.Dial("tcp", r.Addresses()[0].String())
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = c.Close() })
	return c
}

// knock connects, where it is the server that ends it.
func (r *rig) knock() {
	if c, err := net.Dial("tcp", r.Addresses()[0].String()); err == nil {
		_ = c.Close()
	}
}

// eventually waits for something that must come.
func (r *rig) eventually(what string, f func() bool) {
	r.t.Helper()
	for range 1000 {
		if f() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	r.t.Fatalf("never: %s; %+v", what, r.Stats())
}

func write(t testing.TB, c net.Conn, parts ...[]byte) {
	t.Helper()
	if _, err := c.Write(stream(parts...)); err != nil {
		t.Fatal(err)
	}
}

// chunks is a connection that gives its bytes in the pieces of a script.
type chunks struct {
	net.Conn // nil: only what is below is called
	pieces   [][]byte
}

func (c *chunks) Read(b []byte) (int, error) {
	if len(c.pieces) == 0 {
		return 0, io.EOF
	}
	n := copy(b, c.pieces[0])
	if c.pieces[0] = c.pieces[0][n:]; len(c.pieces[0]) == 0 {
		c.pieces = c.pieces[1:]
	}
	return n, nil
}

func (c *chunks) RemoteAddr() net.Addr {
	return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 4739}
}
func (c *chunks) SetReadDeadline(time.Time) error { return nil }
func (c *chunks) Close() error                    { return nil }

// scripted is a listener of given connections.
type scripted struct {
	conns chan net.Conn
	once  sync.Once
}

func (l *scripted) Accept() (net.Conn, error) {
	c, ok := <-l.conns
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}
func (l *scripted) Close() error   { l.once.Do(func() { close(l.conns) }); return nil }
func (l *scripted) Addr() net.Addr { return &net.TCPAddr{} }

// serve returns a rig whose sessions come from the test.
func serve(t testing.TB, cfg Config) (*rig, *scripted) {
	t.Helper()
	r := &rig{t: t, ended: make(chan struct{}), messages: make(map[uint64][][]byte), over: make(map[uint64]End)}
	cfg.Logger = slog.New(slog.DiscardHandler)
	cfg.Admits = func(netip.Addr) bool { return !r.refuses.Load() }
	s, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	l := &scripted{conns: make(chan net.Conn)}
	s.listeners = []net.Listener{l}
	r.Server = s
	return r.run(), l
}

// RFC 7011 §10.4: TCP is a stream, so messages may arrive in any pieces: cut
// at every byte, and byte by byte.
func TestEveryCut(t *testing.T) {
	want := [][]byte{message(16, 1), message(40, 2), message(17, 3), message(100, 4)}
	all := stream(want...)
	r, l := serve(t, testConfig())
	n := uint64(0)
	f := func(pieces ...[]byte) {
		t.Helper()
		n++
		l.conns <- &chunks{pieces: pieces}
		r.eventually("the end of a session", func() bool { return r.Stats().Ended[EndPeer] == n })
		if got := r.messages[n]; !slices.EqualFunc(got, want, bytes.Equal) {
			t.Errorf("session %d: got %x", n, got)
		}
	}
	for cut := 1; cut < len(all); cut++ {
		f(all[:cut], all[cut:])
	}
	var single [][]byte
	for i := range all {
		single = append(single, all[i:i+1])
	}
	f(single...)
	if s := r.Stats(); s.Messages != 4*n || s.Bytes != n*uint64(len(all)) {
		t.Errorf("%d messages, %d bytes of %d sessions", s.Messages, s.Bytes, n)
	}
}

// The longest message, behind the beginning of a buffer that is in use.
func TestLongestMessages(t *testing.T) {
	want := [][]byte{message(0xffff, 1), message(16, 2), message(0xffff, 3), message(0xfffe, 4)}
	r := start(t, testConfig(), nil)
	c := r.dial()
	write(t, c, want...)
	_ = c.Close()
	r.eventually("the end", func() bool { return r.Stats().Ended[EndPeer] == 1 })
	if !slices.EqualFunc(r.messages[1], want, bytes.Equal) {
		t.Errorf("got %d messages", len(r.messages[1]))
	}
}

// RFC 7011 §9, §10.4: what is no message ends the session, by a reset, after
// the messages in front of it.
func TestMalformedEndsSession(t *testing.T) {
	f := func(want End, tail ...byte) {
		t.Helper()
		r := start(t, testConfig(), nil)
		c := r.dial()
		write(t, c, message(20, 1), tail)
		if want == EndTruncated {
			_ = c.Close()
		}
		r.eventually(want.String(), func() bool { return r.Stats().Ended[want] == 1 })
		r.mu.Lock()
		defer r.mu.Unlock()
		if len(r.messages[1]) != 1 || r.over[1] != want {
			t.Errorf("%v: got %d messages, end %v", want, len(r.messages[1]), r.over[1])
		}
		if want != EndTruncated {
			if _, err := c.Read(make([]byte, 1)); err == nil {
				t.Errorf("%v: the connection lives", want)
			}
		}
	}
	f(EndVersion, 0, 9, 0, 100)
	f(EndVersion, 22, 3, 1, 0) // a TLS greeting
	f(EndLength, 0, 10, 0, 15)
	f(EndLength, 0, 10, 0, 0)
	f(EndTruncated, 0, 10, 0, 100, 1, 2, 3)
}

// A thousand connections beyond the bound are refused and counted, and those
// within it go on.
func TestBound(t *testing.T) {
	cfg := testConfig()
	cfg.MaxSessions = 6 // 3 for one address
	r := start(t, cfg, nil)
	var good []net.Conn
	for range 3 {
		good = append(good, r.dial())
	}
	r.eventually("3 open", func() bool { return r.Stats().Open == 3 })
	for range 1000 {
		r.knock()
	}
	r.eventually("1000 refused", func() bool { return r.Stats().Refused[RefusedAddress] == 1000 })
	for _, c := range good {
		write(t, c, message(16, 1))
	}
	r.eventually("3 messages", func() bool { return r.Stats().Messages == 3 })
	_ = good[0].Close()
	r.eventually("room", func() bool { return r.Stats().Open == 2 })
	write(t, r.dial(), message(16, 1))
	r.eventually("a message of the next", func() bool { return r.Stats().Messages == 4 })
}

// The bound over all addresses.
func TestBoundOfAll(t *testing.T) {
	cfg := testConfig()
	cfg.MaxSessions = 2
	r, l := serve(t, cfg)
	var ends []net.Conn
	for i := range byte(4) {
		a, b := net.Pipe()
		ends = append(ends, b)
		l.conns <- piped{a, net.IPv4(192, 0, 2, i)}
	}
	r.eventually("2 open, 2 refused", func() bool {
		s := r.Stats()
		return s.Open == 2 && s.Refused[RefusedFull] == 2
	})
	for _, c := range ends {
		_ = c.Close()
	}
}

// piped is one end of a net.Pipe that has an address. Its deadlines keep to a
// bubble's clock.
type piped struct {
	net.Conn
	ip net.IP
}

func (p piped) RemoteAddr() net.Addr { return &net.TCPAddr{IP: p.ip, Port: 1} }

// Silence, and a message that comes a byte at a time, end in bounded time;
// messages in between do not.
func TestTimes(t *testing.T) {
	f := func(want End, wantAfter time.Duration, send func(c net.Conn)) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			r, l := serve(t, testConfig())
			a, b := net.Pipe()
			begin := time.Now()
			l.conns <- piped{a, net.IPv4(192, 0, 2, 1)}
			send(b)
			for r.Stats().Ended == [Ends]uint64{} {
				time.Sleep(time.Second)
			}
			if got := r.Stats().Ended[want]; got != 1 {
				t.Errorf("%v: %+v", want, r.Stats())
			}
			if got := time.Since(begin); got < wantAfter || got > wantAfter+2*time.Second {
				t.Errorf("%v after %v, want %v", want, got, wantAfter)
			}
			_ = b.Close()
			r.stop()
		})
	}
	drip := func(c net.Conn, every time.Duration, b []byte) {
		for _, x := range b {
			if _, err := c.Write([]byte{x}); err != nil {
				return
			}
			time.Sleep(every)
		}
	}
	f(EndIdle, time.Minute, func(net.Conn) {})
	f(EndSlow, MessageTime, func(c net.Conn) { drip(c, time.Second, message(1000, 1)) })
	f(EndSlow, MessageTime, func(c net.Conn) { drip(c, 20*time.Second, []byte{0}) })
	f(EndIdle, 3*59*time.Second+time.Minute, func(c net.Conn) {
		for range 3 {
			time.Sleep(59 * time.Second)
			_, _ = c.Write(message(16, 1))
		}
	})
	f(EndSlow, 50*time.Second+MessageTime, func(c net.Conn) {
		time.Sleep(50 * time.Second)
		_, _ = c.Write(stream(message(16, 1), message(100, 2)[:99]))
	})
}

// A session that always has more gets no more turns than one that has a
// message now and then; and while the reader waits, the exporter does.
func TestTurns(t *testing.T) {
	gate := make(chan struct{})
	r := start(t, testConfig(), gate)
	flood, calm := r.dial(), r.dial()
	stop := make(chan struct{})
	var flooded atomic.Int64
	var flooding sync.WaitGroup
	flooding.Go(func() {
		b := bytes.Repeat(message(1400, 1), 40)
		for {
			select {
			case <-stop:
				return
			default:
			}
			_ = flood.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
			n, _ := flood.Write(b) // a part of it, when nobody reads
			if flooded.Add(int64(n)); n < len(b) {
				return
			}
		}
	})
	flooding.Wait() // the reader has not taken a thing: back-pressure
	close(stop)
	if n := flooded.Load(); n > 64<<20 {
		t.Errorf("%d bytes sent to a reader that does not read", n)
	}
	write(t, calm, message(16, 2))
	time.Sleep(50 * time.Millisecond)
	for range 3 {
		gate <- struct{}{}
	}
	r.eventually("the calm session's turn among three", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return len(r.order) >= 3
	})
	r.mu.Lock()
	if len(r.messages[1]) == 0 || len(r.messages[2]) == 0 {
		t.Errorf("turns went to %v", r.order)
	}
	r.mu.Unlock()
	close(gate)
}

// An exporter that is taken off the list is refused, and its session ends
// with its next message.
func TestAccess(t *testing.T) {
	r := start(t, testConfig(), nil)
	c := r.dial()
	write(t, c, message(16, 1))
	r.eventually("a message", func() bool { return r.Stats().Messages == 1 })
	r.refuses.Store(true)
	write(t, c, message(16, 1))
	r.eventually("the end", func() bool { return r.Stats().Ended[EndExporter] == 1 })
	r.knock()
	r.eventually("a refusal", func() bool { return r.Stats().Refused[RefusedExporter] == 1 })
	if n := r.Stats().Messages; n != 1 {
		t.Errorf("%d messages", n)
	}
}

// What an exporter has written before the server stops is handed over: it will
// not send it again.
func TestStopReadsWhatArrived(t *testing.T) {
	gate := make(chan struct{})
	r := start(t, testConfig(), gate)
	c := r.dial()
	const n = 2000
	for range n {
		write(t, c, message(100, 1))
	}
	gate <- struct{}{}
	r.end()
	close(gate)
	<-r.ended
	if got := len(r.messages[1]); got != n {
		t.Errorf("got %d messages of %d", got, n)
	}
	if r.over[1] != EndStop {
		t.Errorf("ended by %v", r.over[1])
	}
	if _, err := net.Dial("tcp", r.Addresses()[0].String()); err == nil {
		t.Error("the server still listens")
	}
}

func TestOpenErrors(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	f := func(change func(*Config)) {
		t.Helper()
		cfg := testConfig()
		change(&cfg)
		if s, err := Open(cfg); err == nil {
			t.Errorf("opened %v", s.Addresses())
			_ = s.Close()
		}
	}
	f(func(c *Config) { c.Addresses = nil })
	f(func(c *Config) { c.Addresses = []string{"127.0.0.1:0", taken.Addr().String()} })
	f(func(c *Config) { c.MaxSessions = 0 })
	f(func(c *Config) { c.IdleTimeout = 0 })
	f(func(c *Config) { c.TLS.ClientCA = "ca.pem" })
	f(func(c *Config) { c.TLS.Certificate = "cert.pem" })
}

// BenchmarkReceive sends messages of 1,416 bytes over one connection.
func BenchmarkReceive(b *testing.B) {
	for _, size := range []int{1416, 0xffff} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			r := start(b, testConfig(), nil)
			r.forgets.Store(true)
			c := r.dial()
			block := bytes.Repeat(message(size, 1), max(1, 65536/size))
			per := len(block) / size
			b.SetBytes(int64(size))
			for i := 0; i < b.N; i += per {
				write(b, c, block)
			}
			r.eventually("all", func() bool { return r.Stats().Messages >= uint64(b.N) })
		})
	}
}
