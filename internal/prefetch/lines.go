//go:build amd64 || arm64

package prefetch

import "unsafe"

// lines asks for the cache lines at p and at last bytes after it.
//
//go:noescape
func lines(p unsafe.Pointer, last uintptr)
