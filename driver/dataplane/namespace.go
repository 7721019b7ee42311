package dataplane

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/driver/overlay"
)

// nsfsMagic is what statfs(2) says of a namespace file (NSFS_MAGIC in linux/magic.h).
const nsfsMagic = 0x6e736673

// isNamespace says whether path is a living namespace, not a stale plain file.
func isNamespace(path string) bool {
	var st unix.Statfs_t
	return unix.Statfs(path, &st) == nil && st.Type == nsfsMagic
}

// visit runs f on a thread inside ns.
func visit(ns netns.NsHandle, f func() error) error {
	return elsewhere(func() error { return netns.Set(ns) }, f)
}

// elsewhere runs f on a thread that enter has taken to another namespace. The
// thread goes back to the runtime only if it could return to where it came from.
func elsewhere(enter, f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		back, err := netns.Get()
		if err != nil {
			runtime.UnlockOSThread()
			done <- err
			return
		}
		defer back.Close()
		if err = enter(); err == nil {
			err = f()
		}
		if netns.Set(back) == nil {
			runtime.UnlockOSThread()
		}
		done <- err
	}()
	return <-done
}

// namespaceSysctls are set in every network's namespace before any device is
// made. IPv6 has to be on, or the kernel refuses the bridge's IPv6 neighbours,
// but no device gets an address: without one it sends neither router
// solicitations nor multicast reports. And the host's iptables have no business
// with bridged frames (measured: 5-20 % of the packet rate).
var namespaceSysctls = []sysctl{
	{"net/ipv6/conf/default/disable_ipv6", "0"},
	{"net/ipv6/conf/default/addr_gen_mode", "1"}, // IN6_ADDR_GEN_MODE_NONE
	{"net/ipv6/conf/default/accept_ra", "0"},
	{"net/bridge/bridge-nf-call-iptables", "0"},
	{"net/bridge/bridge-nf-call-ip6tables", "0"},
	{"net/bridge/bridge-nf-call-arptables", "0"},
}

type sysctl struct{ path, value string }

// setSysctls writes what differs, on the calling thread's namespace, and gives
// the paths it wrote. One that this kernel lacks is skipped.
func setSysctls(want []sysctl) (written []string, err error) {
	for _, s := range want {
		path := filepath.Join("/proc/sys", s.path)
		have, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return written, err
		}
		if strings.TrimSpace(string(have)) == s.value {
			continue
		}
		if err := os.WriteFile(path, []byte(s.value), 0); err != nil {
			return written, err
		}
		written = append(written, s.path)
	}
	return written, nil
}

// namespacePath is where the network's namespace is mounted.
func (d *Dataplane) namespacePath(network string) string {
	return filepath.Join(d.dir, overlay.Namespace(network))
}

// openNamespace opens the network's namespace and makes it if there is none.
func (d *Dataplane) openNamespace(network string) (ns netns.NsHandle, made bool, err error) {
	path := d.namespacePath(network)
	if !isNamespace(path) {
		if err := makeNamespace(path, network); err != nil {
			return netns.None(), false, fmt.Errorf("make namespace %s: %w", path, err)
		}
		made = true
		d.spaces.changed()
	}
	ns, err = netns.GetFromPath(path)
	if err != nil {
		return netns.None(), made, fmt.Errorf("open namespace %s: %w", path, err)
	}
	return ns, made, nil
}

// makeNamespace makes a network's namespace, with weft's mark, and mounts it at
// path, over a stale file if there is one.
func makeNamespace(path, network string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDONLY|unix.O_CLOEXEC, 0o444)
	if err != nil {
		return err
	}
	f.Close()
	err = elsewhere(func() error { return unix.Unshare(unix.CLONE_NEWNET) }, func() error {
		if _, err := setSysctls(namespaceSysctls); err != nil {
			return err
		}
		if err := markHere(network); err != nil {
			return err
		}
		return unix.Mount("/proc/thread-self/ns/net", path, "none", unix.MS_BIND, "")
	})
	if err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

// dropNamespace unmounts a namespace file and removes it. The kernel takes the
// namespace down afterwards, in its own time.
func dropNamespace(path string) error {
	for isNamespace(path) { // several mounts may lie on one another
		if err := unix.Unmount(path, unix.MNT_DETACH); err != nil {
			return fmt.Errorf("unmount namespace %s: %w", path, err)
		}
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove namespace file: %w", err)
	}
	return nil
}

// Networks gives the ids of the users' networks that the kernel has a namespace
// of.
func (d *Dataplane) Networks() ([]string, error) {
	ids, err := d.namespaces()
	return slices.DeleteFunc(ids, func(id string) bool { return id == overlay.ProbeNetwork }), err
}

// namespaces gives the ids of the networks that have a namespace of weft's.
func (d *Dataplane) namespaces() ([]string, error) { return weftsIn(d.dir) }

// shareMounts makes dir a shared mount point, as ip-netns(8) does too. Without
// it, a later "ip netns add" would copy weft's mounts underneath its own, and
// the copies would keep deleted namespaces alive.
func shareMounts(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	err := unix.Mount("", dir, "none", unix.MS_SHARED|unix.MS_REC, "")
	if !errors.Is(err, unix.EINVAL) { // EINVAL: dir is no mount point
		return err
	}
	if err := unix.Mount(dir, dir, "none", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return err
	}
	return unix.Mount("", dir, "none", unix.MS_SHARED|unix.MS_REC, "")
}
