// Package netns gives tests network namespaces of their own, and takes them
// away when the test is over. It needs root and fails the test without.
package netns

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// NS is one namespace. It lives until the test ends, or until Delete.
type NS struct {
	tb   testing.TB
	path string
	fd   netns.NsHandle
}

// New makes a namespace with lo up, mounted in a directory of the test's.
func New(tb testing.TB) *NS {
	tb.Helper()
	return NewAt(tb, filepath.Join(tb.TempDir(), "ns"))
}

// NewAt makes a namespace mounted at path. The file must not exist.
func NewAt(tb testing.TB, path string) *NS {
	tb.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDONLY, 0o444)
	if err != nil {
		tb.Fatalf("make namespace file: %v", err)
	}
	f.Close()
	fresh := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends in the new namespace
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			err = unix.Mount("/proc/thread-self/ns/net", path, "none", unix.MS_BIND, "")
		}
		fresh <- err
	}()
	if err := <-fresh; err != nil {
		tb.Fatalf("make namespace %s: %v (tests of the kernel need root)", path, err)
	}
	n := &NS{tb: tb, path: path}
	if n.fd, err = netns.GetFromPath(path); err != nil {
		tb.Fatalf("open namespace %s: %v", path, err)
	}
	tb.Cleanup(n.Delete)
	n.Netlink(func(h *netlink.Handle) error {
		lo, err := h.LinkByName("lo")
		if err != nil {
			return err
		}
		return h.LinkSetUp(lo)
	})
	return n
}

// In calls f with an existing namespace, which the test does not own and which
// is not kept alive afterwards.
func In(tb testing.TB, path string, f func(*NS)) {
	tb.Helper()
	fd, err := netns.GetFromPath(path)
	if err != nil {
		tb.Fatalf("open namespace %s: %v", path, err)
	}
	defer fd.Close()
	f(&NS{tb: tb, path: path, fd: fd})
}

// Path is where the namespace is mounted.
func (n *NS) Path() string { return n.path }

// Delete unmounts the namespace and removes its file. Twice is no error.
func (n *NS) Delete() {
	if n.fd.IsOpen() {
		n.fd.Close()
	}
	for unix.Unmount(n.path, unix.MNT_DETACH) == nil {
	}
	os.Remove(n.path)
}

// Run calls f on a thread inside the namespace and waits for it. Sockets that f
// opens stay in the namespace; goroutines that it starts do not.
func (n *NS) Run(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		back, err := netns.Get()
		if err != nil {
			done <- err
			return
		}
		defer back.Close()
		if err := netns.Set(n.fd); err != nil {
			done <- err
			return
		}
		err = f()
		if netns.Set(back) == nil {
			runtime.UnlockOSThread()
		}
		done <- err
	}()
	return <-done
}

// Do is Run that fails the test on an error.
func (n *NS) Do(f func() error) {
	n.tb.Helper()
	if err := n.Run(f); err != nil {
		n.tb.Fatalf("in namespace %s: %v", n.path, err)
	}
}

// Netlink calls f with a handle of the namespace and fails the test on an error.
func (n *NS) Netlink(f func(*netlink.Handle) error) {
	n.tb.Helper()
	h, err := netlink.NewHandleAt(n.fd, unix.NETLINK_ROUTE)
	if err != nil {
		n.tb.Fatalf("netlink in namespace %s: %v", n.path, err)
	}
	defer h.Close()
	if err := f(h); err != nil {
		n.tb.Fatalf("in namespace %s: %v", n.path, err)
	}
}

// Link joins two namespaces by a veth pair, both ends up. The MTU is 1500.
func Link(a *NS, nameA string, b *NS, nameB string) {
	a.tb.Helper()
	a.Netlink(func(h *netlink.Handle) error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = nameA
		v := netlink.NewVeth(attrs)
		v.PeerName, v.PeerNamespace = nameB, netlink.NsFd(int(b.fd))
		return h.LinkAdd(v)
	})
	a.Up(nameA)
	b.Up(nameB)
}

// Up sets a link up.
func (n *NS) Up(name string) {
	n.tb.Helper()
	n.Netlink(func(h *netlink.Handle) error {
		l, err := h.LinkByName(name)
		if err != nil {
			return fmt.Errorf("link %s: %w", name, err)
		}
		return h.LinkSetUp(l)
	})
}

// Addr adds an address such as "192.0.2.1/24" to a link; an IPv6 one without
// duplicate address detection, so that it can be used at once.
func (n *NS) Addr(name, cidr string) {
	n.tb.Helper()
	n.Netlink(func(h *netlink.Handle) error {
		l, err := h.LinkByName(name)
		if err != nil {
			return fmt.Errorf("link %s: %w", name, err)
		}
		a, err := netlink.ParseAddr(cidr)
		if err != nil {
			return err
		}
		if strings.Contains(cidr, ":") {
			a.Flags = unix.IFA_F_NODAD
		}
		return h.AddrAdd(l, a)
	})
}

// Bridge makes a bridge of the named links, all up, and needs no address.
func (n *NS) Bridge(name string, ports ...string) {
	n.tb.Helper()
	n.Netlink(func(h *netlink.Handle) error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = name
		br := &netlink.Bridge{LinkAttrs: attrs}
		if err := h.LinkAdd(br); err != nil {
			return err
		}
		for _, port := range ports {
			l, err := h.LinkByName(port)
			if err != nil {
				return fmt.Errorf("link %s: %w", port, err)
			}
			if err := h.LinkSetMaster(l, br); err != nil {
				return err
			}
		}
		return h.LinkSetUp(br)
	})
}
