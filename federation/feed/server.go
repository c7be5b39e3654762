package feed

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"golang.org/x/sys/unix"
)

// embedded is a NATS server in this process, with its state directory locked.
type embedded struct {
	lock    *os.File
	logger  *slog.Logger
	options server.Options

	mu sync.Mutex // guards ns
	ns *server.Server
}

var _ nats.InProcessConnProvider = (*embedded)(nil)

// startTimeout bounds the start of the embedded server, which reads the tail
// of every stream after a crash.
const startTimeout = 2 * time.Minute

func startServer(ctx context.Context, cfg Config, logger *slog.Logger) (*embedded, error) {
	lock, err := lockDir(cfg.Dir)
	if err != nil {
		return nil, err
	}
	e := &embedded{lock: lock, logger: logger}
	if err = e.configure(cfg); err == nil {
		err = e.start(ctx)
	}
	if err != nil {
		e.stop()
		return nil, err
	}
	return e, nil
}

// current returns the running server; nil before its first start.
func (e *embedded) current() *server.Server {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.ns
}

// InProcessConn implements nats.InProcessConnProvider: a client of this
// process follows the server through restarts.
func (e *embedded) InProcessConn() (net.Conn, error) { return e.current().InProcessConn() }

// restart stops the server and starts it again from its files.
func (e *embedded) restart(ctx context.Context) error {
	old := e.current()
	old.Shutdown()
	old.WaitForShutdown()
	return e.start(ctx)
}

// lockDir creates dir if it is missing and takes the lock that keeps a second
// process out of it.
func lockDir(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("state directory %s: %w", dir, cause(err))
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("state directory %s: lock: %w", dir, cause(err))
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		defer f.Close()
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("state directory %s: lock: %w", dir, err)
		}
		by := make([]byte, 16)
		n, _ := f.Read(by)
		pid := strings.TrimSpace(string(by[:n]))
		return nil, fmt.Errorf("state directory %s is used by another process (pid %s)", dir, pid)
	}
	// The number is for the message above only; the lock is what counts.
	if err = f.Truncate(0); err == nil {
		_, err = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("state directory %s: lock: %w", dir, cause(err))
	}
	return f, nil
}

// cause strips the path that the message already has.
func cause(err error) error {
	var p *os.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

func (e *embedded) configure(cfg Config) error {
	store := filepath.Join(cfg.Dir, "log")
	e.options = server.Options{
		ServerName:             "flowhound",
		DontListen:             true,
		JetStream:              true,
		StoreDir:               store,
		SyncAlways:             cfg.SyncAlways,
		MaxPayload:             maxPayload,
		MaxPending:             2 * (1 + Streams) * wideFetchBytes, // all readers of two roles
		NoSigs:                 true,
		DisableJetStreamBanner: true,
		// The streams' own limits bound the disk; a server limit would only
		// refuse to load them after max-bytes was lowered.
		JetStreamMaxStore:  1 << 50,
		JetStreamMaxMemory: 64 << 20,
	}
	if err := markStandalone(store); err != nil {
		return err
	}
	if cfg.Listen == "" {
		return nil
	}
	return listenOn(&e.options, cfg.Listen, e.logger)
}

// start starts a server and waits until it is ready.
func (e *embedded) start(ctx context.Context) error {
	options := e.options // the server changes its copy
	ns, err := server.NewServer(&options)
	if err != nil {
		return fmt.Errorf("log: embedded server: %w", err)
	}
	e.mu.Lock()
	e.ns = ns
	e.mu.Unlock()
	messages := newServerLog(e.logger)
	ns.SetLoggerV2(messages, false, false, false)
	ns.Start()
	if err := awaitReady(ctx, ns, messages.fatal); err != nil {
		return fmt.Errorf("log: embedded server in %s: %w", e.options.StoreDir, err)
	}
	return nil
}

func awaitReady(ctx context.Context, ns *server.Server, fatal <-chan string) error {
	for deadline := time.Now().Add(startTimeout); !ns.ReadyForConnections(50 * time.Millisecond); {
		select {
		case text := <-fatal:
			return errors.New(text)
		case <-ctx.Done():
			return ctx.Err()
		default:
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("not ready after %v", startTimeout)
		}
	}
	if !ns.JetStreamEnabled() {
		return errors.New("JetStream did not start")
	}
	return nil
}

// listenOn opens the port once beforehand: the server's own failure to do so
// would come late and in other words.
func listenOn(options *server.Options, hostport string, logger *slog.Logger) error {
	l, err := net.Listen("tcp", hostport)
	if err != nil {
		return fmt.Errorf("log: listen on %s: %w", hostport, syscallCause(err))
	}
	addr := l.Addr().(*net.TCPAddr)
	_ = l.Close()
	if !addr.IP.IsLoopback() {
		logger.Warn("the log accepts clients without a password beyond loopback", "port", addr.Port)
	}
	options.DontListen = false
	options.Host, _, _ = net.SplitHostPort(hostport)
	options.Port = addr.Port
	return nil
}

func syscallCause(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		var call *os.SyscallError
		if errors.As(op.Err, &call) {
			return call.Err
		}
		return op.Err
	}
	return err
}

// markStandalone keeps a store from ever being opened by a clustered server,
// which would delete the streams of a standalone one as orphans.
func markStandalone(store string) error {
	const mode = "standalone\n"
	path := filepath.Join(store, "mode")
	if err := os.MkdirAll(store, 0o700); err != nil {
		return fmt.Errorf("state directory %s: %w", store, cause(err))
	}
	got, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		got, err = []byte(mode), os.WriteFile(path, []byte(mode), 0o600)
	}
	if err != nil {
		return fmt.Errorf("state directory %s: %w", path, cause(err))
	}
	if string(got) != mode {
		return fmt.Errorf("state directory %s: the log is of mode %q, not standalone", store, strings.TrimSpace(string(got)))
	}
	return nil
}

// stop ends the server, which writes its indexes, and gives the directory up.
func (e *embedded) stop() {
	if ns := e.current(); ns != nil {
		ns.Shutdown()
		ns.WaitForShutdown()
	}
	_ = e.lock.Close()
}
