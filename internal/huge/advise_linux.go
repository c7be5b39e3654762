package huge

import (
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// page is the size of a huge page.
const page = 2 << 20

// Advise asks for huge pages for the whole capacity of an array on Go's heap
// and returns it. It is best asked before the array is first written to: small
// pages that are there have to be copied. Pages that the array shares with its
// neighbours are included, for the heap's large arrays lie side by side. A
// refusal costs only speed and is not reported.
func Advise[T any](s []T) []T {
	// The heap consists of arenas of 64 MiB, mapped as a whole: rounding to
	// huge pages does not leave it.
	advise(s, unix.MADV_HUGEPAGE)
	return s
}

// Join asks for the small pages of an array to be joined to huge ones at once,
// which copies them (MADV_COLLAPSE, Linux 6.1; otherwise nothing happens): an
// array may lie where another that did not ask was before. It is worth its time
// for an array that will be looked up for long.
func Join[T any](s []T) { advise(s, unix.MADV_COLLAPSE) }

// advise tells the kernel about the memory of an array of some size. The range is
// given in numbers, for a slice must not reach into other arrays: checkptr, part
// of -race, stops that.
func advise[T any](s []T, advice uintptr) {
	var zero T
	size := uintptr(cap(s)) * unsafe.Sizeof(zero)
	if size < least {
		return
	}
	first := uintptr(unsafe.Pointer(unsafe.SliceData(s)))
	begin, end := first/page*page, (first+size+page-1)/page*page
	_, _, _ = unix.Syscall(unix.SYS_MADVISE, begin, end-begin, advice)
	runtime.KeepAlive(s)
}
