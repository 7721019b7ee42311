package dataplane_test

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	vishnetns "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/driver/overlay"
)

// wanted writes the host's configuration as the lines that the kernel should answer
// with.
func (h *host) wanted() string {
	var out []string
	cfg := h.cfg
	say := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	for _, n := range cfg.Networks {
		say("%s: namespace", n.ID)
		say("%s: br0 mtu %d up", n.ID, n.MTU)
		say("%s: vx0 mtu %d up vni %d port %d local %s learning %t suppress %t", n.ID, n.MTU, n.VNI, cfg.Port, cfg.VTEP, !n.Guarded, n.Guarded)
		say("vni %d", n.VNI)
		for _, m := range n.Members {
			say("vni %d from %s", n.VNI, m)
		}
		for _, f := range n.Flood {
			say("%s: fdb 00:00:00:00:00:00 to %s", n.ID, f)
		}
		for _, p := range n.Ports {
			if p.Keep {
				continue
			}
			say("%s: %s mtu %d up learning %t", n.ID, overlay.PortLink(p.Endpoint), n.MTU, !n.Guarded)
			say("%s mtu %d mac %s", overlay.ContainerLink(p.Endpoint), n.MTU, p.MAC)
			say("%s: bridge fdb %s at %s", n.ID, p.MAC, overlay.PortLink(p.Endpoint))
			if n.Guarded {
				say("%s: guard %s", n.ID, overlay.PortLink(p.Endpoint))
			}
		}
		if n.Guarded && len(n.Gone) > 0 {
			say("%s: rf0 mtu %d up learning false suppress true", n.ID, n.MTU)
			say("%s: rf1 mtu %d up", n.ID, n.MTU)
			say("%s: guard rf1", n.ID)
			for _, a := range n.Gone {
				mac := overlay.MACOf(n.ID, a)
				say("%s: bridge fdb %s at rf0", n.ID, mac)
				say("%s: neighbour %s at %s", n.ID, a, mac)
			}
		}
		if h.fast() && n.Guarded {
			h.wantFast(n, say)
		}
		for _, r := range n.Remotes {
			say("%s: fdb %s to %s", n.ID, r.MAC, r.VTEP)
			say("%s: bridge fdb %s at vx0", n.ID, r.MAC)
			for _, a := range r.Addrs {
				say("%s: neighbour %s at %s", n.ID, a, r.MAC)
			}
		}
	}
	slices.Sort(out)
	return strings.Join(out, "\n")
}

// kernel writes what the host's kernel has, read with other code than the
// package under test uses.
func (h *host) kernel() string {
	h.tb.Helper()
	var out []string
	say := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	files, err := os.ReadDir(h.dir)
	if err != nil {
		h.tb.Fatal(err)
	}
	for _, f := range files {
		id := strings.TrimPrefix(f.Name(), "weft-")
		say("%s: namespace", id)
		h.networkText(id, say)
	}
	h.ns.Netlink(func(nl *netlink.Handle) error {
		links, err := whole(nl.LinkList)
		for _, l := range links {
			if a := l.Attrs(); strings.HasPrefix(a.Name, "wc") {
				say("%s mtu %d mac %s", a.Name, a.MTU, a.HardwareAddr)
			}
		}
		return err
	})
	h.nft(h.ns.Path(), func(c *nftables.Conn) {
		tables, _ := c.ListTablesOfFamily(nftables.TableFamilyINet)
		for _, t := range tables {
			for _, name := range []string{"vnis", "members4", "members6"} {
				elements, err := c.GetSetElements(&nftables.Set{Table: t, Name: name})
				if err != nil {
					h.tb.Fatal(err)
				}
				for _, e := range elements {
					k := e.Key
					vni := uint32(k[len(k)-4]) | uint32(k[len(k)-3])<<8 | uint32(k[len(k)-2])<<16
					if name == "vnis" {
						say("vni %d", vni)
					} else {
						a, _ := netip.AddrFromSlice(k[:len(k)-4])
						say("vni %d from %s", vni, a)
					}
				}
			}
		}
	})
	h.fastText(say)
	slices.Sort(out)
	return strings.Join(out, "\n")
}

