package dataplane

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"

	"github.com/weft-net/weft/driver/dataplane/fastpath"
	"github.com/weft-net/weft/driver/overlay"
)

// fast lets the network take the fast path, with want in the forwarding tables, or
// sees to it that it does not. What fails makes the network slower, and nothing else.
func (p *pass) fast(want []entry, open bool) {
	f := &p.d.fast
	if p.cfg.Partial {
		return
	}
	delete(f.late, p.n.ID)
	delete(f.neighbours.lanes, p.n.ID)
	why := p.fastHinders(open)
	var err error
	if !why.hinders() {
		err = p.openFast(want)
		if err != nil {
			why = Hindrance{CauseFault, err.Error()}
		}
	}
	if !why.hinders() {
		delete(f.slow, p.n.ID)
		return
	}
	f.slow[p.n.ID] = why
	if err := p.closeFast(); err != nil {
		p.d.log.WithError(err).WithField("id", p.n.ID).Debug("The fast path of a network cannot be taken away at the moment.")
	}
}

// fastHinders says what keeps the network from the fast path.
func (p *pass) fastHinders(open bool) Hindrance {
	switch {
	case !open:
		return Hindrance{CauseHost, "this host has no fast path"}
	case !p.n.Guarded:
		return Hindrance{CauseOff, "its containers may send from any address (weft.port_isolation=false)"}
	case p.n.Address.IsValid():
		return Hindrance{CauseOff, "it probes the tunnels"}
	}
	return Hindrance{}
}

