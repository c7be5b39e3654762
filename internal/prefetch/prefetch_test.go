//go:build unix

package prefetch

import (
	"syscall"
	"testing"
	"unsafe"
)

// TestValue: asking for memory neither changes it nor faults, at the last byte
// before memory that may not be read either.
func TestValue(t *testing.T) {
	page := syscall.Getpagesize()
	memory, err := syscall.Mmap(-1, 0, 2*page, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_PRIVATE|syscall.MAP_ANON)
	if err != nil {
		t.Skip(err)
	}
	if err := syscall.Mprotect(memory[page:], syscall.PROT_NONE); err != nil {
		t.Skip(err)
	}
	type value [28]byte
	for at := range page - len(value{}) + 1 {
		memory[at] = byte(at)
		Value((*value)(unsafe.Pointer(&memory[at])))
	}
	Value(&memory[page-1])
	for at := range page - len(value{}) + 1 {
		if memory[at] != byte(at) {
			t.Fatalf("byte %d: got %d, want %d", at, memory[at], byte(at))
		}
	}
}
