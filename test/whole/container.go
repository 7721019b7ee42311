package whole

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// Container is a running container as the kernel has it. dockerd is not asked:
// it may be dead while its containers run.
type Container struct {
	Host, ID string
	PID      int          // of its first process, on this machine
	Addrs    []netip.Addr // in 10.0.0.0/8 and fd00::/8, where weft's networks of a lab are
}

// ours are the prefixes that weft's networks are in.
var ours = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}

// Containers finds the lab's running containers by their cgroups.
func (c Cluster) Containers() ([]Container, error) {
	dirs, err := filepath.Glob("/proc/[0-9]*/cgroup")
	if err != nil {
		return nil, err
	}
	var out []Container
	for _, file := range dirs {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		_, rest, ok := strings.Cut(string(text), "/weft-lab-"+c.Lab.Name()+"-")
		rest, _, _ = strings.Cut(rest, "\n")
		parts := strings.Split(strings.TrimSpace(rest), "/")
		if !ok || len(parts) != 3 || len(parts[2]) != 64 {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err != nil || slices.ContainsFunc(out, func(s Container) bool { return s.ID == parts[2] }) {
			continue
		}
		s := Container{Host: parts[1], ID: parts[2], PID: pid}
		if s.Addrs, err = addresses(fmt.Sprintf("/proc/%d/ns/net", pid)); err == nil {
			out = append(out, s)
		}
	}
	return out, nil
}

// Sandboxes are the namespaces that Docker has made for containers, whether one
// runs in them or not: what has an address answers for it. They have no PID.
func (c Cluster) Sandboxes() []Container {
	var out []Container
	for _, h := range c.Hosts() {
		dir := h.Path("/run/docker/netns")
		for _, name := range filesOf(dir) {
			addrs, err := addresses(filepath.Join(dir, name))
			if err != nil || name == "default" {
				continue // it has just gone, or has just come
			}
			out = append(out, Container{Host: h.Name(), ID: name, Addrs: addrs})
		}
	}
	return out
}

// abandoned says which sandboxes have addresses that no container has.
func abandoned(containers, sandboxes []Container) []string {
	var out []string
	for _, s := range sandboxes {
		for _, a := range s.Addrs {
			if !slices.ContainsFunc(containers, func(c Container) bool { return c.Host == s.Host && slices.Contains(c.Addrs, a) }) {
				out = append(out, fmt.Sprintf("sandbox %s on %s has %s, and no container runs in it", s.ID, s.Host, a))
			}
		}
	}
	return out
}

// addresses lists the addresses of weft's in the network namespace at path.
func addresses(path string) ([]netip.Addr, error) {
	ns, err := netns.GetFromPath(path)
	if err != nil {
		return nil, err
	}
	defer ns.Close()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	h, err := netlink.NewHandleAt(ns)
	if err != nil {
		return nil, err
	}
	defer h.Close()
	list, err := h.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return nil, err
	}
	var out []netip.Addr
	for _, a := range list {
		ip, ok := netip.AddrFromSlice(a.IP)
		ip = ip.Unmap()
		if ok && slices.ContainsFunc(ours, func(p netip.Prefix) bool { return p.Contains(ip) }) {
			out = append(out, ip)
		}
	}
	return out, nil
}

// Duplicates says which addresses several of the sandboxes have. Subnets do
// not overlap in a cluster, so any two are of one network.
func Duplicates(all []Container) []string {
	by := map[netip.Addr][]string{}
	for _, s := range all {
		for _, a := range s.Addrs {
			by[a] = append(by[a], fmt.Sprintf("%.12s on %s", s.ID, s.Host))
		}
	}
	var out []string
	for a, who := range by {
		if len(who) > 1 {
			out = append(out, fmt.Sprintf("%s is of %s", a, strings.Join(who, " and ")))
		}
	}
	slices.Sort(out)
	return out
}
