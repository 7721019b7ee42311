package dataplane

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// etherMTU is counted on where the underlay's address is on a link of no packets
// and no way to another host is known yet (RFC 894).
const etherMTU = 1500

// virtual says whether the link only holds addresses, as the loopback or a dummy
// do, and packets to them come and go by other links.
func virtual(l netlink.Link) bool {
	return l.Attrs().Flags&net.FlagLoopback != 0 || l.Type() == "dummy" || l.Type() == "vrf"
}

// hop is one link by which packets leave.
type hop struct {
	index  int
	mtu    int  // bytes: the link's or the route's own, the smaller one
	routed bool // packets go to a gateway
}

// pathMTU gives the least of what is known of the way of packets from at: of the
// link that has the address, if packets leave by it, and of the routes to the
// peers. While there is none, the route to via stands for them, and then the
// default route; as far as they say something of that link, if it has packets. ways is
// a digest of the links to the peers.
func (d *Dataplane) pathMTU(at source, via netip.Addr, peers []netip.Addr) (mtu int, ways uint64, err error) {
	links, err := d.host.byIndex()
	if err != nil {
		return 0, 0, err
	}
	own, index := 0, at.link.Attrs().Index
	if !virtual(at.link) {
		own = at.link.Attrs().MTU
	}
	var hops []hop
	digest := fnv.New64a()
	for _, peer := range peers {
		some := d.hopsTo(links, at.addr, peer)
		_, _ = fmt.Fprint(digest, peer, some)
		ways = digest.Sum64()
		hops = append(hops, some...)
	}
	for _, ask := range []func() []hop{
		func() []hop { return d.hopsTo(links, at.addr, via) },
		func() []hop { return d.defaultHops(links, familyOf(at.addr)) },
	} {
		if len(hops) > 0 {
			break
		}
		hops = slices.DeleteFunc(ask(), func(h hop) bool { return own != 0 && h.index != index })
	}
	for _, h := range hops {
		if own == 0 || h.mtu < own {
			own = h.mtu
		}
	}
	return cmp.Or(own, etherMTU), ways, nil
}

// hopsTo gives the links by which packets leave from src to dst; none if there is
// no way, or it does not leave the host. It asks for the route as it was set: what
// the kernel has learned of one path for a while would make networks' MTUs jump.
func (d *Dataplane) hopsTo(links map[int]netlink.Link, src, dst netip.Addr) []hop {
	if !dst.IsValid() || dst.Is4() != src.Is4() {
		return nil
	}
	routes, err := d.host.RouteGetWithOptions(dst.AsSlice(), &netlink.RouteGetOptions{SrcAddr: src.AsSlice(), FIBMatch: true})
	if err != nil { // there is no way at the moment
		return nil
	}
	var out []hop
	for _, r := range routes {
		out = append(out, hopsOf(links, r)...)
	}
	return out
}

// defaultHops are those of the best default route.
func (d *Dataplane) defaultHops(links map[int]netlink.Link, family int) []hop {
	best, err := d.defaultRoute(family)
	if err != nil || best == nil {
		return nil
	}
	return hopsOf(links, *best)
}

// hopsOf gives a route's links, without those that only hold addresses.
func hopsOf(links map[int]netlink.Link, r netlink.Route) []hop {
	if r.Type != unix.RTN_UNICAST && r.Type != unix.RTN_UNSPEC {
		return nil
	}
	hops := []hop{{index: r.LinkIndex, routed: r.Gw != nil || r.Via != nil}}
	for _, next := range r.MultiPath {
		hops = append(hops, hop{index: next.LinkIndex, routed: next.Gw != nil || next.Via != nil})
	}
	var out []hop
	for _, h := range hops {
		l := links[h.index]
		if l == nil || virtual(l) {
			continue
		}
		h.mtu = l.Attrs().MTU
		if r.MTU > 0 {
			h.mtu = min(h.mtu, r.MTU)
		}
		out = append(out, h)
	}
	return out
}
