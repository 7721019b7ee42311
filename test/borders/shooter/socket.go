package main

import (
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/test/borders/craft"
)

// sockets are ordinary UDP sockets, one for each source.
type sockets struct {
	port uint16
	open map[netip.Addr]int
}

func openSockets(j *craft.Job) (*sockets, error) {
	s := &sockets{port: j.UDP, open: map[netip.Addr]int{}}
	for _, from := range append(j.Sources, netip.Addr{}) {
		family := unix.AF_INET
		if j.Targets[0].Addr.Is6() {
			family = unix.AF_INET6
		}
		fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return nil, fmt.Errorf("open a UDP socket: %w", err)
		}
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BROADCAST, 1); err != nil {
			return nil, fmt.Errorf("allow broadcasts: %w", err)
		}
		if from.IsValid() {
			if err := unix.Bind(fd, address(from, 0)); err != nil {
				return nil, fmt.Errorf("bind to %s: %w", from, err)
			}
		}
		s.open[from] = fd
	}
	return s, nil
}

func (s *sockets) send(shot craft.Shot) error {
	fd := s.open[shot.Source]
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_SEGMENT, shot.Size); err != nil {
		return err
	}
	for _, f := range shot.Frames {
		if err := unix.Sendto(fd, f, 0, address(shot.Target, s.port)); err != nil {
			return err
		}
	}
	return nil
}

func address(a netip.Addr, port uint16) unix.Sockaddr {
	if a.Is4() {
		return &unix.SockaddrInet4{Addr: a.As4(), Port: int(port)}
	}
	return &unix.SockaddrInet6{Addr: a.As16(), Port: int(port)}
}
