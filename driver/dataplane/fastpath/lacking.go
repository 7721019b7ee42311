package fastpath

import (
	"errors"
	"fmt"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/features"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// tcxSince is Linux 6.6 as LINUX_VERSION_CODE.
const tcxSince = 6<<16 | 6<<8

// attachable says what is missing for programs at links, of the kernel or of the process.
func attachable() error {
	version, err := features.LinuxVersionCode()
	if err != nil {
		return fmt.Errorf("ask for the kernel's version: %w", err)
	}
	if version < tcxSince {
		return fmt.Errorf("this kernel is %d.%d: programs at links (tcx) came with 6.6", version>>16, version>>8&0xff)
	}
	has, err := effective()
	if err != nil {
		return err
	}
	if err := has.enough(); err != nil {
		return err
	}
	_, err = link.QueryPrograms(link.QueryOptions{Target: 1, Attach: ebpf.AttachTCXIngress}) // of the loopback link
	if errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("%w: the kernel was built without CONFIG_NET_XGRESS, so no program hangs at a link", err)
	}
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("ask for the programs at a link: %w", lacking(err))
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
