package huge

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"unsafe"
)

// TestMake: the array is zero whatever its size, and the kernel knows of a large
// one that huge pages are wanted. Whether it has some to give is its affair.
func TestMake(t *testing.T) {
	for _, n := range []int{0, 1, least - 1, least, 3*least + 1, 64 << 20} {
		s := Make[byte](n)
		if len(s) != n {
			t.Fatalf("length %d, want %d", len(s), n)
		}
		for i, b := range s {
			if b != 0 {
				t.Fatalf("length %d: byte %d is %d", n, i, b)
			}
		}
	}
	if _, err := os.Stat("/sys/kernel/mm/transparent_hugepage"); err != nil {
		t.Skipf("this kernel knows no huge pages: %v", err)
	}
	s := Make[uint64](1 << 20)
	for _, at := range []int{0, len(s) / 2, len(s) - 1} {
		if flags := flagsOf(t, uintptr(unsafe.Pointer(&s[at]))); !slices.Contains(flags, "hg") {
			t.Errorf("element %d lies in memory with the flags %q, want hg among them", at, flags)
		}
	}
}

// flagsOf returns the kernel's flags of the memory at an address of this
// process (proc_pid_smaps(5), VmFlags).
func flagsOf(t *testing.T, address uintptr) []string {
	text, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		t.Skip(err)
	}
	inside := false
	for line := range strings.Lines(string(text)) {
		var from, to uintptr
		if n, _ := fmt.Sscanf(line, "%x-%x ", &from, &to); n == 2 {
			inside = from <= address && address < to
		}
		if flags, ok := strings.CutPrefix(line, "VmFlags:"); ok && inside {
			return strings.Fields(flags)
		}
	}
	t.Fatalf("no memory at the address")
	return nil
}
