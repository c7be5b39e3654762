package systemd

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/flowhound/flowhound/internal/peer"
)

// maxExposure is the exposure that systemd-analyze security may find, in
// tenths: 2.0 is well inside its best class, "OK" begins below 3.0.
const maxExposure = 20

// stage installs the units as a package would, below a root of its own.
func stage(t *testing.T, units ...string) string {
	t.Helper()
	root := t.TempDir()
	put := func(dir, name string, mode os.FileMode, data []byte) {
		t.Helper()
		dir = filepath.Join(root, dir)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, mode); err != nil {
			t.Fatal(err)
		}
	}
	for _, u := range units {
		data, err := os.ReadFile(u)
		if err != nil {
			t.Fatal(err)
		}
		put("usr/lib/systemd/system", u, 0o644, data)
	}
	// The units that ours refer to, and the programs that they start.
	for _, u := range []string{"network-online.target", "sysinit.target", "basic.target", "sockets.target", "shutdown.target", "multi-user.target"} {
		put("usr/lib/systemd/system", u, 0o644, []byte("[Unit]\nDescription=x\n"))
	}
	for _, u := range []string{"system.slice", "-.slice"} {
		put("usr/lib/systemd/system", u, 0o644, []byte("[Unit]\nDescription=x\n[Slice]\n"))
	}
	put("usr/bin", "flowhound", 0o755, []byte("#!/bin/true\n"))
	put("bin", "kill", 0o755, []byte("#!/bin/true\n"))
	return root
}

func units(t *testing.T) []string {
	t.Helper()
	var list []string
	for _, pattern := range []string{"*.service", "*.socket"} {
		found, err := filepath.Glob(pattern)
		if err != nil || len(found) == 0 {
			t.Fatalf("no %s: %v", pattern, err)
		}
		list = append(list, found...)
	}
	return list
}

// verify runs systemd-analyze verify; a warning about a unit of ours counts.
func verify(t *testing.T, root string, units []string) error {
	t.Helper()
	args := []string{"--no-pager", "--man=no", "--root=" + root, "verify"}
	out, err := exec.Command(peer.Need(t, "systemd-analyze"), append(args, units...)...).CombinedOutput()
	if err == nil && len(out) == 0 {
		return nil
	}
	return fmt.Errorf("systemd-analyze %s: %v\n%s", strings.Join(args, " "), err, out)
}

func TestVerify(t *testing.T) {
	list := units(t)
	if err := verify(t, stage(t, list...), list); err != nil {
		t.Error(err)
	}
}

func TestExposure(t *testing.T) {
	root := stage(t, units(t)...)
	out, err := security(t, filepath.Join(root, "usr/lib/systemd/system/flowhound.service"))
	if err != nil {
		t.Errorf("exposure above %.1f: %v\n%s", maxExposure/10.0, err, out)
	}
	t.Log(regexp.MustCompile(`(?m)^.*Overall exposure.*$`).FindString(out))
}

func security(t *testing.T, unit string) (string, error) {
	t.Helper()
	out, err := exec.Command(peer.Need(t, "systemd-analyze"), "--no-pager", "security", "--offline=true",
		fmt.Sprintf("--threshold=%d", maxExposure), unit).CombinedOutput()
	return string(out), err
}

// The two checks can fail: a misspelt directive and a unit without hardening.
func TestChecksBite(t *testing.T) {
	list := units(t)
	root := stage(t, list...)
	path := filepath.Join(root, "usr/lib/systemd/system/flowhound.service")
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	write := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(strings.Replace(string(good), "ProtectHome=", "ProtectHomes=", 1))
	if err := verify(t, root, list); err == nil || !strings.Contains(err.Error(), "ProtectHomes") {
		t.Errorf("misspelt directive: got %v", err)
	}
	write("[Service]\nExecStart=/usr/bin/flowhound run\n")
	if out, err := security(t, path); err == nil {
		t.Errorf("a bare unit passes:\n%s", out)
	}
}

// The sockets carry the names that the appliance looks for, on the ports that
// it would open itself, and the service inherits each of them.
func TestSockets(t *testing.T) {
	service, err := os.ReadFile("flowhound.service")
	if err != nil {
		t.Fatal(err)
	}
	app, err := os.ReadFile("../internal/app/sockets.go")
	if err != nil {
		t.Fatal(err)
	}
	for name, port := range map[string]string{"netflow": "2055", "ipfix": "4739", "sflow": "6343"} {
		unit := "flowhound-" + name + ".socket"
		text, err := os.ReadFile(unit)
		if err != nil {
			t.Error(err)
			continue
		}
		for _, want := range []string{"FileDescriptorName=" + name, "ListenDatagram=" + port, "ReceiveBuffer=64M", "ReusePort=yes", "Service=flowhound.service"} {
			if !strings.Contains(string(text), "\n"+want+"\n") {
				t.Errorf("%s has no line %s", unit, want)
			}
		}
		if n := strings.Count(string(service), unit); n != 2 {
			t.Errorf("flowhound.service names %s %d times, want in Sockets= and Also=", unit, n)
		}
		if !strings.Contains(string(app), `"`+name+`"`) {
			t.Errorf("the appliance does not know a socket named %q", name)
		}
	}
}

// Whatever the unit starts is in ExecPaths=: NoExecPaths=/ keeps everything else
// from running, the kill(1) of a reload too.
func TestExecPaths(t *testing.T) {
	data, err := os.ReadFile("flowhound.service")
	if err != nil {
		t.Fatal(err)
	}
	paths := regexp.MustCompile(`(?m)^ExecPaths=(.*)$`).FindSubmatch(data)
	if paths == nil {
		t.Fatal("no ExecPaths=")
	}
	for _, m := range regexp.MustCompile(`(?m)^Exec(?:Start|Reload)=(\S+)`).FindAllSubmatch(data, -1) {
		allowed := false
		for _, p := range strings.Fields(string(paths[1])) {
			allowed = allowed || strings.TrimPrefix(p, "-") == string(m[1])
		}
		if !allowed {
			t.Errorf("%s starts %s, which ExecPaths=%s does not allow", m[0], m[1], paths[1])
		}
	}
}

// The example configuration is one that the program accepts.
func TestExampleConfiguration(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the program")
	}
	bin := filepath.Join(t.TempDir(), "flowhound")
	if out, err := exec.Command("go", "build", "-o", bin, "../cmd/flowhound").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	if out, err := exec.Command(bin, "check", "flowhound.yaml").CombinedOutput(); err != nil {
		t.Errorf("flowhound check flowhound.yaml: %v\n%s", err, out)
	}
	// Its commented examples are accepted too.
	data, err := os.ReadFile("flowhound.yaml")
	if err != nil {
		t.Fatal(err)
	}
	text := strings.NewReplacer("exporters: []", "exporters:", "  #  - {", "    - {", "  # seeds:", "  seeds:").Replace(string(data))
	file := filepath.Join(t.TempDir(), "f.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(bin, "check", file).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "edge-fra1") || !strings.Contains(string(out), "seeds: /etc/flowhound/seeds.txt") {
		t.Errorf("flowhound check of the examples: %v\n%s", err, out)
	}
}
