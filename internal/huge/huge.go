// Package huge makes large arrays that the kernel keeps in huge pages of 2 MiB
// (madvise(2), MADV_HUGEPAGE), where it knows how. A look-up at a random place
// of such an array rarely misses the TLB, and a miss is dear: in a virtual
// machine it walks two page tables. Nothing else changes.
package huge

// least is the size in bytes from which an array is worth a system call. It is
// far less than a huge page: the graph has arrays for each of its shards, which
// share pages with each other.
const least = 64 << 10

// Make returns an array of n zeros. T must not hold pointers.
func Make[T any](n int) []T { return Advise(make([]T, n)) }