// whole reads a list again that changed while it was read.
func whole[T any](read func() (T, error)) (out T, err error) {
	for range 10 {
		if out, err = read(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	return out, err
}

// nft calls f with nftables of a namespace.
func (h *host) nft(path string, f func(*nftables.Conn)) {
	h.tb.Helper()
	fd, err := vishnetns.GetFromPath(path)
	if err != nil {
		h.tb.Fatal(err)
	}
	defer fd.Close()
	c, err := nftables.New(nftables.WithNetNSFd(int(fd)))
	if err != nil {
		h.tb.Fatal(err)
	}
	f(c)
}

func (h *host) networkText(id string, say func(string, ...any)) {
	up := func(l netlink.Link) string {
		if l.Attrs().Flags&net.FlagUp != 0 {
			return "up"
		}
		return "down"
	}
	h.netlink(id, func(nl *netlink.Handle) error {
		links, err := whole(nl.LinkList)
		if err != nil {
			return err
		}
		names := map[int]string{}
		for _, l := range links {
			a := l.Attrs()
			names[a.Index] = a.Name
			switch l := l.(type) {
			case *netlink.Bridge:
				say("%s: %s mtu %d %s", id, a.Name, a.MTU, up(l))
			case *netlink.Vxlan:
				local, _ := netip.AddrFromSlice(l.SrcAddr)
				info, err := nl.LinkGetProtinfo(l)
				if err != nil {
					return err
				}
				say("%s: %s mtu %d %s vni %d port %d local %s learning %t suppress %t", id, a.Name, a.MTU, up(l), l.VxlanId, l.Port, local.Unmap(), info.Learning, info.NeighSuppress)
			case *netlink.Veth:
				if a.Name == "fp0" {
					say("%s: fp0 %s", id, up(l))
					continue
				}
				if a.Name == "rf1" {
					say("%s: rf1 mtu %d %s", id, a.MTU, up(l))
					continue
				}
				info, err := nl.LinkGetProtinfo(l)
				if _, gone := nl.LinkByIndex(a.Index); errors.As(gone, new(netlink.LinkNotFoundError)) {
					continue // its sandbox died meanwhile
				}
				if err != nil {
					return err
				}
				suppress := ""
				if info.NeighSuppress {
					suppress = " suppress true"
				}
				say("%s: %s mtu %d %s learning %t%s", id, a.Name, a.MTU, up(l), info.Learning, suppress)
			}
		}
		fdb, err := whole(func() ([]netlink.Neigh, error) { return nl.NeighList(0, unix.AF_BRIDGE) })
		if err != nil {
			return err
		}
		for _, n := range fdb {
			switch {
			case n.Flags&unix.NTF_SELF != 0 && names[n.LinkIndex] == "vx0" && n.IP != nil:
				say("%s: fdb %s to %s", id, n.HardwareAddr, n.IP)
			case n.Flags&unix.NTF_SELF == 0 && n.State == unix.NUD_NOARP:
				say("%s: bridge fdb %s at %s", id, n.HardwareAddr, names[n.LinkIndex])
			}
		}
		for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
			neigh, err := whole(func() ([]netlink.Neigh, error) { return nl.NeighList(0, family) })
			if err != nil {
				return err
			}
			for _, n := range neigh {
				if n.State == unix.NUD_PERMANENT {
					say("%s: neighbour %s at %s", id, n.IP, n.HardwareAddr)
				}
			}
		}
		return nil
	})
	h.nft(h.path(id), func(c *nftables.Conn) {
		chains, _ := c.ListChainsOfTableFamily(nftables.TableFamilyNetdev)
		for _, ch := range chains {
			if ch.Hooknum != nil {
				say("%s: guard %s", id, ch.Name)
			}
		}
	})
}
