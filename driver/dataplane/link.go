package dataplane

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/driver/overlay"
)

// bridge makes br0: no spanning tree, no multicast snooping (what is not
// snooped is flooded, so multicast needs no querier).
func (p *pass) bridge() error {
	l := p.links[overlay.Bridge]
	mac := bridgeMAC(p.n)
	if br, ok := l.(*netlink.Bridge); l != nil && (!ok || br.MulticastSnooping == nil || *br.MulticastSnooping ||
		p.n.Address.IsValid() && !slices.Equal(br.HardwareAddr, mac[:])) {
		p.fix("bridge of network %s had other settings", p.n.ID)
		if err := p.h.remove(l); err != nil {
			return err
		}
		l = nil
	}
	if l == nil {
		p.fix("bridge of network %s was missing", p.n.ID)
		off, noVLAN := false, uint16(0) // by default kernels that can filter VLANs have each entry in VLAN 1 too
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.MTU = overlay.Bridge, p.n.MTU
		attrs.HardwareAddr = mac[:]
		if err := p.h.LinkAdd(&netlink.Bridge{LinkAttrs: attrs, MulticastSnooping: &off, VlanDefaultPVID: &noVLAN}); err != nil {
			return fmt.Errorf("add bridge: %w", err)
		}
		if err := p.reload(overlay.Bridge); err != nil {
			return err
		}
		// The ports of a bridge that is gone have no master any more.
		for name, port := range p.links {
			if port.Attrs().MasterIndex != 0 {
				if err := p.reload(name); err != nil {
					return err
				}
				p.fresh[name] = true
			}
		}
		p.fresh[overlay.Bridge] = true
	}
	if err := p.mtu(overlay.Bridge); err != nil {
		return err
	}
	return errors.Join(p.address(), p.up(overlay.Bridge))
}

// bridgeMAC gives the bridge a MAC of its own: else it takes that of its lowest
// port, and each time it changes it loses all neighbours, permanent ones too.
// It is locally administered and different from those of endpoints, or that of
// the bridge's address.
func bridgeMAC(n overlay.NetworkConfig) overlay.MAC {
	if n.Address.IsValid() {
		return overlay.MACOf(n.ID, n.Address.Addr())
	}
	mac := overlay.MACOf(n.ID, netip.Addr{})
	mac[0] = 0x0a
	return mac
}

// address gives the bridge the address that this host has in the network.
func (p *pass) address() error {
	if !p.n.Address.IsValid() {
		return nil
	}
	br := p.links[overlay.Bridge]
	list, err := dump(func() ([]netlink.Addr, error) { return p.h.AddrList(br, netlink.FAMILY_V4) })
	if err != nil {
		return fmt.Errorf("list addresses of the bridge: %w", err)
	}
	has := slices.ContainsFunc(list, func(a netlink.Addr) bool {
		have, ok := prefixOf(a.IPNet)
		return ok && have == p.n.Address
	})
	if has {
		return nil
	}
	if !p.fresh[overlay.Bridge] {
		p.fix("address %s of network %s was missing", p.n.Address, p.n.ID)
	}
	net := &net.IPNet{IP: p.n.Address.Addr().AsSlice(), Mask: net.CIDRMask(p.n.Address.Bits(), p.n.Address.Addr().BitLen())}
	if err := p.h.AddrAdd(br, &netlink.Addr{IPNet: net}); err != nil {
		return fmt.Errorf("add address %s to the bridge: %w", p.n.Address, err)
	}
	return nil
}

