package main

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/flowhound/flowhound/internal/flow"
	"github.com/flowhound/flowhound/testbench/exporter"
)

// exportFile writes the export packets of n flow records as a raw file.
func exportFile(t *testing.T, p exporter.Protocol, n int) string {
	t.Helper()
	enc, err := exporter.New(exporter.Config{Protocol: p, Domain: 3})
	if err != nil {
		t.Fatal(err)
	}
	var file bytes.Buffer
	keep := func(packet []byte) error { file.Write(packet); return nil }
	for i := range n {
		r := flow.Record{
			Src: flow.AddrFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(i)})), Dst: flow.AddrFrom(netip.MustParseAddr("198.18.0.1")),
			SrcPort: uint16(40000 + i), DstPort: 443, Proto: 6, TCPFlags: flow.TCPSyn | flow.TCPAck,
			Packets: 3, Bytes: 180, StartMS: 1_000_000, EndMS: 1_001_000, Sampling: 1,
		}
		if err := enc.Add(&r, 1_002_000, keep); err != nil {
			t.Fatal(err)
		}
	}
	if err := enc.Flush(1_002_000, keep); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), string(p)+".raw")
	if err := os.WriteFile(path, file.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// decode prints one JSON object a line, with the fields that other programs
// are built on.
func TestDecodeLines(t *testing.T) {
	for _, p := range []exporter.Protocol{exporter.NetFlow5, exporter.IPFIX} { // v9 has no length to split a raw file by
		out, err := exec.Command("flowhound", "decode", exportFile(t, p, 60)).Output()
		if err != nil {
			t.Fatalf("%s: %v", p, err)
		}
		lines := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
		if len(lines) != 60 {
			t.Fatalf("%s: got %d lines, want 60", p, len(lines))
		}
		for i, line := range lines {
			var r map[string]any
			if err := json.Unmarshal([]byte(line), &r); err != nil {
				t.Fatalf("%s line %d: %v: %s", p, i+1, err, line)
			}
			for _, key := range []string{"exporter", "version", "src", "dst", "src_port", "dst_port", "proto", "packets", "bytes", "start_ms", "end_ms", "tcp_flags", "sampling"} {
				if _, ok := r[key]; !ok {
					t.Errorf("%s line %d: no %q in %s", p, i+1, key, line)
				}
			}
			if r["dst"] != "198.18.0.1" || r["dst_port"] != 443.0 || r["packets"] != 3.0 {
				t.Errorf("%s line %d: got %s", p, i+1, line)
			}
		}
	}
}

// A file that is none, missing, compressed or cut does not hide what the
// others hold, and is named.
func TestDecodeBadFiles(t *testing.T) {
	good := exportFile(t, exporter.IPFIX, 30)
	dir := t.TempDir()
	text := filepath.Join(dir, "text")
	zipped := filepath.Join(dir, "capture.gz")
	if err := os.WriteFile(text, []byte("no export packets\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(zipped, []byte{0x1f, 0x8b, 8, 0}, 0o600); err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	cmd := exec.Command("flowhound", "decode", text, filepath.Join(dir, "missing"), zipped, good)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err == nil {
		t.Error("a missing file: got exit status 0")
	}
	if n := strings.Count(stdout.String(), "\n"); n != 30 {
		t.Errorf("got %d records, want the good file's 30", n)
	}
	for _, want := range []string{text + ": of 1 packets could not be used: unknown_version 1", "missing", "gzip"} {
		if !strings.Contains(stderr.String(), want) {
			t.Errorf("no %q in\n%s", want, stderr.String())
		}
	}
	out, _ := exec.Command("flowhound", "decode", "--count", "--output", "json", filepath.Join(dir, "missing"), good).Output()
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if len(lines) != 2 || !strings.Contains(lines[0], `"file_error":1`) || !strings.Contains(lines[1], `"records":30`) {
		t.Errorf("--count: got %q", lines)
	}
}
