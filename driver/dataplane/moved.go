package dataplane

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/driver/overlay"
)

// moved gives the addresses that containers here may know by another MAC than
// they have now. A MAC follows from the address, but a container with two addresses
// has only the MAC of one, and a user may choose any: such an address changes its
// MAC when a container gets it and when the container is gone. have is what the
// tables had, add and del what was changed in them.
func moved(n overlay.NetworkConfig, have, add, del []entry) []entry {
	var out []entry
	for _, e := range add {
		if e.table != neighbour {
			continue
		}
		i, known := slices.BinarySearchFunc(have, e, byKey)
		if known && have[i].mac != e.mac || !known && e.mac != overlay.MACOf(n.ID, e.addr) {
			out = append(out, e)
		}
	}
	for _, e := range del {
		if e.table != neighbour {
			continue
		}
		for _, p := range n.Ports {
			if !p.Keep && p.MAC != e.mac && slices.ContainsFunc(p.Addrs, func(a netip.Prefix) bool { return a.Addr() == e.addr }) {
				out = append(out, entry{table: neighbour, mac: p.MAC, addr: e.addr})
			}
		}
	}
	return out
}

// tellMoved tells the containers here the MACs of addresses. The bridge keeps such
// messages from other hosts, which tell their containers themselves.
func (p *pass) tellMoved(list []entry) error {
	if len(list) == 0 {
		return nil
	}
	index := p.links[overlay.Bridge].Attrs().Index
	err := visit(p.ns, func() error {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		var errs []error
		for _, e := range list {
			errs = append(errs, unix.Sendto(fd, announcement(e), 0, &unix.SockaddrLinklayer{Ifindex: index}))
		}
		return errors.Join(append(errs, unix.Close(fd))...)
	})
	if err != nil {
		return fmt.Errorf("tell containers the MACs of %d addresses: %w", len(list), err)
	}
	return nil
}

// announcement is the frame that tells everybody on the link the MAC of an
// address: an ARP request for itself (RFC 5227 section 3) or an unsolicited
// neighbour advertisement (RFC 4861 section 7.2.6).
func announcement(e entry) []byte {
	addr := e.addr.AsSlice()
	if e.addr.Is4() {
		to := []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
		request := slices.Concat(arpHeader, []byte{0, 1}, e.mac[:], addr, make([]byte, 6), addr)
		return slices.Concat(to, e.mac[:], typeARP, request)
	}
	const override, hopLimit = 0x20, 255
	all := netip.IPv6LinkLocalAllNodes().AsSlice()
	message := slices.Concat([]byte{neighborAdvertisement, 0, 0, 0, override, 0, 0, 0}, addr, []byte{2, 1}, e.mac[:])
	size := byte(len(message))
	pseudo := slices.Concat(addr, all, []byte{0, 0, 0, size, 0, 0, 0, unix.IPPROTO_ICMPV6}, message)
	binary.BigEndian.PutUint16(message[2:], internetChecksum(pseudo))
	header := []byte{0x60, 0, 0, 0, 0, size, unix.IPPROTO_ICMPV6, hopLimit}
	return slices.Concat([]byte{0x33, 0x33, 0, 0, 0, 1}, e.mac[:], typeIPv6, header, addr, all, message)
}

// internetChecksum is that of RFC 1071, of an even number of bytes.
func internetChecksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum) //nolint:gosec // what is above is zero
}
