package app

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/flowhound/flowhound/collector"
	"github.com/flowhound/flowhound/detector"
	"github.com/flowhound/flowhound/federation/feed"
	"github.com/flowhound/flowhound/internal/config"
)

// DefaultHTTPAddress is where the appliance serves HTTP unless told otherwise.
const DefaultHTTPAddress = "127.0.0.1:8470"

// keyFileName is the key file's name within the state directory.
const keyFileName = "keys"

// templateFileName is the template file's name within the state directory.
const templateFileName = "templates"

// Quiet is a log level above error: an appliance inside another program.
const Quiet = slog.LevelError + 4

// Config is the whole appliance's configuration: the root of the YAML file.
type Config struct {
	// StateDir is the directory of everything that survives a restart: the key,
	// the log, snapshots, events. Default: $STATE_DIRECTORY, which systemd
	// sets, else $XDG_STATE_HOME/flowhound, else ~/.local/state/flowhound.
	StateDir string `yaml:"state_dir" env:"FLOWHOUND_STATE_DIR"`
	// Slice is the length of a slice, the step in which hosts are ranked;
	// default 5m. It cannot change in a state directory that is in use.
	Slice time.Duration `yaml:"slice"`
	// Window is how long a contact counts; default 24h, a whole number of
	// slices.
	Window time.Duration `yaml:"window"`
	// HTTP is where metrics, the API and the status page are served.
	HTTP HTTPConfig `yaml:"http"`
	// Logging says what is logged and how.
	Logging LoggingConfig `yaml:"logging"`
	// Collector receives, decodes and pseudonymises.
	Collector collector.Config `yaml:"collector"`
	// Detector keeps the graph and ranks it.
	Detector detector.Config `yaml:"detector"`
	// Log is the durable log between collector and detector.
	Log LogConfig `yaml:"log"`
}

// HTTPConfig is the HTTP port.
type HTTPConfig struct {
	// Listen is the host:port; default 127.0.0.1:8470. Whoever reaches it can
	// read every pseudonym and set seeds: keep it on loopback or behind a proxy
	// that asks who it is.
	Listen string `yaml:"listen" env:"FLOWHOUND_HTTP_LISTEN"`
	// Hosts are names that requests may use for this server, such as that of a
	// proxy in front; default none. On a loopback address only localhost, IP
	// addresses and these are answered, so that no web page can read along.
	Hosts []string `yaml:"hosts"`
}

// LoggingConfig is the program's own log.
type LoggingConfig struct {
	// Level is debug, info, warn or error; default info.
	Level slog.Level `yaml:"level" env:"FLOWHOUND_LOG_LEVEL"`
	// Format is text or json; default text.
	Format string `yaml:"format"`
}

// LogConfig is the part of the log's settings that an operator chooses.
type LogConfig struct {
	// URL names NATS servers to use instead of the embedded one, separated by
	// commas; default none. A collector alone keeps its own log, in which
	// contacts wait while those servers are away.
	URL string `yaml:"url" env:"FLOWHOUND_LOG_URL"`
	// Listen is the host:port on which the embedded server accepts collectors
	// on other machines; default none. Whoever reaches it can read and write
	// the log: it belongs on a private network.
	Listen string `yaml:"listen"`
	// MaxBytes is the disk space that the log may take, in bytes; default
	// 20 GiB, at least 1 GiB. The oldest messages go first. At a collector
	// alone it bounds how long the servers at url may be away without a loss.
	MaxBytes int64 `yaml:"max_bytes"`
	// Sync makes every acknowledged message survive a power loss, by an fsync
	// each; default true.
	Sync bool `yaml:"sync"`
	// Replicas is the number of copies of the log; default 1, more needs a NATS
	// cluster behind url.
	Replicas int `yaml:"replicas"`
}

// DefaultConfig returns the defaults that Config documents.
func DefaultConfig() Config {
	log := feed.DefaultConfig()
	c := Config{
		HTTP:      HTTPConfig{Listen: DefaultHTTPAddress},
		Logging:   LoggingConfig{Level: slog.LevelInfo, Format: "text"},
		Collector: collector.DefaultConfig(),
		Detector:  detector.DefaultConfig(),
		Log:       LogConfig{MaxBytes: log.MaxBytes, Sync: log.SyncAlways, Replicas: log.Replicas},
	}
	c.Slice, c.Window = c.Detector.Slice, c.Detector.Window
	c.StateDir = DefaultStateDir()
	return c
}

