package borders

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/test/borders/craft"
	"github.com/weft-net/weft/test/lab"
	"github.com/weft-net/weft/test/lab/labtest"
)

// members has containers of both networks on both hosts send what they may, until
// all captures have seen it: else a count of 0 would mean that nobody looks. What
// was sent before has arrived by then as well, for a CPU takes packets in order.
func (s *site) members() {
	s.t.Helper()
	s.rows++
	row := s.rows
	labtest.Eventually(s.t, 30*time.Second, "what the members send arrives", func() error {
		for i, name := range []string{"victim1", "victim2", "tenant", "neighbour"} {
			b := s.boxes[name]
			mark := craft.Mark{Row: row, Index: uint32(i), Pieces: 1}
			if err := s.tell(b, netip.MustParseAddr("255.255.255.255"), mark); err != nil {
				return err
			}
		}
		if blind := s.watch.blind(row); len(blind) > 0 {
			return fmt.Errorf("not at %q", blind)
		}
		return nil
	})
}

// tell sends a mark from a container's eth0.
func (s *site) tell(b *box, to netip.Addr, mark craft.Mark) error {
	return lab.Inside(b.netns, func() error {
		d := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
			var failed error
			err := c.Control(func(fd uintptr) {
				failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_BROADCAST, 1)
				if failed == nil {
					failed = unix.BindToDevice(int(fd), "eth0")
				}
				if failed == nil {
					// As on a wire: a checksum that is still to be made, inside a tunnel,
					// has the kernel spoil the outer one when it translates addresses.
					failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_NO_CHECK, 1)
				}
			})
			if err == nil {
				err = failed
			}
			return err
		}}
		conn, err := d.DialContext(context.WithoutCancel(s.t.Context()), "udp4", netip.AddrPortFrom(to, 9).String())
		if err != nil {
			return err
		}
		defer conn.Close()
		_, err = conn.Write(mark.Bytes())
		return err
	})
}
