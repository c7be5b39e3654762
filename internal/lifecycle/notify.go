package lifecycle

import (
	"fmt"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"
)

// Notifier tells a service manager about the process's state.
type Notifier interface {
	// Notify sends assignments such as READY=1, all in one message.
	Notify(assignments ...string)
	// Watchdog returns how often, at least, WATCHDOG=1 is expected; 0: never.
	Watchdog() time.Duration
}

// SystemdNotifier speaks sd_notify(3) to the socket that $NOTIFY_SOCKET names.
// Without one, as in a terminal, it does nothing.
type SystemdNotifier struct{}

// Notify sends the assignments. Failing is not an error of the process: the
// manager notices a missing message by itself.
func (SystemdNotifier) Notify(assignments ...string) {
	_, _ = daemon.SdNotify(false, strings.Join(assignments, "\n"))
}

// Watchdog returns WatchdogSec= of the unit, 0 where it is unset or meant for
// another process.
func (SystemdNotifier) Watchdog() time.Duration {
	d, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		return 0
	}
	return d
}

// monotonic returns the assignment that Type=notify-reload wants beside
// RELOADING=1 (systemd.service(5)); older managers ignore it.
func monotonic() string {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return "MONOTONIC_USEC=0"
	}
	return fmt.Sprintf("MONOTONIC_USEC=%d", ts.Nano()/int64(time.Microsecond))
}
