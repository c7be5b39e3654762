// Package prefetch asks the processor for memory that will be read soon, and
// does not wait for it. A look-up at a random place of a large array costs a
// hundred nanoseconds and more; those of many overlap with each other and with
// other work if each is asked for some work ahead.
package prefetch

import "unsafe"

// Value asks for *p, which has at most 64 bytes: for the two cache lines that
// its first and its last byte are in. It changes nothing.
func Value[T any](p *T) { lines(unsafe.Pointer(p), unsafe.Sizeof(*p)-1) }
