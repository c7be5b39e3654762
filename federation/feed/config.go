package feed

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Config says where the log is and how much of it is kept.
type Config struct {
	// Dir is the state directory of the embedded server, which keeps its
	// files in Dir/log and its lock in Dir/lock. Not used when URL is set.
	Dir string `yaml:"dir"`
	// URL names NATS servers to use instead of the embedded one, separated by
	// commas: nats://host:4222 or tls://host:4222. Default none.
	URL string `yaml:"url"`
	// Listen is the host:port on which the embedded server accepts other
	// collectors and detectors. Whoever reaches it can read and write the
	// log: it belongs on loopback or a private network. Default none.
	Listen string `yaml:"listen"`
	// MaxBytes is the disk space that all streams may take, in bytes; the
	// oldest messages go first. Default 20 GiB.
	MaxBytes int64 `yaml:"max_bytes"`
	// MaxAge is how long contacts are kept, 0 for as long as there is room.
	// It must cover the window and the time between two snapshots.
	MaxAge time.Duration `yaml:"max_age"`
	// SyncAlways makes every acknowledged message survive a power loss, by an
	// fsync each. Default true. A remote server has its own setting.
	SyncAlways bool `yaml:"sync_always"`
	// Spool says that a [Forwarder] takes the embedded log's messages
	// elsewhere, and may drop what it has forwarded.
	Spool bool `yaml:"-"`
	// Replicas is the number of copies of each stream; more than 1 needs a
	// cluster behind URL. Default 1.
	Replicas int `yaml:"replicas"`
}

// Deps are what a log needs from its surroundings.
type Deps struct {
	Registerer prometheus.Registerer // nil for no metrics
	Logger     *slog.Logger          // nil for slog's default
}

// DefaultConfig returns the configuration of one box without a directory.
func DefaultConfig() Config {
	return Config{MaxBytes: 20 << 30, SyncAlways: true, Replicas: 1}
}

// minBytes leaves each contact stream room for a few of the largest batches.
const minBytes = 1 << 30

// Validate returns the first thing wrong with the configuration.
func (c Config) Validate() error {
	switch {
	case c.URL == "" && c.Dir == "":
		return errors.New("log: neither a state directory nor a URL")
	case c.URL != "" && c.Listen != "":
		return errors.New("log: listen needs the embedded server, but a URL is set")
	case c.URL != "" && c.Spool:
		return errors.New("log: a spool needs the embedded server, but a URL is set")
	case c.MaxBytes < minBytes:
		return fmt.Errorf("log: max_bytes %d: want at least %d", c.MaxBytes, minBytes)
	case c.MaxAge < 0 || c.MaxAge > 0 && c.MaxAge < duplicates:
		return fmt.Errorf("log: max_age %v: want 0 or at least %v", c.MaxAge, duplicates)
	case c.Replicas < 1 || c.Replicas > 5:
		return fmt.Errorf("log: replicas %d: want 1 to 5", c.Replicas)
	case c.Replicas > 1 && c.URL == "":
		return fmt.Errorf("log: replicas %d: the embedded server is one", c.Replicas)
	}
	if c.Listen != "" {
		if _, _, err := net.SplitHostPort(c.Listen); err != nil {
			return fmt.Errorf("log: listen %q: want host:port", c.Listen)
		}
	}
	return nil
}
