package dataplane

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	mnetlink "github.com/mdlayher/netlink"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/driver/overlay"
)

// AwaitCarrier waits until the endpoint's port forwards: Docker has brought the
// container's end up. It does not return before, but with an error or when ctx ends.
// While it waits, the network's namespace cannot go.
func (d *Dataplane) AwaitCarrier(ctx context.Context, network, endpoint string) error {
	ns, err := d.awaitNamespace(ctx, network)
	if err != nil {
		return err
	}
	defer ns.Close()
	c, err := mnetlink.Dial(unix.NETLINK_ROUTE, &mnetlink.Config{Groups: unix.RTMGRP_LINK, NetNS: int(ns)})
	if err != nil {
		return fmt.Errorf("watch links of network %s: %w", network, err)
	}
	defer c.Close()
	name := overlay.PortLink(endpoint)
	up, err := forwards(ns, name) // what came before is not told any more
	if err == nil && !up {
		failed := receive(ctx, c, func(msgs []mnetlink.Message, lost bool) bool {
			if lost {
				up, err = forwards(ns, name)
			} else {
				up = slices.ContainsFunc(msgs, func(m mnetlink.Message) bool { return runs(m, name) })
			}
			return up || err != nil
		})
		if failed != nil {
			return fmt.Errorf("watch links of network %s: %w", network, failed)
		}
	}
	if !up {
		return cmp.Or(err, ctx.Err())
	}
	d.arrived.note(network)
	return nil
}

// arrived are the networks of which a port has got its carrier since the last pass, by id.
type arrived struct{ networks sync.Map }

func (a *arrived) note(network string) { a.networks.Store(network, true) }

// take says whether the network is one, and that it is none any more.
func (a *arrived) take(network string) bool {
	_, was := a.networks.LoadAndDelete(network)
	return was
}

// awaitNamespace opens the network's namespace once there is one: the pass of the first
// endpoint makes it.
func (d *Dataplane) awaitNamespace(ctx context.Context, network string) (netns.NsHandle, error) {
	path := d.namespacePath(network)
	for !isNamespace(path) {
		select {
		case <-ctx.Done():
			return netns.None(), ctx.Err()
		case <-time.After(5 * time.Millisecond): // a mount gives no event
		}
	}
	ns, err := netns.GetFromPath(path)
	if err != nil {
		return ns, fmt.Errorf("open namespace %s: %w", path, err)
	}
	return ns, nil
}

// forwards says whether the link is there, and up at both ends.
func forwards(ns netns.NsHandle, name string) (bool, error) {
	h, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		return false, fmt.Errorf("open netlink: %w", err)
	}
	defer h.Close()
	l, err := h.LinkByName(name)
	if _, missing := errors.AsType[netlink.LinkNotFoundError](err); missing {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read link %s: %w", name, err)
	}
	return hasCarrier(l), nil
}

// hasCarrier says whether what is sent to the link arrives at its other end.
func hasCarrier(l netlink.Link) bool { return l.Attrs().OperState == netlink.OperUp }

// runs says whether the message tells that the link of that name is up at both ends.
func runs(m mnetlink.Message, name string) bool {
	const at = 8 // where ifinfomsg has the flags (linux/rtnetlink.h)
	if m.Header.Type != unix.RTM_NEWLINK || len(m.Data) < unix.SizeofIfInfomsg {
		return false
	}
	// A link whose state the kernel has not looked at yet runs as well, without a carrier.
	const both = unix.IFF_RUNNING | unix.IFF_LOWER_UP
	return binary.NativeEndian.Uint32(m.Data[at:])&both == both && linkNamed(m) == name
}