// tunnel makes vx0 in its final namespace with its socket in the host's, and
// makes it a port of the bridge.
func (p *pass) tunnel(ctx context.Context) error {
	if l := p.links[overlay.VXLAN]; l != nil {
		if why := p.misfit(l); why != "" {
			p.fix("VXLAN device of network %s %s", p.n.ID, why)
			if err := p.h.remove(l); err != nil {
				return err
			}
			delete(p.links, overlay.VXLAN)
		}
	}
	if p.links[overlay.VXLAN] == nil {
		p.fix("VXLAN device of network %s was missing", p.n.ID)
		if err := p.addTunnel(ctx); err != nil {
			return err
		}
		if err := p.reload(overlay.VXLAN); err != nil {
			return err
		}
		p.fresh[overlay.VXLAN] = true
	}
	// Learning is for networks whose endpoints may send from any MAC. The bridge
	// answers ARP and ND only where addresses cannot move by themselves: it
	// would hold back a gratuitous ARP.
	err := p.attach(overlay.VXLAN, portFlags{learning: !p.n.Guarded, flood: true, suppress: p.n.Guarded})
	err = errors.Join(err, p.mtu(overlay.VXLAN))
	if p.closed {
		return err
	}
	return errors.Join(err, p.up(overlay.VXLAN))
}

// closeTunnels takes the tunnels of all networks down: the host has no border.
func (d *Dataplane) closeTunnels() error {
	ids, err := d.namespaces()
	if err != nil {
		return err
	}
	var errs []error
	for _, id := range ids {
		err := d.inNetwork(id, func(h *handle) error {
			l, err := h.link(overlay.VXLAN)
			if err != nil || l == nil || !isUp(l) {
				return err
			}
			return h.LinkSetDown(l)
		})
		if err != nil {
			errs = append(errs, fmt.Errorf("take the tunnel of network %s down: %w", id, err))
		}
	}
	return errors.Join(errs...)
}

// misfit says why the VXLAN device cannot stay, or "".
func (p *pass) misfit(l netlink.Link) string {
	v, ok := l.(*netlink.Vxlan)
	if !ok {
		return "was of type " + l.Type()
	}
	local, _ := netip.AddrFromSlice(v.SrcAddr)
	switch {
	case v.VxlanId != int(p.n.VNI):
		return fmt.Sprintf("had VNI %d", v.VxlanId)
	case v.Port != int(p.cfg.Port):
		return fmt.Sprintf("had UDP port %d", v.Port)
	case local.Unmap() != p.cfg.VTEP:
		return fmt.Sprintf("had local address %s", local.Unmap())
	case v.Learning || v.Proxy || v.FlowBased:
		return "had other flags"
	case v.NetNsID < 0:
		return "had its socket outside the host's namespace"
	}
	return ""
}

// How often and how long a VNI that is still taken is tried again. A namespace
// dies after its file is gone, and its VXLAN device with it; 50 of them took 1 s.
const (
	retryEvery = 20 * time.Millisecond
	retryFor   = 15 * time.Second
)

func (p *pass) addTunnel(ctx context.Context) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.Namespace = overlay.VXLAN, p.n.MTU, netlink.NsFd(int(p.ns))
	v := &netlink.Vxlan{
		LinkAttrs: attrs, VxlanId: int(p.n.VNI), SrcAddr: p.cfg.VTEP.AsSlice(), Port: int(p.cfg.Port),
		UDPCSum: true, // and real ones on IPv6, which needs them (RFC 8200 section 8.1)
	}
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		err := p.d.host.LinkAdd(v)
		if !errors.Is(err, unix.EEXIST) {
			if err != nil {
				return struct{}{}, backoff.Permanent(err)
			}
			return struct{}{}, nil
		}
		if freeErr := p.d.freeVNI(p.cfg, p.n.VNI); freeErr != nil {
			return struct{}{}, backoff.Permanent(freeErr)
		}
		return struct{}{}, err
	}, backoff.WithBackOff(backoff.NewConstantBackOff(retryEvery)), backoff.WithMaxElapsedTime(retryFor))
	switch {
	case errors.Is(err, unix.EEXIST):
		return fmt.Errorf("VNI %d on UDP port %d is taken by a VXLAN device that is not this network's (another overlay's, or one in a deleted namespace that a process still uses); remove that device, end that process or recreate the network", p.n.VNI, p.cfg.Port)
	case errors.Is(err, unix.EADDRINUSE):
		return fmt.Errorf("UDP port %d is taken by another program or by a VXLAN device without a fixed VNI; choose another port for weft", p.cfg.Port)
	case err != nil:
		return fmt.Errorf("add VXLAN device: %w", err)
	}
	return nil
}

