package dataplane

import (
	"cmp"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/weft-net/weft/driver/dataplane/direct"
	"github.com/weft-net/weft/driver/dataplane/fastpath"
	"github.com/weft-net/weft/driver/overlay"
)

const (
	// lingers is for how long packets without a tunnel are taken from a host that does
	// not take them itself any more: it may send some until its leases are over.
	lingers = 4 * direct.Lease
	// toldAfter is how long a container is there until it is taken for granted that the
	// other hosts know its addresses: who does not takes nothing from them without a tunnel.
	toldAfter = 3 * time.Second
	// probed is how many addresses of each host and family take part in probes.
	probed = 64
	// mostLanes is to how many hosts packets go without a tunnel, counted for each network:
	// each costs a probe and an answer a second. It is far below the size of weft_leases.
	mostLanes = 512
)

// neighbours are the hosts with which packets are exchanged without a tunnel.
type neighbours struct {
	nic    overlay.MAC // where this host takes such packets; zero: nowhere
	why    string      // nowhere because of it
	takers map[string]map[overlay.MAC]taker
	since  map[string]time.Time // when a pass has first seen an endpoint
	lanes  map[string][]lane    // by network id
}

// taker is a host with its MAC in one network.
type taker struct {
	vtep  netip.Addr
	until time.Time
}

// lane is another host in one network that takes packets without a tunnel.
type lane struct {
	network string
	vni     uint32
	vtep    netip.Addr
	mac     overlay.MAC
	ways    []probedWay // none: packets may not go there so at the moment, but may come
}

// probedWay are addresses of one family on both sides.
type probedWay struct{ ours, theirs []netip.Addr }

// toldNeighbours is what is told of them after a pass.
type toldNeighbours struct {
	host  fastpath.Host
	nic   overlay.MAC
	why   string
	lanes []lane
}

func newNeighbours() neighbours {
	return neighbours{takers: map[string]map[overlay.MAC]taker{}, since: map[string]time.Time{}, lanes: map[string][]lane{}}
}

// directNIC gives the MAC of the uplink, if packets without a tunnel may come and go
// there; else why not.
func directNIC(looker *Inspector, l netlink.Link) (overlay.MAC, string) {
	at := l.Attrs()
	if _, err := os.Stat("/sys/class/net/" + at.Name + "/phy80211"); err == nil {
		return overlay.MAC{}, fmt.Sprintf("interface %s is wireless", at.Name)
	}
	var others []string
	err := looker.hookedAt(l, func(hook, what string) { others = append(others, fmt.Sprintf("%s at %s", what, hook)) })
	switch {
	case err != nil:
		return overlay.MAC{}, err.Error()
	case len(others) > 0:
		return overlay.MAC{}, fmt.Sprintf("somebody else's %s of %s would see the containers' packets", others[0], at.Name)
	}
	mac := macOf(l)
	if mac == (overlay.MAC{}) {
		return mac, fmt.Sprintf("interface %s has no MAC", at.Name)
	}
	return mac, ""
}

func macOf(l netlink.Link) (mac overlay.MAC) {
	if a := l.Attrs().HardwareAddr; len(a) == len(mac) {
		copy(mac[:], a)
	}
	return mac
}

// know says whether the other hosts know of the endpoint.
func (n *neighbours) know(endpoint string, now time.Time) bool {
	since, seen := n.since[endpoint]
	if !seen {
		n.since[endpoint] = now
		return false
	}
	return now.Sub(since) >= toldAfter
}

// from gives the MACs from which the network's packets are taken without a tunnel.
func (n *neighbours) from(cfg overlay.NetworkConfig, now time.Time) map[overlay.MAC]taker {
	list := n.takers[cfg.ID]
	if list == nil {
		list = map[overlay.MAC]taker{}
	}
	if n.nic != (overlay.MAC{}) {
		for _, c := range cfg.Direct {
			list[c.MAC] = taker{c.VTEP, now.Add(lingers)}
		}
	}
	for mac, t := range list {
		if now.After(t.until) || !slices.Contains(cfg.Members, t.vtep) {
			delete(list, mac)
		}
	}
	if n.takers[cfg.ID] = list; len(list) == 0 {
		delete(n.takers, cfg.ID)
	}
	return list
}

// forget leaves out what cfg does not have.
func (n *neighbours) forget(cfg overlay.Config) {
	networks, endpoints := map[string]bool{}, map[string]bool{}
	for _, c := range cfg.Networks {
		networks[c.ID] = true
		for _, p := range c.Ports {
			endpoints[p.Endpoint] = true
		}
	}
	for id := range n.takers {
		if !networks[id] {
			delete(n.takers, id)
		}
	}
	for id := range n.lanes {
		if !networks[id] {
			delete(n.lanes, id)
		}
	}
	for id := range n.since {
		if !endpoints[id] {
			delete(n.since, id)
		}
	}
}

