package dataplane

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Underlay is what the tunnels run over.
type Underlay struct {
	Link string     // name of the interface
	Addr netip.Addr // address of this host on it: the tunnels' source
	MTU  int        // bytes that a packet to the other hosts may have

	// What else the fast path goes by.
	Ways  uint64 // another one when packets to some host leave by other links
	IPsec bool   // the host has IPsec policies
}

// Underlay finds what spec names: an address of this host, or an interface, of
// which the first global address is taken, IPv4 before IPv6. An empty spec
// takes the route to via, or the default route if via is the zero Addr. The MTU
// is that of the way to the peers, see pathMTU.
func (d *Dataplane) Underlay(ctx context.Context, spec string, via netip.Addr, peers []netip.Addr) (Underlay, error) {
	if err := ctx.Err(); err != nil {
		return Underlay{}, err
	}
	at, err := d.find(spec, via)
	if err != nil {
		return Underlay{}, err
	}
	u := Underlay{Link: at.link.Attrs().Name, Addr: at.addr}
	if u.MTU, u.Ways, err = d.pathMTU(at, via, peers); err != nil {
		return u, err
	}
	u.IPsec, err = d.hasIPsec()
	return u, err
}

// source is an address of this host and the link that has it, or by which its
// packets leave.
type source struct {
	link netlink.Link
	addr netip.Addr
}

func (d *Dataplane) find(spec string, via netip.Addr) (source, error) {
	if addr, err := netip.ParseAddr(spec); err == nil {
		return d.underlayAt(addr.Unmap())
	}
	switch {
	case spec != "":
		l, err := d.hostLink(func(h *netlink.Handle) (netlink.Link, error) { return h.LinkByName(spec) })
		if err != nil {
			return source{}, err
		}
		if l == nil {
			return source{}, fmt.Errorf("underlay %q is neither an address nor an interface of this host; see \"ip address\" for those it has", spec)
		}
		return d.underlayOf(l, netip.Addr{})
	case via.IsValid():
		return d.underlayTo(via)
	default:
		return d.underlayDefault()
	}
}

// underlayAt finds the interface that has the address.
func (d *Dataplane) underlayAt(addr netip.Addr) (source, error) {
	if !reachable(addr) {
		return source{}, fmt.Errorf("underlay address %s is refused: no other host reaches it; name one of this host's that others reach, see \"ip address\"", addr)
	}
	addrs, err := d.hostAddrs(nil)
	if err != nil {
		return source{}, err
	}
	for _, a := range addrs {
		if a.prefix.Addr() != addr {
			continue
		}
		l, err := d.hostLink(func(h *netlink.Handle) (netlink.Link, error) { return h.LinkByIndex(a.index) })
		if err != nil {
			return source{}, err
		}
		if l != nil {
			return source{l, addr}, nil
		}
	}
	return source{}, fmt.Errorf("underlay address %s is on no interface of this host; see \"ip address\" for those it has", addr)
}

// underlayOf takes an interface and, unless the address is known, its first one.
func (d *Dataplane) underlayOf(l netlink.Link, addr netip.Addr) (source, error) {
	name := l.Attrs().Name
	if !addr.IsValid() {
		addrs, err := d.hostAddrs(l)
		if err != nil {
			return source{}, err
		}
		i := slices.IndexFunc(addrs, func(a hostAddr) bool { return a.usable })
		if i < 0 {
			return source{}, fmt.Errorf("underlay interface %s has no global address; give it one or name another interface", name)
		}
		addr = addrs[i].prefix.Addr()
	}
	return source{l, addr}, nil
}

func (d *Dataplane) underlayTo(via netip.Addr) (source, error) {
	routes, err := d.host.RouteGet(via.AsSlice())
	if err != nil || len(routes) == 0 {
		return source{}, fmt.Errorf("no route to %s, from which the underlay would follow (%w); name the underlay's address or interface", via, cmp.Or(err, error(unix.ENETUNREACH)))
	}
	src, _ := netip.AddrFromSlice(routes[0].Src)
	if routes[0].Type == unix.RTN_LOCAL { // via is this host itself
		return d.underlayAt(via)
	}
	l, err := d.hostLink(func(h *netlink.Handle) (netlink.Link, error) { return h.LinkByIndex(routes[0].LinkIndex) })
	if err != nil {
		return source{}, err
	}
	if l == nil {
		return source{}, fmt.Errorf("the interface of the route to %s went away", via)
	}
	return d.underlayOf(l, src.Unmap())
}

