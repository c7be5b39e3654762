//go:build !linux

package huge

// Advise returns s: this system has no such advice.
func Advise[T any](s []T) []T { return s }

// Join does nothing.
func Join[T any]([]T) {}
