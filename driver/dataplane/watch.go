package dataplane

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/driver/overlay"
)

// watched are the changes of the host's namespace that Watch tells of
// (RTMGRP_* of linux/rtnetlink.h).
const watched = unix.RTMGRP_LINK | unix.RTMGRP_IPV4_IFADDR | unix.RTMGRP_IPV6_IFADDR |
	unix.RTMGRP_IPV4_ROUTE | unix.RTMGRP_IPV6_ROUTE

// burst is for how long changes are gathered after notify was called: Docker
// makes some 18 of them at the start of one container. A call that took long is
// followed by a longer rest, so that calls are a tenth of the time at most.
const burst = 200 * time.Millisecond

// Watch calls notify after changes of links, addresses, routes and IPsec policies of the
// host's namespace, and returns nil when ctx ends. The first change is told at once,
// those that come in the rest after a call are told together by the next.
// Container ends come and go with every container and are left out. notify is
// also called when changes may have been missed.
func (d *Dataplane) Watch(ctx context.Context, notify func()) error {
	changed := make(chan struct{}, 1)
	all, ctx := errgroup.WithContext(ctx)
	all.Go(func() error {
		tell(ctx, changed, notify)
		return nil
	})
	all.Go(func() error { return d.listen(ctx, unix.NETLINK_ROUTE, watched, changed) })
	all.Go(func() error {
		err := d.listen(ctx, unix.NETLINK_XFRM, ipsecPolicies, changed)
		if noIPsec(err) {
			return nil // nor can there be a policy
		}
		return err
	})
	if err := all.Wait(); err != nil {
		return fmt.Errorf("watch the kernel: %w", err)
	}
	return nil
}

// listen signals changed after each message of the groups, which are bits, until ctx ends.
func (d *Dataplane) listen(ctx context.Context, family int, groups uint32, changed chan<- struct{}) error {
	c, err := netlink.Dial(family, &netlink.Config{Groups: groups, NetNS: int(d.hostNS)})
	if err != nil {
		return err
	}
	defer c.Close()
	return receive(ctx, c, func(msgs []netlink.Message, lost bool) bool {
		others := func(m netlink.Message) bool { return family != unix.NETLINK_ROUTE || !ownLink(m) }
		if lost || slices.ContainsFunc(msgs, others) {
			select {
			case changed <- struct{}{}:
			default:
			}
		}
		return false
	})
}

// tell calls notify once for each burst of changes.
func tell(ctx context.Context, changed <-chan struct{}, notify func()) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
		began := time.Now()
		notify()
		select {
		case <-ctx.Done():
			return
		case <-time.After(max(burst, 9*time.Since(began))):
		}
	}
}

// ownLink says whether the message is about a link that weft makes in the host's
// namespace.
func ownLink(m netlink.Message) bool {
	if m.Header.Type != unix.RTM_NEWLINK && m.Header.Type != unix.RTM_DELLINK {
		return false
	}
	name := linkNamed(m)
	return overlay.IsContainerLink(name) || overlay.IsFastOuter(name)
}