func (d *Dataplane) underlayDefault() (source, error) {
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		best, err := d.defaultRoute(family)
		if err != nil {
			return source{}, err
		}
		if best == nil {
			continue
		}
		index := best.LinkIndex
		if index == 0 && len(best.MultiPath) > 0 {
			index = best.MultiPath[0].LinkIndex
		}
		l, err := d.hostLink(func(h *netlink.Handle) (netlink.Link, error) { return h.LinkByIndex(index) })
		if err != nil {
			return source{}, err
		}
		if l == nil {
			continue
		}
		src, _ := netip.AddrFromSlice(best.Src)
		return d.underlayOf(l, src.Unmap())
	}
	return source{}, errors.New("this host has no default route, from which the underlay would follow; name the underlay's address or interface")
}

// defaultRoute gives the default route that goes before others; nil if there is
// none.
func (d *Dataplane) defaultRoute(family int) (*netlink.Route, error) {
	routes, err := dump(func() ([]netlink.Route, error) { return d.host.RouteList(nil, family) })
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	routes = slices.DeleteFunc(routes, func(r netlink.Route) bool { return !isDefault(r) })
	if len(routes) == 0 {
		return nil, nil
	}
	best := slices.MinFunc(routes, func(a, b netlink.Route) int { return cmp.Compare(a.Priority, b.Priority) })
	return &best, nil
}

// Routes gives what this host routes or has on its links, masked, sorted and
// without default routes, loopback, link-local and multicast ranges.
func (d *Dataplane) Routes(ctx context.Context) ([]netip.Prefix, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var out []netip.Prefix
	// With a zero table in the filter every table is listed, also those of VPN
	// clients that use policy routing.
	routes, err := dump(func() ([]netlink.Route, error) {
		return d.host.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{}, netlink.RT_FILTER_TABLE)
	})
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	for _, r := range routes {
		if r.Table == unix.RT_TABLE_LOCAL || isDefault(r) {
			continue
		}
		if p, ok := prefixOf(r.Dst); ok {
			out = append(out, p)
		}
	}
	addrs, err := d.hostAddrs(nil)
	if err != nil {
		return nil, err
	}
	for _, a := range addrs {
		out = append(out, a.prefix.Masked())
	}
	out = slices.DeleteFunc(out, func(p netip.Prefix) bool {
		a := p.Addr()
		return a.IsLoopback() || a.IsLinkLocalUnicast() || a.IsMulticast()
	})
	slices.SortFunc(out, netip.Prefix.Compare)
	return slices.Compact(out), nil
}

// hostAddr is one address of the host's namespace.
type hostAddr struct {
	index  int
	prefix netip.Prefix
	usable bool // as a tunnel's source: global, and not about to go
}

// hostAddrs lists the addresses of one link, or of all if it is nil, IPv4 first.
func (d *Dataplane) hostAddrs(l netlink.Link) ([]hostAddr, error) {
	var out []hostAddr
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		list, err := dump(func() ([]netlink.Addr, error) { return d.host.AddrList(l, family) })
		if err != nil {
			return nil, fmt.Errorf("list addresses: %w", err)
		}
		for _, a := range list {
			p, ok := prefixOf(a.IPNet)
			if !ok {
				continue
			}
			const fleeting = unix.IFA_F_TEMPORARY | unix.IFA_F_DEPRECATED | unix.IFA_F_TENTATIVE | unix.IFA_F_DADFAILED
			usable := a.Scope == unix.RT_SCOPE_UNIVERSE && a.Flags&fleeting == 0 ||
				family == unix.AF_INET && a.Scope == unix.RT_SCOPE_UNIVERSE
			out = append(out, hostAddr{a.LinkIndex, p, usable && reachable(p.Addr())})
		}
	}
	return out, nil
}

// reachable says whether an address of this host can be one by which others reach
// it. A link-local one of IPv6 means nothing without its link.
func reachable(a netip.Addr) bool {
	zoned := a.Is6() && a.IsLinkLocalUnicast()
	return !a.IsUnspecified() && !a.IsLoopback() && !a.IsMulticast() && !zoned
}

// hostLink asks for one link of the host's namespace; nil if there is none.
func (d *Dataplane) hostLink(ask func(*netlink.Handle) (netlink.Link, error)) (netlink.Link, error) {
	l, err := ask(d.host.Handle)
	if _, missing := errors.AsType[netlink.LinkNotFoundError](err); missing {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read link: %w", err)
	}
	return l, nil
}

func isDefault(r netlink.Route) bool {
	if r.Dst == nil {
		return true
	}
	ones, _ := r.Dst.Mask.Size()
	return ones == 0
}

func prefixOf(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	a, ok := netip.AddrFromSlice(n.IP)
	ones, bits := n.Mask.Size()
	if a = a.Unmap(); !ok || a.BitLen() != bits {
		return netip.Prefix{}, false
	}
	return netip.PrefixFrom(a, ones), true
}
