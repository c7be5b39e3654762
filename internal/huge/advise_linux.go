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
	var zero T
	size := uintptr(cap(s)) * unsafe.Sizeof(zero)
	if size < least {
		return s
	}
	// The heap consists of arenas of 64 MiB, mapped as a whole: rounding to
	// huge pages does not leave it. The range is given in numbers, for a slice
	// must not reach into other arrays: checkptr, part of -race, stops that.
	first := uintptr(unsafe.Pointer(unsafe.SliceData(s)))
	begin, end := first/page*page, (first+size+page-1)/page*page
	_, _, _ = unix.Syscall(unix.SYS_MADVISE, begin, end-begin, unix.MADV_HUGEPAGE)
	// A neighbour that did not ask may have been there before. The kernel joins
	// its small pages when it finds time, or at once if told to (Linux 6.1).
	_, _, _ = unix.Syscall(unix.SYS_MADVISE, begin, end-begin, unix.MADV_COLLAPSE)
	runtime.KeepAlive(s)
	return s
}
