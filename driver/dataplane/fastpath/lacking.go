package fastpath

import (
	"errors"
	"fmt"
	"runtime"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/features"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// oldest is Linux 5.13 as LINUX_VERSION_CODE. Of all that the programs use, the mark
// of an Ethernet header in a tunnel (BPF_F_ADJ_ROOM_ENCAP_L2_ETH) came last.
const oldest = 5<<16 | 13<<8

// able says what is missing for programs, of the kernel or of the process, and whether
// the kernel has links' own order of programs (tcx), which came with Linux 6.6.
func able() (tcx bool, err error) {
	version, err := features.LinuxVersionCode()
	if err != nil {
		return false, fmt.Errorf("ask for the kernel's version: %w", err)
	}
	if err := since(version); err != nil {
		return false, err
	}
	has, err := effective()
	if err != nil {
		return false, err
	}
	if err := has.enough(); err != nil {
		return false, err
	}
	_, err = link.QueryPrograms(link.QueryOptions{Target: 1, Attach: ebpf.AttachTCXIngress}) // of the loopback link
	switch {
	case err == nil, errors.Is(err, unix.ENOENT):
		return true, nil
	case errors.Is(err, unix.EINVAL): // older, or built without CONFIG_NET_XGRESS
		return false, nil
	}
	return false, fmt.Errorf("ask for the programs at a link: %w", lacking(err))
}

// since says whether a kernel of that version is too old.
func since(version uint32) error {
	if version < oldest {
		return fmt.Errorf("this kernel is %d.%d: what the fast path's programs use came with 5.13", version>>16, version>>8&0xff)
	}
	return nil
}

// try hangs a program at a link for a moment, of a namespace that goes at once. A kernel
// or a distribution may have left out what filters are made of, and says so only then.
func try(p *ebpf.Program) error {
	id, err := programID(p)
	if err != nil {
		return err
	}
	tried := make(chan error, 1)
	go func() {
		tried <- elsewhere(func() error {
			const loopback = 1
			_, err := attachFilter(p, id, nil, loopback, ToWire)
			return err
		})
	}()
	if err := <-tried; err != nil {
		return fmt.Errorf("hang a program at a link: %w", err)
	}
	return nil
}

// lacking says why the kernel takes no programs of a process that has the capabilities,
// where its own word is a riddle. Memory for them is not limited by itself since Linux
// 5.11, so that is none of the reasons.
func lacking(err error) error {
	switch {
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("%w: weft has the capabilities for it, so a seccomp filter, a security module or a user namespace forbids the system call bpf", err)
	case errors.Is(err, ebpf.ErrNotSupported), errors.Is(err, unix.ENOSYS):
		return fmt.Errorf("%w: the kernel was built without CONFIG_BPF_SYSCALL, or something hides the system call bpf", err)
	}
	return err
}

// capabilities are those of a process that count, as bits.
type capabilities uint64

// enough says what programs at links need and the process has not. It is asked before
// the kernel is, whose refusal the library may take for a feature that is not there.
func (c capabilities) enough() error {
	has := func(bit int) bool { return c>>bit&1 != 0 }
	var missing []string
	if !has(unix.CAP_BPF) {
		missing = append(missing, "CAP_BPF")
	}
	if !has(unix.CAP_NET_ADMIN) {
		missing = append(missing, "CAP_NET_ADMIN")
	}
	if has(unix.CAP_SYS_ADMIN) || len(missing) == 0 {
		return nil
	}
	return fmt.Errorf("weft lacks %s, and CAP_SYS_ADMIN, which would do as well", strings.Join(missing, " and "))
}

// effective are the capabilities of the calling thread.
func effective() (capabilities, error) {
	var data [2]unix.CapUserData
	if err := unix.Capget(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &data[0]); err != nil {
		return 0, fmt.Errorf("ask for the capabilities: %w", err)
	}
	return capabilities(data[1].Effective)<<32 | capabilities(data[0].Effective), nil
}

// elsewhere runs f on a thread in a namespace that goes with it. The thread comes back
// to its own: it may be the process's first one, by which others know the process's
// namespace.
func elsewhere(f func() error) error {
	runtime.LockOSThread()
	back, err := netns.Get()
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("open this namespace: %w", err)
	}
	defer back.Close()
	if unix.Unshare(unix.CLONE_NEWNET) == nil { // else the first network's namespace will say why
		err = f()
	}
	if netns.Set(back) == nil {
		runtime.UnlockOSThread() // else the thread ends
	}
	return err
}
