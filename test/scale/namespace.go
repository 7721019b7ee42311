package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// insideKey is set in the environment of the process that is in the namespace.
const insideKey = "WEFT_SCALE_INSIDE"

// block has the addresses of the hosts, in a network namespace of this process alone. It
// is meant for measurements (RFC 2544). weft refuses hosts at addresses of loopback.
var block = netip.MustParsePrefix("198.18.0.0/16")

// inside says whether this process is in a namespace of its own. If it is not, the same
// program runs in one, with the same arguments, and code is its exit code.
func inside(ctx context.Context) (is bool, code int, err error) {
	if os.Getenv(insideKey) != "" {
		return true, 0, furnish()
	}
	runtime.LockOSThread() // Pdeathsig is about the thread that starts the process
	defer runtime.UnlockOSThread()
	cmd := exec.CommandContext(ctx, "/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), insideKey+"=yes")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET, Pdeathsig: unix.SIGKILL}
	cmd.Cancel = func() error { return cmd.Process.Signal(unix.SIGTERM) }
	err = cmd.Run()
	if exit, ended := errors.AsType[*exec.ExitError](err); ended {
		return false, exit.ExitCode(), nil
	}
	if err != nil {
		return false, 1, fmt.Errorf("make a network namespace, which needs root: %w", err)
	}
	return false, 0, nil
}

// furnish makes all addresses of the block local.
func furnish() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return err
	}
	// Of a subnet on lo every address is local.
	return netlink.AddrReplace(lo, &netlink.Addr{IPNet: &net.IPNet{IP: block.Addr().Next().AsSlice(), Mask: net.CIDRMask(block.Bits(), 32)}})
}
