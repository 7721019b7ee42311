package craft

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"
)

// all turns frames into a shot; each says which piece it is behind its end, where
// no header says that there is anything.
func (d *draw) all(frames ...[]byte) Shot {
	var s Shot
	for i, f := range frames {
		m := Mark{d.job.Row, uint32(d.index), uint8(i), uint8(len(frames))}
		s.Frames = append(s.Frames, slices.Concat(f, m.Bytes()))
	}
	return s
}

// Who nobody in the network is.
var (
	stranger    = MAC{2, 0xbd, 0, 0, 2, 1}
	strangerIP4 = netip.MustParseAddr("203.0.113.7")
	strangerIP6 = netip.MustParseAddr("2001:db8:bad::7")
	any4        = netip.IPv4Unspecified()
	any6        = netip.IPv6Unspecified()
	all4        = netip.MustParseAddr("255.255.255.255")
	all6        = netip.MustParseAddr("ff02::1")
	all6MAC     = MAC{0x33, 0x33, 0, 0, 0, 1}
)

// linkLocal is the address that a link makes itself from its MAC (RFC 4291 appendix A).
func linkLocal(m MAC) netip.Addr {
	return netip.AddrFrom16([16]byte{0xfe, 0x80, 8: m[0] ^ 2, m[1], m[2], 0xff, 0xfe, m[3], m[4], m[5]})
}

// own4 and own6 are packets that the container may send.
func (d *draw) own4() []byte { return d.udp4(d.job.Self.Addr4, 9, 9) }

func (d *draw) udp4(from netip.Addr, source, port uint16) []byte {
	to := pick(d, []netip.Addr{d.job.Peer.Addr4, all4})
	return d.packet4(from, to, 1, piece{data: udp(from, to, source, port, d.filler())})
}

func (d *draw) udp6(from netip.Addr, source, port uint16) []byte {
	to := pick(d, []netip.Addr{d.job.Peer.Addr6, all6})
	return d.packet6(from, to, protoUDP, udp(from, to, source, port, d.filler()))
}

func (d *draw) filler() []byte { return make([]byte, 8+d.IntN(200)) }

// dst is where a frame goes: to all, or to the other container.
func (d *draw) dst() MAC { return pick(d, []MAC{Broadcast, d.job.Peer.MAC}) }

func (d *draw) send(kind uint16, packet []byte) []byte {
	return ether(d.dst(), d.job.Self.MAC, kind, packet)
}

