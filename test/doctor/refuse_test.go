package doctor

import (
	"fmt"
	"os"
	"runtime"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// refuses is the variable that makes this program become weft, its value, on a
// kernel that for it has no nftables.
const refuses = "DOCTOR_TEST_REFUSES"

var refusedFaults = []fault{
	{
		check: "kernel", how: "a seccomp filter answers weft's nftables sockets as a kernel without nftables does", says: []string{"no nftables", "CONFIG_NF_TABLES"},
		breaks: restarted("h1", func(t *testing.T) string {
			self, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			return fmt.Sprintf(`export %s="%s"; WEFT_REAL="%s"`, refuses, binary, self)
		}),
	},
}

// refuse becomes weft behind a filter that refuses sockets of netfilter's as a
// kernel does that was built without it:
// EPROTONOSUPPORT.
func refuse(weft string) int {
	runtime.LockOSThread()
	// Offsets into struct seccomp_data: the call's number, and the lower half of
	// its first and third argument.
	const number, family, protocol = 0, 16, 32
	load := func(offset uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
	}
	unless := func(value uint32, skip uint8) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: value, Jf: skip}
	}
	filter := []unix.SockFilter{
		load(number), unless(unix.SYS_SOCKET, 5),
		load(family), unless(unix.AF_NETLINK, 3),
		load(protocol), unless(unix.NETLINK_NETFILTER, 1),
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EPROTONOSUPPORT)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if _, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&program))); errno != 0 {
		fmt.Fprintln(os.Stderr, "seccomp:", errno)
		return 1
	}
	err := unix.Exec(weft, os.Args, os.Environ())
	fmt.Fprintln(os.Stderr, err)
	return 1
}
