package huge

import (
	"bufio"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
)

// TestMake: the array is zero whatever its size, and of a large one that is
// written to a good part is in huge pages, as the kernel's account has it.
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
	kind, err := os.ReadFile("/sys/kernel/mm/transparent_hugepage/enabled")
	if err != nil || strings.Contains(string(kind), "[never]") {
		t.Skipf("this kernel gives no huge pages: %v %s", err, kind)
	}
	s := Make[uint64](32 << 20) // 256 MiB: larger than what the tests before freed
	for i := 0; i < len(s); i += 512 {
		s[i] = uint64(i)
	}
	if got := hugeKiB(t); got < 64<<10 {
		t.Errorf("%d KiB in huge pages after writing to 256 MiB", got)
	}
	runtime.KeepAlive(s)
}

// hugeKiB returns how much of this process is in huge pages.
func hugeKiB(t *testing.T) (sum int) {
	f, err := os.Open("/proc/self/smaps_rollup")
	if err != nil {
		t.Skip(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), "AnonHugePages:"); ok {
			sum, _ = strconv.Atoi(strings.Fields(rest)[0])
		}
	}
	return sum
}
