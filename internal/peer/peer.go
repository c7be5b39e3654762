// Package peer finds the real programs that tests talk to: exporters, meters,
// Prometheus, systemd's tools.
package peer

import (
	"os"
	"os/exec"
	"testing"
)

// Need returns the path of a program. Where it is missing the test skips and
// says so; where it may not be ($FLOWHOUND_REQUIRE_TOOLS, set in CI) the test
// fails. make deps installs what the tests need.
func Need(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err == nil {
		return path
	}
	if os.Getenv("FLOWHOUND_REQUIRE_TOOLS") != "" {
		t.Fatalf("%s is not installed; make deps installs it", name)
	}
	t.Skipf("%s is not installed; make deps installs it", name)
	return ""
}
