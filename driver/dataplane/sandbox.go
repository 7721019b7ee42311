package dataplane

import (
	"errors"
	"fmt"
	"net"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/driver/overlay"
)

// addPairInSandbox makes the pair with the container end inside the sandbox,
// set up as Docker would have.
func (p *pass) addPairInSandbox(port overlay.Port) error {
	ns, h, err := openSandbox(port.Sandbox)
	if err != nil {
		return err
	}
	defer ns.Close()
	defer h.close()
	links, err := h.links()
	if err != nil {
		return err
	}
	name := ""
	for i := 0; name == ""; i++ {
		if n := fmt.Sprintf("eth%d", i); links[n] == nil {
			name = n
		}
	}
	if err := h.LinkAdd(p.pair(name, port)); err != nil {
		return fmt.Errorf("add veth pair in sandbox %s: %w", port.Sandbox, err)
	}
	l, err := h.LinkByName(name)
	if err != nil {
		return fmt.Errorf("read link %s in sandbox %s: %w", name, port.Sandbox, err)
	}
	if err := configure(ns, h, l, port); err != nil {
		return errors.Join(fmt.Errorf("set up %s in sandbox %s: %w", name, port.Sandbox, err), h.remove(l))
	}
	return p.madePair(port)
}

func configure(ns netns.NsHandle, h *handle, l netlink.Link, port overlay.Port) error {
	for _, a := range port.Addrs {
		addr := &netlink.Addr{IPNet: &net.IPNet{IP: a.Addr().AsSlice(), Mask: net.CIDRMask(a.Bits(), a.Addr().BitLen())}}
		if a.Addr().Is6() {
			addr.Flags = unix.IFA_F_NODAD // the address was claimed in the whole cluster
			err := visit(ns, func() error {
				_, err := setSysctls([]sysctl{{"net/ipv6/conf/" + l.Attrs().Name + "/disable_ipv6", "0"}})
				return err
			})
			if err != nil {
				return err
			}
		}
		if err := h.AddrAdd(l, addr); err != nil {
			return fmt.Errorf("add address %s: %w", a, err)
		}
	}
	return h.LinkSetUp(l)
}

// containerMTU gives the container end the network's MTU, wherever it is. If it
// is nowhere to be found nothing is done: Docker may be moving it.
func (p *pass) containerMTU(port overlay.Port) error {
	name, peer := overlay.ContainerLink(port.Endpoint), p.links[overlay.PortLink(port.Endpoint)].Attrs().ParentIndex
	l, err := p.d.host.link(name)
	if err != nil {
		return err
	}
	h := p.d.host
	if l == nil && isNamespace(port.Sandbox) {
		ns, sandbox, err := openSandbox(port.Sandbox)
		if err != nil {
			return err
		}
		defer ns.Close()
		defer sandbox.close()
		h = sandbox
		if l, err = h.LinkByIndex(peer); err != nil {
			if _, missing := errors.AsType[netlink.LinkNotFoundError](err); missing {
				return nil
			}
			return err
		}
	}
	if l == nil || l.Type() != "veth" || l.Attrs().Index != peer || l.Attrs().MTU == p.n.MTU {
		return nil
	}
	p.fix("container end of link %s of network %s had MTU %d", overlay.PortLink(port.Endpoint), p.n.ID, l.Attrs().MTU)
	if err := h.LinkSetMTU(l, p.n.MTU); err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("set MTU %d of %s: %w", p.n.MTU, l.Attrs().Name, err)
	}
	return nil
}

func openSandbox(path string) (netns.NsHandle, *handle, error) {
	ns, err := netns.GetFromPath(path)
	if err != nil {
		return netns.None(), nil, fmt.Errorf("open sandbox %s: %w", path, err)
	}
	h, err := openHandle(ns)
	if err != nil {
		ns.Close()
		return netns.None(), nil, fmt.Errorf("open netlink in sandbox %s: %w", path, err)
	}
	return ns, h, nil
}
