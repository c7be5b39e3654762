package load

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"time"

	"golang.org/x/sys/unix"
)

// threadCPU returns the CPU time of the calling thread, to which the caller is
// locked.
func threadCPU() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
		panic("BUG: CLOCK_THREAD_CPUTIME_ID: " + err.Error())
	}
	return time.Duration(t.Nano())
}

// processCPU returns the CPU time of this process, the kernel's share
// included.
func processCPU() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		panic("BUG: getrusage: " + err.Error())
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// cores returns the CPUs that receiver and sender shall run on: the last and
// the first of those that this process may use. ok is false if there is one
// only, or they are unknown.
func cores() (receiver, sender int, ok bool) {
	var set unix.CPUSet
	if unix.SchedGetaffinity(0, &set) != nil || set.Count() < 2 {
		return 0, 0, false
	}
	sender = -1
	for i := range 8 * len(set) * 8 {
		if set.IsSet(i) {
			if sender < 0 {
				sender = i
			}
			receiver = i
		}
	}
	return receiver, sender, true
}

// pinned calls f on a thread that is bound to a CPU, which the threads and
// processes that f starts inherit. A thread that was bound is not used again.
func pinned(core int, f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with us
		var set unix.CPUSet
		set.Set(core)
		if err := unix.SchedSetaffinity(0, &set); err != nil {
			done <- fmt.Errorf("bind to CPU %d: %w", core, err)
			return
		}
		done <- f()
	}()
	return <-done
}

// profile runs f under the CPU profiler if profiles are wanted.
func (r *run) profile(name string, f func() error) (err error) {
	if r.cfg.Profiles == "" {
		return f()
	}
	if err := os.MkdirAll(r.cfg.Profiles, 0o755); err != nil {
		return fmt.Errorf("profile: %w", err)
	}
	file, err := os.Create(filepath.Join(r.cfg.Profiles, name+".pprof"))
	if err != nil {
		return fmt.Errorf("profile: %w", err)
	}
	if err := pprof.StartCPUProfile(file); err != nil {
		return fmt.Errorf("profile: %w", err)
	}
	err = f()
	pprof.StopCPUProfile()
	if closeErr := file.Close(); err == nil && closeErr != nil {
		err = fmt.Errorf("profile: %w", closeErr)
	}
	return err
}