// portShapes are what a container may not send into its own network.
var portShapes = func() []shape {
	var out []shape
	add := func(name string, f func(d *draw) [][]byte) {
		out = append(out, shape{name, func(d *draw) Shot { return d.all(f(d)...) }})
	}
	one := func(name string, f func(d *draw) []byte) { add(name, func(d *draw) [][]byte { return [][]byte{f(d)} }) }

	for _, t := range tags {
		one("own IPv4 behind "+t.name, func(d *draw) []byte { return t.put(d.send(typeIPv4, d.own4())) })
		one("own IPv6 behind "+t.name, func(d *draw) []byte { return t.put(d.send(typeIPv6, d.udp6(d.job.Self.Addr6, 9, 9))) })
	}
	one("foreign MAC", func(d *draw) []byte {
		return ether(d.dst(), pick(d, []MAC{stranger, d.job.Peer.MAC}), typeIPv4, d.own4())
	})
	for name, from := range map[string]func(*Job) netip.Addr{
		"a stranger": func(*Job) netip.Addr { return strangerIP4 }, "the peer": func(j *Job) netip.Addr { return j.Peer.Addr4 },
		"0.0.0.0": func(*Job) netip.Addr { return any4 }, "127.0.0.1": func(*Job) netip.Addr { return netip.MustParseAddr("127.0.0.1") },
		"broadcast": func(*Job) netip.Addr { return all4 }, "multicast": func(*Job) netip.Addr { return netip.MustParseAddr("224.0.0.1") },
		"link-local": func(*Job) netip.Addr { return netip.MustParseAddr("169.254.169.254") },
	} {
		one("IPv4 source "+name, func(d *draw) []byte { return d.send(typeIPv4, d.udp4(from(d.job), 9, 9)) })
	}
	for name, from := range map[string]func(*Job) netip.Addr{
		"a stranger": func(*Job) netip.Addr { return strangerIP6 }, "the peer": func(j *Job) netip.Addr { return j.Peer.Addr6 },
		"::": func(*Job) netip.Addr { return any6 }, "::1": func(*Job) netip.Addr { return netip.IPv6Loopback() },
		"multicast": func(*Job) netip.Addr { return all6 }, "the peer's link-local": func(j *Job) netip.Addr { return linkLocal(j.Peer.MAC) },
		"mapped IPv4": func(j *Job) netip.Addr { return netip.AddrFrom16(j.Self.Addr4.As16()) },
	} {
		one("IPv6 source "+name, func(d *draw) []byte { return d.send(typeIPv6, d.udp6(from(d.job), 9, 9)) })
	}
	one("DHCP server", func(d *draw) []byte { return d.send(typeIPv4, d.udp4(d.job.Self.Addr4, 67, 68)) })
	one("DHCPv6 server", func(d *draw) []byte { return d.send(typeIPv6, d.udp6(linkLocal(d.job.Self.MAC), 547, 546)) })
	for _, o := range orders[:2] {
		add("DHCP server, cut"+o.name, func(d *draw) [][]byte {
			var out [][]byte
			from := d.job.Self.Addr4
			for _, p := range o.of(d, pieces(udp(from, all4, 67, 68, make([]byte, 240)), pick(d, []int{8, 16, 64}))) {
				out = append(out, ether(Broadcast, d.job.Self.MAC, typeIPv4, d.packet4(from, all4, uint16(d.index), p)))
			}
			return out
		})
	}
	one("ARP of the peer's address", func(d *draw) []byte { return d.arp(d.job.Self.MAC, d.job.Peer.Addr4) })
	one("ARP of the peer's MAC", func(d *draw) []byte { return d.arp(d.job.Peer.MAC, d.job.Self.Addr4) })
	for name, kind := range map[string]uint16{"LLDP": 0x88cc, "MPLS": 0x8847, "PPPoE": 0x8864, "an unknown type": typeLocal, "LLC": 38} {
		one(name, func(d *draw) []byte { return d.send(kind, make([]byte, 46)) })
	}
	out = append(out, advertisements()...)
	slices.SortFunc(out, byName)
	return out
}()

// arp is an answer that nobody asked for (RFC 826).
func (d *draw) arp(mac MAC, addr netip.Addr) []byte {
	return d.send(typeARP, slices.Concat([]byte{0, 1, 8, 0, 6, 4, 0, 2}, mac[:], addr.AsSlice(), d.job.Peer.MAC[:], d.job.Peer.Addr4.AsSlice()))
}

// advertisements speak for somebody else (RFC 4861), carried in every way.
func advertisements() (out []shape) {
	for name, body := range map[string]func(d *draw) []byte{
		"router advertisement": func(*draw) []byte { return slices.Concat([]byte{134, 0, 0, 0, 64, 0, 7, 8}, make([]byte, 8)) },
		"neighbour advertisement of the peer": func(d *draw) []byte {
			return slices.Concat([]byte{136, 0, 0, 0, 0x20, 0, 0, 0}, d.job.Peer.Addr6.AsSlice(), []byte{2, 1}, d.job.Self.MAC[:])
		},
		"redirect": func(d *draw) []byte {
			return slices.Concat([]byte{137, 0, 0, 0, 0, 0, 0, 0}, linkLocal(d.job.Self.MAC).AsSlice(), d.job.Peer.Addr6.AsSlice())
		},
	} {
		for _, c := range carriers {
			// Of a lie only its receiver could say whether it was believed.
			if strings.Contains(c.name, "overlapping") {
				continue
			}
			out = append(out, shape{name + ", " + c.name, func(d *draw) Shot {
				from := pick(d, []netip.Addr{d.job.Self.Addr6, linkLocal(d.job.Self.MAC)})
				icmp := body(d)
				binary.BigEndian.PutUint16(icmp[2:], checksum(slices.Concat(pseudo(from, all6, protoICMP6, len(icmp)), icmp)))
				var frames [][]byte
				for _, p := range c.send(d, from, all6, protoICMP6, icmp) {
					frames = append(frames, ether(all6MAC, d.job.Self.MAC, typeIPv6, p))
				}
				return d.all(frames...)
			}})
		}
	}
	return out
}
