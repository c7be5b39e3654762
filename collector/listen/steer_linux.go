package listen

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// netOff makes a load relative to the network header (linux/filter.h,
// SKF_NET_OFF = -0x100000): the program of a reuseport group sees the packet
// from the UDP payload on.
const netOff = 0xfff00000

// golden is 2^32 divided by the golden ratio, Knuth's multiplicative hash.
const golden = 0x9e3779b1

// steer makes the kernel choose the socket of a reuseport group by a hash of
// the source address. n sockets were bound in the order of their index.
func steer(fd, n int) error {
	program := steering(uint32(n))
	return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_REUSEPORT_CBPF,
		&unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]})
}

// steering returns the classic BPF program, for IPv4 and IPv6. IPv6 addresses
// are folded to 32 bits by XOR.
func steering(n uint32) []unix.SockFilter {
	const (
		load  = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
		loadB = unix.BPF_LD | unix.BPF_B | unix.BPF_ABS
		toX   = unix.BPF_MISC | unix.BPF_TAX
		alu   = unix.BPF_ALU | unix.BPF_K
		xorX  = unix.BPF_ALU | unix.BPF_XOR | unix.BPF_X
	)
	return []unix.SockFilter{
		{Code: loadB, K: netOff},
		{Code: alu | unix.BPF_RSH, K: 4},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: 6, Jt: 2},
		{Code: load, K: netOff + 12},              // IPv4 source
		{Code: unix.BPF_JMP | unix.BPF_JA, K: 10}, // to the hash
		{Code: load, K: netOff + 8},               // IPv6 source
		{Code: toX},
		{Code: load, K: netOff + 12},
		{Code: xorX},
		{Code: toX},
		{Code: load, K: netOff + 16},
		{Code: xorX},
		{Code: toX},
		{Code: load, K: netOff + 20},
		{Code: xorX},
		{Code: alu | unix.BPF_MUL, K: golden},
		{Code: alu | unix.BPF_RSH, K: 16},
		{Code: alu | unix.BPF_MOD, K: n},
		{Code: unix.BPF_RET | unix.BPF_A},
	}
}

// meminfo asks the kernel for a socket's memory and drops; ok is false once
// the socket is closed.
func (k *socket) meminfo(closed bool) (info [meminfoWords]uint32, ok bool) {
	if closed {
		return info, false
	}
	size := uint32(unsafe.Sizeof(info))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(k.fd), unix.SOL_SOCKET, unix.SO_MEMINFO,
		uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
	return info, errno == 0
}
