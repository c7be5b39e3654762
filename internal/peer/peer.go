// Package peer finds the real programs that tests talk to, exporters, meters,
// Prometheus, systemd's tools, and addresses to meet them at.
package peer

import (
	"net"
	"net/netip"
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

// FreeTCP returns a TCP address on loopback that nobody uses, as host:port.
func FreeTCP(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// FreeUDP returns a UDP address on loopback that nobody uses.
func FreeUDP(t testing.TB) netip.AddrPort {
	t.Helper()
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return netip.MustParseAddrPort(c.LocalAddr().String())
}
