package main

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// A file that cannot be written whole leaves the old one; what is no file, such
// as a device, is never removed nor replaced by one.
func TestReplaceFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "links")
	full := errors.New("disk full")
	half := func(w io.Writer) error { return errors.Join(second(io.WriteString(w, "half")), full) }
	whole := func(w io.Writer) error { return second(io.WriteString(w, "whole")) }
	f := func(write func(io.Writer) error, wantErr error, want string) {
		t.Helper()
		if err := replaceFile(path, write); !errors.Is(err, wantErr) {
			t.Errorf("got %v, want %v", err, wantErr)
		}
		if got, _ := os.ReadFile(path); string(got) != want {
			t.Errorf("got %q, want %q", got, want)
		}
		if entries, err := os.ReadDir(dir); err != nil || len(entries) > 1 {
			t.Errorf("got %v, %v, want nothing beside the file", entries, err)
		}
	}
	f(half, full, "")
	f(whole, nil, "whole")
	f(half, full, "whole")

	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	reader, err := os.OpenFile(pipe, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	if err := replaceFile(pipe, half); !errors.Is(err, full) {
		t.Errorf("pipe: got %v, want %v", err, full)
	}
	if info, err := os.Stat(pipe); err != nil || info.Mode().Type() != os.ModeNamedPipe {
		t.Errorf("the pipe was replaced: %v, %v", info, err)
	}
}

func second(_ int, err error) error { return err }
