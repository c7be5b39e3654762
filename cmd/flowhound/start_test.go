package main

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// refused runs a role and expects it to end at once with status 1 and a last
// line that begins with "flowhound: " and holds each want.
func refused(t *testing.T, role, config string, wants ...string) {
	t.Helper()
	out, err := exec.Command("flowhound", role, "--config", config).CombinedOutput()
	exit, ok := err.(*exec.ExitError)
	if !ok || exit.ExitCode() != 1 {
		t.Fatalf("got %v, want exit status 1\n%s", err, out)
	}
	line := lastLine(string(out))
	for _, want := range append(wants, "flowhound: ") {
		if !strings.Contains(line, want) {
			t.Errorf("got %q, want %q in it", line, want)
		}
	}
}

func TestStartRefused(t *testing.T) {
	t.Run("http port in use", func(t *testing.T) {
		config, httpAddress, _ := writeConfig(t, t.TempDir())
		l, err := net.Listen("tcp", httpAddress)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		refused(t, "run", config, httpAddress, "address already in use")
	})
	t.Run("udp port in use", func(t *testing.T) {
		config, _, udp := writeConfig(t, t.TempDir())
		c, err := net.ListenPacket("udp", udp.String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		refused(t, "run", config, udp.String(), "address already in use")
	})
	t.Run("state directory that cannot be", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		config, _, _ := writeConfig(t, filepath.Join(file, "state"))
		refused(t, "run", config, "state_dir", file)
	})
	t.Run("key that others can read", func(t *testing.T) {
		dir := t.TempDir()
		startAppliance(t, dir).stop()
		if err := os.Chmod(filepath.Join(dir, "keys"), 0o644); err != nil {
			t.Fatal(err)
		}
		config, _, _ := writeConfig(t, dir)
		refused(t, "run", config, filepath.Join(dir, "keys"), "0600")
	})
	t.Run("state directory in use", func(t *testing.T) {
		dir := t.TempDir()
		a := startAppliance(t, dir)
		config, _, _ := writeConfig(t, dir)
		refused(t, "run", config, dir, "another process")
		a.stop()
	})
	t.Run("wrong key in the configuration", func(t *testing.T) {
		config, _, _ := writeConfig(t, t.TempDir())
		text, err := os.ReadFile(config)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(config, append(text, "  workerz: 2\n"...), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command("flowhound", "run", "--config", config).CombinedOutput()
		if err == nil || !strings.Contains(string(out), config+":10:3") || !strings.Contains(string(out), "workerz") {
			t.Errorf("got %v\n%s", err, out)
		}
	})
}

// A snapshot that cannot be read stops the start with its name and the remedy,
// and is left as it is; with --rebuild the log gives the graph back.
func TestCorruptSnapshot(t *testing.T) {
	records, hosts, links := ispDay(t)
	dir := t.TempDir()
	a := startAppliance(t, dir)
	a.send(t.Context(), "127.0.0.5", slices.Values(records))
	a.awaitGraph(hosts, links)
	want := a.get("/api/v1/scores")
	var snapshots []string
	a.await("snapshot", 20e9, func() bool {
		snapshots, _ = filepath.Glob(filepath.Join(dir, "snapshots", "*.snapshot"))
		return len(snapshots) >= 2
	})
	a.stop()
	snapshots, _ = filepath.Glob(filepath.Join(dir, "snapshots", "*.snapshot"))
	slices.Sort(snapshots)
	newest := snapshots[len(snapshots)-1]
	whole, err := os.ReadFile(newest)
	if err != nil {
		t.Fatal(err)
	}
	broken := slices.Clone(whole)
	broken[len(broken)/2] ^= 1
	if err := os.WriteFile(newest, broken, 0o600); err != nil {
		t.Fatal(err)
	}
	config, _, _ := writeConfig(t, dir)
	refused(t, "run", config, newest, "--rebuild")
	if after, _ := os.ReadFile(newest); !slices.Equal(after, broken) {
		t.Error("the refused start changed the snapshot")
	}
	config, httpAddress, _ := writeConfig(t, dir)
	b := &appliance{t: t, http: httpAddress, log: new(lockedBuffer), cmd: exec.Command("flowhound", "run", "--config", config, "--rebuild")}
	b.cmd.Stderr = b.log
	if err := b.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer b.kill()
	b.await("rebuilt graph", 20e9, func() bool {
		resp, err := net.Dial("tcp", httpAddress)
		if err != nil {
			return false
		}
		resp.Close()
		return slices.Equal(b.get("/api/v1/scores"), want)
	})
}
