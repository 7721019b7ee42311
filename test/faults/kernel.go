package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/driver/overlay"
)

func kernelFaults() []*fault {
	del := func(link string) func(context.Context, *play) error {
		return func(_ context.Context, p *play) error {
			return p.inNetwork(func(h *netlink.Handle) error {
				l, err := h.LinkByName(link)
				if err != nil {
					return err
				}
				return h.LinkDel(l)
			})
		}
	}
	return []*fault{
		{name: "kernel-bridge", title: "somebody deletes a network's bridge", lab: plain, harm: del(overlay.Bridge), mend: nothing},
		{name: "kernel-tunnel", title: "somebody deletes a network's VXLAN device", lab: plain, harm: del(overlay.VXLAN), mend: nothing},
		{name: "kernel-entries", title: "somebody flushes a network's forwarding and neighbour entries", lab: plain, harm: func(_ context.Context, p *play) error {
			return p.inNetwork(flush)
		}, mend: nothing},
		{name: "kernel-namespace", title: "somebody deletes a network's namespace", lab: plain, harm: func(ctx context.Context, p *play) error {
			_, err := p.host("h1").Run(ctx, "ip", "netns", "del", overlay.Namespace(p.stage.ids[networks[0]]))
			return err
		}, mend: nothing},
	}
}

// inNetwork calls f with a handle of the first network's namespace on h1.
func (p *play) inNetwork(f func(*netlink.Handle) error) error {
	ns, err := netns.GetFromPath(p.host("h1").Path("/run/netns/" + overlay.Namespace(p.stage.ids[networks[0]])))
	if err != nil {
		return err
	}
	defer ns.Close()
	h, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer h.Close()
	return f(h)
}

// flush deletes where the tunnel sends, flooding included, and all neighbours.
func flush(h *netlink.Handle) error {
	var errs []error
	for link, family := range map[string]int{overlay.VXLAN: unix.AF_BRIDGE, overlay.Bridge: unix.AF_INET} {
		l, err := h.LinkByName(link)
		if err != nil {
			return err
		}
		list, err := h.NeighList(l.Attrs().Index, family)
		if err != nil {
			return err
		}
		for _, n := range list {
			if n.MasterIndex != 0 && n.Flags&unix.NTF_SELF == 0 {
				n.Flags |= unix.NTF_MASTER // or the kernel asks the device, which has no such entry
			}
			if err := h.NeighDel(&n); err != nil && n.State != unix.NUD_PERMANENT && n.State != unix.NUD_NOARP {
				continue // learned, and gone meanwhile
			} else if err != nil {
				errs = append(errs, fmt.Errorf("delete %s on %s: %w", n.HardwareAddr, link, err))
			}
		}
	}
	return errors.Join(errs...)
}
