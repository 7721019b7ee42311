package dataplane

import (
	"context"
	"errors"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// receive hands on what the kernel tells by c, until use says that it has enough, c fails,
// or ctx ends, which is no failure. lost says that the kernel has told more than the
// socket holds, and msgs are none then.
func receive(ctx context.Context, c *netlink.Conn, use func(msgs []netlink.Message, lost bool) (enough bool)) error {
	stop := context.AfterFunc(ctx, func() {
		_ = c.SetReadDeadline(time.Unix(1, 0)) // in the past: ends a read that waits
	})
	defer stop()
	for {
		msgs, err := c.Receive()
		lost := errors.Is(err, unix.ENOBUFS)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && !lost:
			return err
		case use(msgs, lost):
			return nil
		}
	}
}

// linkNamed is the name of the link that a message about a link is about, or "".
func linkNamed(m netlink.Message) string {
	if len(m.Data) < unix.SizeofIfInfomsg {
		return ""
	}
	attrs, err := netlink.NewAttributeDecoder(m.Data[unix.SizeofIfInfomsg:])
	if err != nil {
		return ""
	}
	for attrs.Next() {
		if attrs.Type() == unix.IFLA_IFNAME {
			return attrs.String()
		}
	}
	return ""
}