// tell gives what is told after a pass. A host that cannot take the packets of one of its
// networks takes none, since others do not ask for each.
func (n *neighbours) tell(f *fast) toldNeighbours {
	out := toldNeighbours{host: f.host, why: n.why}
	if f.why.hinders() {
		out.why = f.why.Text
		return out
	}
	for _, why := range f.slow {
		if why.Cause == CauseFault {
			out.why = why.Text
			return out
		}
	}
	out.nic = n.nic
	if n.nic != (overlay.MAC{}) {
		for _, list := range n.lanes {
			out.lanes = append(out.lanes, list...)
		}
	}
	limit(out.lanes)
	return out
}

// limit leaves no more lanes to be probed than may be, always the same ones.
func limit(lanes []lane) {
	slices.SortFunc(lanes, func(a, b lane) int { return cmp.Or(a.vtep.Compare(b.vtep), cmp.Compare(a.vni, b.vni)) })
	probes := 0
	for i := range lanes {
		if len(lanes[i].ways) == 0 {
			continue
		}
		if probes++; probes > mostLanes {
			lanes[i].ways = nil
		}
	}
}

// direct fills in what the programs have to know for packets without a tunnel.
func (p *pass) direct(n *fastpath.Network) {
	f := &p.d.fast.neighbours
	from := f.from(p.n, p.d.now())
	if len(from) == 0 {
		return
	}
	n.Tunnel = p.links[overlay.VXLAN].Attrs().Index
	vteps := map[netip.Addr]bool{}
	for mac, t := range from {
		n.NICs = append(n.NICs, fastpath.NIC{MAC: mac, VTEP: t.vtep})
		vteps[t.vtep] = true
	}
	var ours []netip.Addr
	for _, port := range p.n.Ports {
		l, index := p.links[overlay.PortLink(port.Endpoint)], 0
		if l != nil && hasCarrier(l) {
			index = l.Attrs().Index
		}
		for _, a := range port.Addrs {
			n.Homes = append(n.Homes, fastpath.Home{Addr: a.Addr(), MAC: port.MAC, Here: true, Link: index})
			if index != 0 && f.know(port.Endpoint, p.d.now()) {
				ours = append(ours, a.Addr())
			}
		}
	}
	for _, a := range p.n.Gone {
		n.Homes = append(n.Homes, fastpath.Home{Addr: a, MAC: overlay.MACOf(p.n.ID, a), Here: true})
	}
	theirs := map[netip.Addr][]netip.Addr{}
	for _, r := range p.n.Remotes {
		if !vteps[r.VTEP] {
			continue
		}
		for _, a := range r.Addrs {
			n.Homes = append(n.Homes, fastpath.Home{Addr: a, MAC: r.MAC, VTEP: r.VTEP})
		}
		theirs[r.VTEP] = append(theirs[r.VTEP], r.Addrs...)
	}
	for _, c := range p.n.Direct {
		on := slices.Contains(p.n.Flood, c.VTEP) && p.d.near(p.cfg.VTEP, c.VTEP, p.n.MTU+tunnelOverhead) && !p.d.fast.ways[c.VTEP].routed
		l := lane{network: p.n.ID, vni: p.n.VNI, vtep: c.VTEP, mac: c.MAC}
		if on {
			l.ways = waysOf(ours, theirs[c.VTEP])
		}
		f.lanes[p.n.ID] = append(f.lanes[p.n.ID], l)
	}
}

// waysOf are those between addresses of this host and of another one.
func waysOf(ours, theirs []netip.Addr) []probedWay {
	var out []probedWay
	for _, family := range []func(netip.Addr) bool{netip.Addr.Is4, netip.Addr.Is6} {
		of := func(all []netip.Addr) []netip.Addr {
			list := slices.DeleteFunc(slices.Clone(all), func(a netip.Addr) bool { return !family(a) })
			return list[:min(len(list), probed)]
		}
		if w := (probedWay{of(ours), of(theirs)}); len(w.ours) > 0 && len(w.theirs) > 0 {
			out = append(out, w)
		}
	}
	return out
}

// addresses are those of the probe with that number: each in its turn.
func (l lane) addresses(number int) (src, dst netip.Addr) {
	w := l.ways[number%len(l.ways)]
	number /= len(l.ways)
	return w.ours[number%len(w.ours)], w.theirs[number%len(w.theirs)]
}
