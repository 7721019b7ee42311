package dataplane

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/driver/overlay"
)

// Inspector looks at the kernel and changes nothing that stays. Safe for
// concurrent use.
type Inspector struct {
	dir    string // of the namespaces
	hostNS netns.NsHandle
	host   *handle
}

// NewInspector opens the host's namespace. Of the options only the namespaces
// are used.
func NewInspector(o Options) (*Inspector, error) {
	i := &Inspector{dir: o.NetnsDir}
	if i.dir == "" {
		i.dir = "/run/netns"
	}
	path := o.HostNetns
	if path == "" {
		path = "/proc/self/ns/net"
	}
	var err error
	if i.hostNS, err = netns.GetFromPath(path); err != nil {
		return nil, fmt.Errorf("open the host's network namespace %s: %w", path, err)
	}
	if i.host, err = openHandle(i.hostNS); err != nil {
		i.hostNS.Close()
		return nil, fmt.Errorf("open netlink in the host's network namespace: %w", err)
	}
	return i, nil
}

// Close gives back the sockets.
func (i *Inspector) Close() error {
	i.host.close()
	return i.hostNS.Close()
}

// Interface is a link of the host.
type Interface struct {
	Name    string
	MTU     int // bytes
	Up      bool
	Virtual bool // it only holds addresses, and packets to them come by other links
}

// InterfaceOf finds the host's link that has the address; false: none has.
func (i *Inspector) InterfaceOf(addr netip.Addr) (Interface, bool, error) {
	links, err := i.linksByIndex()
	if err != nil {
		return Interface{}, false, err
	}
	list, err := dump(func() ([]netlink.Addr, error) { return i.host.AddrList(nil, familyOf(addr)) })
	if err != nil {
		return Interface{}, false, fmt.Errorf("list addresses: %w", err)
	}
	for _, a := range list {
		p, ok := prefixOf(a.IPNet)
		if l := links[a.LinkIndex]; ok && p.Addr() == addr && l != nil {
			at := l.Attrs()
			return Interface{Name: at.Name, MTU: at.MTU, Up: at.Flags&net.FlagUp != 0, Virtual: virtual(l)}, true, nil
		}
	}
	return Interface{}, false, nil
}

// InterfaceTo gives the name of the link by which the host sends to the address.
func (i *Inspector) InterfaceTo(addr netip.Addr) (string, error) {
	routes, err := i.host.RouteGet(addr.AsSlice())
	if err != nil || len(routes) == 0 {
		return "", fmt.Errorf("find the route to %s: %w", addr, err)
	}
	links, err := i.linksByIndex()
	if err != nil {
		return "", err
	}
	l := links[routes[0].LinkIndex]
	if l == nil {
		return "", fmt.Errorf("the link of the route to %s went away", addr)
	}
	return l.Attrs().Name, nil
}

// Route is a range that the host reaches over a link.
type Route struct {
	Prefix netip.Prefix
	Link   string // "": none, or several
}

// Routes gives what the host routes, without default routes, loopback,
// link-local and multicast ranges, sorted.
func (i *Inspector) Routes() ([]Route, error) {
	links, err := i.linksByIndex()
	if err != nil {
		return nil, err
	}
	list, err := dump(func() ([]netlink.Route, error) {
		return i.host.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{}, netlink.RT_FILTER_TABLE)
	})
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	var out []Route
	for _, r := range list {
		p, ok := prefixOf(r.Dst)
		if !ok || r.Table == unix.RT_TABLE_LOCAL || isDefault(r) ||
			p.Addr().IsLoopback() || p.Addr().IsLinkLocalUnicast() || p.Addr().IsMulticast() {
			continue
		}
		route := Route{Prefix: p.Masked()}
		if l := links[r.LinkIndex]; l != nil {
			route.Link = l.Attrs().Name
		}
		out = append(out, route)
	}
	slices.SortFunc(out, func(a, b Route) int { return a.Prefix.Compare(b.Prefix) })
	return slices.Compact(out), nil
}

// Marked is what the kernel of a host has with weft's mark.
type Marked struct {
	Networks []string // ids of the networks that have a namespace
	Links    []string // container ends in the host's namespace
	Border   bool     // nftables table inet weft, which is there as long as the host is in a cluster
}

// Marked lists what has weft's mark.
func (i *Inspector) Marked() (Marked, error) {
	var out Marked
	var err error
	if out.Networks, err = weftsIn(i.dir); err != nil && !errors.Is(err, os.ErrNotExist) {
		return out, err
	}
	links, err := i.host.links()
	if err != nil {
		return out, err
	}
	for name, l := range links {
		if _, veth := l.(*netlink.Veth); veth && overlay.IsContainerLink(name) {
			out.Links = append(out.Links, name)
		}
	}
	slices.Sort(out.Links)
	c, part, err := connect(i.hostNS)
	if err != nil {
		return out, err
	}
	defer part()
	tables, err := dump(func() ([]*nftables.Table, error) { return c.ListTablesOfFamily(nftables.TableFamilyINet) })
	if err != nil && !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.EPROTONOSUPPORT) {
		return out, fmt.Errorf("list nftables tables: %w", err)
	}
	out.Border = slices.ContainsFunc(tables, func(t *nftables.Table) bool { return t.Name == ownTable })
	return out, nil
}

func (i *Inspector) linksByIndex() (map[int]netlink.Link, error) { return i.host.byIndex() }

// byIndex are all links.
func (h *handle) byIndex() (map[int]netlink.Link, error) {
	list, err := dump(h.LinkList)
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	out := make(map[int]netlink.Link, len(list))
	for _, l := range list {
		out[l.Attrs().Index] = l
	}
	return out, nil
}

func familyOf(a netip.Addr) int {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// scratch gives f a new namespace and a handle in it; f itself runs where its
// caller does. The namespace is gone, with what f made there, when f returns.
func scratch(ctx context.Context, f func(ns netns.NsHandle, h *handle) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	ns, err := newNamespace()
	if err != nil {
		return fmt.Errorf("make a network namespace: %w", err)
	}
	defer ns.Close()
	h, err := openHandle(ns)
	if err != nil {
		return err
	}
	defer h.close()
	return f(ns, h)
}
