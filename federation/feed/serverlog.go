package feed

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"regexp"
	"strings"

	"github.com/nats-io/nats-server/v2/server"
)

// serverLog passes the embedded server's messages on, with network addresses
// replaced: at debug level, except that errors are warnings here.
type serverLog struct {
	logger *slog.Logger
	fatal  chan string // the first fatal message, buffered
}

var _ server.Logger = (*serverLog)(nil)

func newServerLog(logger *slog.Logger) *serverLog {
	return &serverLog{logger: logger, fatal: make(chan string, 1)}
}

func (s *serverLog) log(level slog.Level, format string, v ...any) string {
	if !s.logger.Enabled(context.Background(), level) && level < slog.LevelError {
		return ""
	}
	text := scrub(fmt.Sprintf(format, v...))
	s.logger.Log(context.Background(), level, "log server", "text", text)
	return text
}

// Noticef implements server.Logger.
func (s *serverLog) Noticef(format string, v ...any) { s.log(slog.LevelDebug, format, v...) }

// Warnf implements server.Logger.
func (s *serverLog) Warnf(format string, v ...any) { s.log(slog.LevelDebug, format, v...) }

// Errorf implements server.Logger.
func (s *serverLog) Errorf(format string, v ...any) { s.log(slog.LevelWarn, format, v...) }

// Debugf implements server.Logger.
func (s *serverLog) Debugf(format string, v ...any) { s.log(slog.LevelDebug, format, v...) }

// Tracef implements server.Logger.
func (s *serverLog) Tracef(string, ...any) {}

// Fatalf implements server.Logger. The server does not end the process here:
// start reports the first message as its error.
func (s *serverLog) Fatalf(format string, v ...any) {
	text := s.log(slog.LevelError, format, v...)
	select {
	case s.fatal <- text:
	default:
	}
}

// address matches IPv4 addresses and whatever has the shape of an IPv6 one.
var address = regexp.MustCompile(`\b\d{1,3}(\.\d{1,3}){3}\b|\[?\b[0-9a-fA-F]{0,4}(:[0-9a-fA-F]{0,4}){2,7}(%\w+)?\b\]?|::[0-9a-fA-F:.]*`)

// scrub replaces the network addresses in a text from NATS.
func scrub(text string) string { return address.ReplaceAllString(text, "[address]") }

// redact returns the URLs without passwords.
func redact(urls string) string {
	list := strings.Split(urls, ",")
	for i, u := range list {
		if p, err := url.Parse(strings.TrimSpace(u)); err == nil {
			list[i] = p.Redacted()
		} else {
			list[i] = "[url]"
		}
	}
	return strings.Join(list, ",")
}
