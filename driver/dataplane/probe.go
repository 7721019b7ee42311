package dataplane

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/driver/overlay"
)

// ListenProbe opens a UDP socket in the probe network's namespace, on this
// host's address there. What it sends is never cut into fragments, whatever
// path MTU the kernel has learned, and has a UDP checksum only with checksums.
// The error is an os.ErrNotExist while there is no such network.
func (d *Dataplane) ListenProbe(ctx context.Context, at netip.AddrPort, checksums bool) (*net.UDPConn, error) {
	path := d.namespacePath(overlay.ProbeNetwork)
	if !isNamespace(path) {
		return nil, fmt.Errorf("namespace %s: %w", path, os.ErrNotExist)
	}
	ns, err := netns.GetFromPath(path)
	if err != nil {
		return nil, fmt.Errorf("open namespace %s: %w", path, err)
	}
	defer ns.Close()
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var failed error
		err := c.Control(func(fd uintptr) {
			failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_PROBE)
			if failed == nil && !checksums {
				failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_NO_CHECK, 1)
			}
		})
		return errors.Join(err, failed)
	}}
	var conn net.PacketConn
	err = visit(ns, func() error {
		conn, err = lc.ListenPacket(ctx, "udp4", at.String())
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("listen on %s in namespace %s: %w", at, path, err)
	}
	return conn.(*net.UDPConn), nil
}
