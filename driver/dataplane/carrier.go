package dataplane

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"

	mnetlink "github.com/mdlayher/netlink"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/driver/overlay"
)

// AwaitCarrier waits until the endpoint's port forwards: Docker has brought the
// container's end up. It does not return before, but with an error or when ctx ends.
func (d *Dataplane) AwaitCarrier(ctx context.Context, network, endpoint string) error {
	for ctx.Err() == nil {
		up, err := d.awaitCarrierHere(ctx, network, overlay.PortLink(endpoint))
		if up {
			d.arrived.note(network)
			return nil
		}
		if err != nil {
			return fmt.Errorf("watch links of network %s: %w", network, err)
		}
	}
	return ctx.Err()
}

// awaitCarrierHere waits in the namespace that the network has now. If that is another's
// place soon, it returns false: the last container of a network takes the namespace with
// it, and the next one, which may be expected already, brings another.
func (d *Dataplane) awaitCarrierHere(ctx context.Context, network, link string) (up bool, err error) {
	ctx, done := d.spaces.untilChange(ctx)
	defer done()
	path := d.namespacePath(network)
	if isNamespace(path) {
		if up, err = awaitCarrier(ctx, path, link); up || ctx.Err() == nil && isNamespace(path) {
			return up, err
		}
	}
	<-ctx.Done()
	return false, nil
}

// awaitCarrier waits in the namespace that is mounted at path, until ctx ends.
func awaitCarrier(ctx context.Context, path, link string) (up bool, err error) {
	ns, err := netns.GetFromPath(path)
	if err != nil {
		return false, err
	}
	defer ns.Close()
	c, err := mnetlink.Dial(unix.NETLINK_ROUTE, &mnetlink.Config{Groups: unix.RTMGRP_LINK, NetNS: int(ns)})
	if err != nil {
		return false, err
	}
	defer c.Close()
	up, err = forwards(ns, link) // what came before is not told any more
	if up || err != nil {
		return up, err
	}
	failed := receive(ctx, c, func(msgs []mnetlink.Message, lost bool) bool {
		if lost {
			up, err = forwards(ns, link)
		} else {
			up = slices.ContainsFunc(msgs, func(m mnetlink.Message) bool { return runs(m, link) })
		}
		return up || err != nil
	})
	return up, errors.Join(err, failed)
}

// arrived are the networks of which a port has got its carrier since the last pass, by id.
type arrived struct{ networks sync.Map }

func (a *arrived) note(network string) { a.networks.Store(network, true) }

// take says whether the network is one, and that it is none any more.
func (a *arrived) take(network string) bool {
	_, was := a.networks.LoadAndDelete(network)
	return was
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