// freeVNI deletes the VXLAN device of a network of weft's that has this VNI but
// is not to have it.
func (d *Dataplane) freeVNI(cfg overlay.Config, vni uint32) error {
	ids, err := d.namespaces()
	if err != nil {
		return err
	}
	entitled := map[string]bool{}
	for _, n := range cfg.Networks {
		if n.VNI == vni {
			entitled[n.ID] = true
		}
	}
	for _, id := range ids {
		if entitled[id] {
			continue
		}
		err := d.inNetwork(id, func(h *handle) error {
			l, err := h.link(overlay.VXLAN)
			if v, ok := l.(*netlink.Vxlan); err == nil && ok && v.VxlanId == int(vni) {
				delete(d.applied, id)
				err = h.remove(l)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// reload reads one link of the namespace again.
func (p *pass) reload(name string) error {
	l, err := p.h.link(name)
	switch {
	case err != nil:
		return fmt.Errorf("read link %s: %w", name, err)
	case l == nil:
		return fmt.Errorf("link %s went away while it was set up", name)
	}
	p.links[name] = l
	return nil
}

// attach makes the link a port of the bridge with these flags.
func (p *pass) attach(name string, want portFlags) error {
	l, br := p.links[name], p.links[overlay.Bridge].Attrs().Index
	have, known := portFlags{}, false
	if l.Attrs().MasterIndex != br {
		if !p.fresh[name] {
			p.fix("link %s of network %s was no port of the bridge", name, p.n.ID)
		}
		if err := p.h.LinkSetMasterByIndex(l, br); err != nil {
			return fmt.Errorf("make %s a bridge port: %w", name, err)
		}
		p.fresh[name] = true // forwarding entries went with the old master
	} else {
		var err error
		if have, known, err = p.portFlags(name); err != nil {
			return err
		}
	}
	p.left[name] = want
	if known && have == want {
		return nil
	}
	if known {
		p.fix("bridge port %s of network %s had other settings", name, p.n.ID)
	}
	if err := p.h.setBridgePort(l.Attrs().Index, want); err != nil {
		return fmt.Errorf("set up bridge port %s: %w", name, err)
	}
	return nil
}

// portFlags gives the flags that a bridge port has: as the last pass left them, or as read
// back by a pass that verifies. The kernel tells only of all ports at once.
func (p *pass) portFlags(name string) (have portFlags, known bool, err error) {
	if have, known = p.were[name]; known && !p.verify && !p.fresh[name] {
		return have, true, nil
	}
	if p.flags == nil {
		if p.flags, err = p.h.bridgePorts(); err != nil {
			return have, false, fmt.Errorf("list bridge ports: %w", err)
		}
	}
	have, known = p.flags[p.links[name].Attrs().Index]
	return have, known, nil
}

func (p *pass) mtu(name string) error {
	l := p.links[name]
	if l.Attrs().MTU == p.n.MTU {
		return nil
	}
	p.fix("link %s of network %s had MTU %d", name, p.n.ID, l.Attrs().MTU)
	if err := p.h.LinkSetMTU(l, p.n.MTU); err != nil {
		return fmt.Errorf("set MTU %d of %s: %w", p.n.MTU, name, err)
	}
	return nil
}

func (p *pass) up(name string) error {
	l := p.links[name]
	if isUp(l) {
		return nil
	}
	if !p.fresh[name] {
		p.fix("link %s of network %s was down", name, p.n.ID)
	}
	if err := p.h.LinkSetUp(l); err != nil {
		return fmt.Errorf("set %s up: %w", name, err)
	}
	if name == overlay.Bridge {
		p.fresh[name] = true // a link that goes down loses its neighbours
	}
	return nil
}
