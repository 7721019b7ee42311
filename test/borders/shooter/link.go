package main

import (
	"encoding/binary"
	"fmt"
	"net"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/test/borders/craft"
)

// link sends whole frames at one of the machine's links.
type link struct{ fd int }

func openLink(j *craft.Job) (*link, error) {
	i, err := net.InterfaceByName(j.Link)
	if err != nil {
		return nil, err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open a packet socket: %w", err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1); err != nil {
		return nil, fmt.Errorf("say what is to be cut: %w", err)
	}
	return &link{fd}, unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: i.Index})
}

func (l *link) send(s craft.Shot) error {
	for _, f := range s.Frames {
		if _, err := unix.Write(l.fd, slices.Concat(header(s), f)); err != nil {
			return err
		}
	}
	return nil
}

// header is struct virtio_net_hdr (linux/virtio_net.h).
func header(s craft.Shot) []byte {
	h := make([]byte, 10)
	if s.Size == 0 {
		return h
	}
	h[0] = 1 // VIRTIO_NET_HDR_F_NEEDS_CSUM
	h[1] = 5 // VIRTIO_NET_HDR_GSO_UDP_L4
	le := binary.NativeEndian
	le.PutUint16(h[2:], uint16(s.Start+8))
	le.PutUint16(h[4:], uint16(s.Size))
	le.PutUint16(h[6:], uint16(s.Start))
	le.PutUint16(h[8:], 6) // where a UDP header has its checksum
	return h
}
