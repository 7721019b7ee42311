package dataplane

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/driver/overlay"
)

// watched are the changes of the host's namespace that Watch tells of
// (RTMGRP_* of linux/rtnetlink.h).
const watched = unix.RTMGRP_LINK | unix.RTMGRP_IPV4_IFADDR | unix.RTMGRP_IPV6_IFADDR |
	unix.RTMGRP_IPV4_ROUTE | unix.RTMGRP_IPV6_ROUTE

// Watch calls notify after each change of links, addresses and routes of the
// host's namespace, and returns nil when ctx ends. Container ends come and go
// with every container and are left out. notify must not block; it is also
// called when changes may have been missed.
func (d *Dataplane) Watch(ctx context.Context, notify func()) error {
	c, err := netlink.Dial(unix.NETLINK_ROUTE, &netlink.Config{Groups: watched, NetNS: int(d.hostNS)})
	if err != nil {
		return fmt.Errorf("watch the kernel: %w", err)
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() {
		_ = c.SetReadDeadline(time.Unix(1, 0)) // in the past: ends a read that waits
	})
	defer stop()
	for {
		msgs, err := c.Receive()
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, unix.ENOBUFS):
			notify()
		case err != nil:
			return fmt.Errorf("watch the kernel: %w", err)
		default:
			for _, m := range msgs {
				if !ownLink(m) {
					notify()
					break
				}
			}
		}
	}
}

// ownLink says whether the message is about a container end.
func ownLink(m netlink.Message) bool {
	if m.Header.Type != unix.RTM_NEWLINK && m.Header.Type != unix.RTM_DELLINK || len(m.Data) < unix.SizeofIfInfomsg {
		return false
	}
	attrs, err := netlink.NewAttributeDecoder(m.Data[unix.SizeofIfInfomsg:])
	if err != nil {
		return false
	}
	attrs.ByteOrder = binary.NativeEndian
	for attrs.Next() {
		if attrs.Type() == unix.IFLA_IFNAME {
			return overlay.IsContainerLink(attrs.String())
		}
	}
	return false
}
