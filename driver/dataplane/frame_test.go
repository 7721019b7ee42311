package dataplane_test

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/test/netns"
)

// capture listens to one link's frames, in both directions.
type capture struct {
	tb testing.TB
	fd int
}

func newCapture(tb testing.TB, ns *netns.NS, link string) *capture {
	tb.Helper()
	c := &capture{tb: tb}
	ns.Do(func() (err error) {
		c.fd, err = packetSocket(link)
		return err
	})
	tb.Cleanup(func() { unix.Close(c.fd) })
	return c
}

// tunnelCapture listens at the VXLAN device of a network.
func (h *host) tunnelCapture(network string) (c *capture) {
	h.tb.Helper()
	netns.In(h.tb, h.path(network), func(ns *netns.NS) { c = newCapture(h.tb, ns, overlay.VXLAN) })
	return c
}

func packetSocket(link string) (int, error) {
	all := int(binary.NativeEndian.Uint16([]byte{0, unix.ETH_P_ALL}))
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, all)
	if err != nil {
		return 0, err
	}
	i, err := net.InterfaceByName(link)
	if err != nil {
		return 0, err
	}
	return fd, unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: uint16(all), Ifindex: i.Index})
}

// saw says whether a frame that holds what arrives within wait.
func (c *capture) saw(what []byte, wait time.Duration) bool {
	c.tb.Helper()
	deadline := time.Now().Add(wait)
	buf := make([]byte, 4096)
	for {
		left := time.Until(deadline)
		if left <= 0 {
			return false
		}
		tv := unix.NsecToTimeval(max(left, time.Millisecond).Nanoseconds())
		if err := unix.SetsockoptTimeval(c.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv); err != nil {
			c.tb.Fatal(err)
		}
		n, _, err := unix.Recvfrom(c.fd, buf, 0)
		if err == nil && bytes.Contains(buf[:n], what) {
			return true
		}
	}
}

// inject sends a frame out of the container's interface.
func inject(tb testing.TB, ns *netns.NS, frame []byte) {
	tb.Helper()
	injectAt(tb, ns, "eth0", frame)
}

// injectAt sends a frame out of a link.
func injectAt(tb testing.TB, ns *netns.NS, link string, frame []byte) {
	tb.Helper()
	ns.Do(func() error {
		fd, err := packetSocket(link)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		_, err = unix.Write(fd, frame)
		return err
	})
}

// frames carry a marker to be found by; it is unique in a test run.
var markers byte

func marker() []byte {
	markers++
	return []byte{0xde, 0xad, 0xbe, 0xef, 0xfe, 0xed, 0xfa, markers}
}

var broadcast = overlay.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

func ethernet(dst, src overlay.MAC, kind uint16, payload []byte) []byte {
	out := slices.Concat(dst[:], src[:], binary.BigEndian.AppendUint16(nil, kind), payload)
	for len(out) < 60 {
		out = append(out, 0)
	}
	return out
}

// ipPacket is an IP packet of either family with a protocol number and payload.
func ipPacket(src, dst netip.Addr, proto byte, payload []byte) (kind uint16, packet []byte) {
	if src.Is4() {
		h := []byte{0x45, 0, 0, 0, 0, 0, 0, 0, 64, proto, 0, 0}
		binary.BigEndian.PutUint16(h[2:], uint16(20+len(payload)))
		h = slices.Concat(h, src.AsSlice(), dst.AsSlice())
		binary.BigEndian.PutUint16(h[10:], checksum(h))
		return unix.ETH_P_IP, append(h, payload...)
	}
	h := []byte{0x60, 0, 0, 0, 0, 0, proto, 255}
	binary.BigEndian.PutUint16(h[4:], uint16(len(payload)))
	if proto == unix.IPPROTO_ICMPV6 {
		pseudo := slices.Concat(src.AsSlice(), dst.AsSlice(), binary.BigEndian.AppendUint32(nil, uint32(len(payload))), []byte{0, 0, 0, proto}, payload)
		payload = slices.Clone(payload)
		binary.BigEndian.PutUint16(payload[2:], checksum(pseudo))
	}
	return unix.ETH_P_IPV6, slices.Concat(h, src.AsSlice(), dst.AsSlice(), payload)
}

func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i < len(b); i += 2 {
		sum += uint32(b[i]) << 8
		if i+1 < len(b) {
			sum += uint32(b[i+1])
		}
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}

func ipFrame(dst, src overlay.MAC, from, to netip.Addr, proto byte, payload []byte) []byte {
	kind, packet := ipPacket(from, to, proto, payload)
	return ethernet(dst, src, kind, packet)
}

// datagram is a UDP datagram with a source port, without checksum.
func datagram(src, dst uint16, payload []byte) []byte {
	return slices.Concat(binary.BigEndian.AppendUint16(nil, src), udp(dst, payload)[2:])
}

// udp is a datagram of 8 bytes of header without checksum and a payload.
func udp(dst uint16, payload []byte) []byte {
	h := binary.BigEndian.AppendUint16([]byte{0xc0, 0}, dst)
	h = binary.BigEndian.AppendUint16(h, uint16(8+len(payload)))
	return slices.Concat(h, []byte{0, 0}, payload)
}

func arp(op byte, sha overlay.MAC, spa netip.Addr, tha overlay.MAC, tpa netip.Addr) []byte {
	return slices.Concat([]byte{0, 1, 8, 0, 6, 4, 0, op}, sha[:], spa.AsSlice(), tha[:], tpa.AsSlice())
}

// solicitation and advertisement are ICMPv6 messages with a link-layer option
// (RFC 4861 sections 4.3 and 4.4).
func solicitation(target netip.Addr, source overlay.MAC) []byte {
	return slices.Concat([]byte{135, 0, 0, 0, 0, 0, 0, 0}, target.AsSlice(), []byte{1, 1}, source[:])
}

func advertisement(target netip.Addr, mac overlay.MAC) []byte {
	return slices.Concat([]byte{136, 0, 0, 0, 0x20, 0, 0, 0}, target.AsSlice(), []byte{2, 1}, mac[:])
}