// LoadConfig merges the file at path (none if empty), the environment, and what
// override sets (nil: nothing), over the defaults, and validates the result.
func LoadConfig(path string, override func(*Config)) (Config, error) {
	c := DefaultConfig()
	if err := config.Load(path, &c, os.LookupEnv); err != nil {
		return Config{}, err
	}
	if override != nil {
		override(&c)
	}
	c.settle()
	return c, c.Validate()
}

// settle passes the settings on that several components share.
func (c *Config) settle() {
	if c.Collector.Keys.File == "" {
		c.Collector.Keys.File = KeyFileIn(c.StateDir)
	}
	c.Collector.Slice = c.Slice
	c.Detector.Slice, c.Detector.Window = c.Slice, c.Window
	if c.Collector.Templates.File == "" {
		c.Collector.Templates.File = filepath.Join(c.StateDir, templateFileName)
	}
}

// Validate reports what no component could report alone.
func (c Config) Validate() error {
	c.settle()
	if c.StateDir == "" {
		return errors.New("state_dir: empty, and neither $STATE_DIRECTORY nor a home directory is known")
	}
	if _, port, err := net.SplitHostPort(c.HTTP.Listen); err != nil || !validPort(port) {
		return fmt.Errorf("http.listen %q: want host:port", c.HTTP.Listen)
	}
	for _, u := range strings.Split(c.Log.URL, ",") {
		if parsed, err := url.Parse(strings.TrimSpace(u)); c.Log.URL != "" && (err != nil || parsed.Host == "" || parsed.Scheme == "") {
			return fmt.Errorf("log.url %q: want nats://host:4222 or tls://host:4222, separated by commas", c.Log.URL)
		}
	}
	if c.Logging.Format != "text" && c.Logging.Format != "json" {
		return fmt.Errorf("logging.format %q: want text or json", c.Logging.Format)
	}
	if err := c.Detector.Validate(); err != nil {
		return err
	}
	if err := c.Collector.Validate(); err != nil {
		return err
	}
	if err := c.feed().Validate(); err != nil {
		return err
	}
	return nil
}

// feed returns the log's configuration. Contacts are kept for the window and
// until the snapshot after next, so that a graph can be rebuilt from the log.
func (c Config) feed() feed.Config {
	f := feed.Config{
		Dir: c.StateDir, URL: c.Log.URL, Listen: c.Log.Listen, MaxBytes: c.Log.MaxBytes,
		SyncAlways: c.Log.Sync, Replicas: c.Log.Replicas,
	}
	snapshots := time.Duration(c.Detector.SnapshotSlices+c.Detector.FullEvery) * c.Slice // between two, at most
	f.MaxAge = max(c.Window+2*snapshots, time.Hour)
	return f
}

// spool returns the configuration of a collector's own log, from which a
// forwarder moves everything into the one that feed describes. What is older
// than the window no longer counts anywhere, so that it need not wait longer.
func (c Config) spool() feed.Config {
	f := c.feed()
	f.URL, f.Replicas, f.Spool = "", 1, true
	f.MaxAge = max(c.Window, time.Hour)
	return f
}

func validPort(port string) bool {
	_, err := strconv.ParseUint(port, 10, 16)
	return err == nil
}

// DefaultStateDir returns the state directory that this process would use, ""
// if none is known.
func DefaultStateDir() string {
	if dir := os.Getenv("STATE_DIRECTORY"); dir != "" {
		return dir
	}
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "flowhound")
	}
	if home, err := os.UserHomeDir(); err == nil {
		return filepath.Join(home, ".local", "state", "flowhound")
	}
	return ""
}

// KeyFileIn returns the key file of a state directory, unless the configuration
// names another.
func KeyFileIn(stateDir string) string { return filepath.Join(stateDir, keyFileName) }

// DefaultKeyFile returns the key file in the default state directory.
func DefaultKeyFile() string {
	if dir := DefaultStateDir(); dir != "" {
		return KeyFileIn(dir)
	}
	return keyFileName
}
