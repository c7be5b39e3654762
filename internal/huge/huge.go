// Package huge makes large arrays that the kernel keeps in huge pages of 2 MiB
// (madvise(2), MADV_HUGEPAGE), where it knows how. A look-up at a random place
// of such an array rarely misses the TLB, and a miss is dear: in a virtual
// machine it walks two page tables. Nothing else changes.
package huge

// least is the size in bytes from which an array is worth a system call.
const least = 1 << 20

// Make returns an array of n zeros. T must not hold pointers.
func Make[T any](n int) []T { return Advise(make([]T, n)) }