// openFast makes the pair, hangs the programs and fills the tables.
func (p *pass) openFast(want []entry) error {
	outer, made, err := p.fastPair()
	if err != nil {
		return err
	}
	inner := p.links[overlay.FastInner].Attrs().Index
	plane := p.d.fast.plane
	n := fastpath.Network{VNI: p.n.VNI, Inner: inner, Outer: outer, Members: p.n.Members}
	n.Ports, n.Places = p.fastPorts(), p.fastPlaces(want)
	p.direct(&n)
	loaded, err := plane.SetNetwork(n)
	if err != nil {
		return err
	}
	made = made || loaded
	if made || p.verify {
		err := visit(p.d.hostNS, func() error {
			_, err := plane.Attach(fastpath.ToWire, 0, outer, p.fresh[overlay.FastInner])
			return err
		})
		if err != nil {
			return err
		}
	}
	return visit(p.ns, func() error {
		if made || p.verify {
			if err := p.hang(fastpath.ToPort, overlay.FastInner, made); err != nil {
				return err
			}
		}
		if made || p.verify || p.fresh[overlay.VXLAN] {
			if err := p.hang(fastpath.FromTunnel, overlay.VXLAN, made); err != nil {
				return err
			}
		}
		for _, port := range p.n.Ports {
			name := overlay.PortLink(port.Endpoint)
			if l := p.links[name]; l != nil && (made || p.verify || p.fresh[name]) {
				if err := p.hang(fastpath.FromPort, name, made); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// hang attaches a program to a link of the network, in whose namespace the thread is.
// made says that the network did not have these programs before.
func (p *pass) hang(hook fastpath.Hook, name string, made bool) error {
	changed, err := p.d.fast.plane.Attach(hook, p.n.VNI, p.links[name].Attrs().Index, p.fresh[name])
	if changed && err == nil && !made && !p.fresh[name] {
		p.fix("program of the fast path at link %s of network %s was missing", name, p.n.ID)
	}
	return err
}

// fastPair makes the pair of links that the programs redirect over, and gives the
// index of the host's end. Nothing is ever sent to either.
func (p *pass) fastPair() (outer int, made bool, err error) {
	name := overlay.FastOuter(p.n.ID)
	l := p.links[overlay.FastInner]
	if l != nil && isUp(l) && (!p.verify || p.pairWhole(l, name)) {
		return l.Attrs().ParentIndex, false, nil
	}
	if l != nil {
		p.fix("link %s of network %s was not as it has to be", overlay.FastInner, p.n.ID)
		if err := p.h.remove(l); err != nil {
			return 0, false, err
		}
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = overlay.FastInner
	v := netlink.NewVeth(attrs)
	v.PeerName, v.PeerNamespace = name, netlink.NsFd(int(p.d.hostNS))
	if err := p.h.LinkAdd(v); err != nil {
		return 0, false, fmt.Errorf("add veth pair %s: %w", name, err)
	}
	if err := p.reload(overlay.FastInner); err != nil {
		return 0, false, err
	}
	p.fresh[overlay.FastInner] = true
	end, err := p.d.host.link(name)
	if err != nil || end == nil {
		return 0, false, fmt.Errorf("read link %s: %w", name, err)
	}
	// So it never sends anything by itself.
	quiet := visit(p.d.hostNS, func() error {
		_, err := setSysctls([]sysctl{{"net/ipv6/conf/" + name + "/disable_ipv6", "1"}})
		return err
	})
	if err := errors.Join(quiet, p.d.host.LinkSetUp(end), p.h.LinkSetUp(p.links[overlay.FastInner])); err != nil {
		return 0, false, fmt.Errorf("set up veth pair %s: %w", name, err)
	}
	return end.Attrs().Index, true, p.reload(overlay.FastInner)
}

// pairWhole says whether the other end is in the host's namespace and up.
func (p *pass) pairWhole(inner netlink.Link, name string) bool {
	end, err := p.d.host.link(name)
	return err == nil && end != nil && isUp(end) && end.Attrs().Index == inner.Attrs().ParentIndex
}

// fastPorts are the ports whose containers send the fast way.
func (p *pass) fastPorts() []fastpath.Port {
	var out []fastpath.Port
	for _, port := range p.n.Ports {
		l := p.links[overlay.PortLink(port.Endpoint)]
		if l == nil {
			continue
		}
		f := fastpath.Port{Link: l.Attrs().Index, MTU: p.n.MTU, MAC: port.MAC, Told: p.d.fast.neighbours.know(port.Endpoint, p.d.now())}
		for _, a := range port.Addrs {
			f.Addrs = append(f.Addrs, a.Addr())
		}
		out = append(out, f)
	}
	return out
}

// fastPlaces are the forwarding entries that the fast path takes over from the bridge
// and the tunnel: of the ports, and of hosts that are reached by the underlay's
// interface with packets of the network's MTU.
func (p *pass) fastPlaces(want []entry) []fastpath.Place {
	behind := map[overlay.MAC]netip.Addr{}
	for _, e := range want {
		if e.table == tunnel && !e.isFlood() && p.d.near(p.cfg.VTEP, e.addr, p.n.MTU+tunnelOverhead) {
			behind[e.mac] = e.addr
		}
	}
	var out []fastpath.Place
	for _, e := range want {
		if e.table != forward {
			continue
		}
		switch vtep := behind[e.mac]; {
		case overlay.IsPortLink(e.link):
			// Before the container's end is up the program would drop what is for it. The
			// bridge refuses it.
			switch l := p.links[e.link]; {
			case l == nil:
			case !hasCarrier(l):
				p.d.fast.late[p.n.ID] = true
			default:
				out = append(out, fastpath.Place{MAC: e.mac, Link: l.Attrs().Index})
			}
		case e.link == overlay.VXLAN && vtep.IsValid():
			out = append(out, fastpath.Place{MAC: e.mac, VTEP: vtep})
		}
	}
	return out
}

// closeFast takes the network from the fast path.
func (p *pass) closeFast() error {
	var errs []error
	if plane := p.d.fast.plane; plane != nil {
		errs = append(errs, plane.RemoveNetwork(p.n.VNI))
	}
	l := p.links[overlay.FastInner]
	if l == nil {
		return errors.Join(errs...)
	}
	errs = append(errs, visit(p.ns, func() error {
		var errs []error
		for name, l := range p.links {
			if overlay.IsPortLink(name) || name == overlay.VXLAN {
				errs = append(errs, fastpath.Detach(l.Attrs().Index))
			}
		}
		return errors.Join(errs...)
	}))
	if err := errors.Join(errs...); err != nil {
		return err
	}
	delete(p.links, overlay.FastInner)
	return p.h.remove(l)
}
