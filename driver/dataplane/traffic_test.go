package dataplane_test

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vishvananda/netlink"

	"github.com/weft-net/weft/driver/overlay"
)

const (
	soon  = 2 * time.Second        // by then a frame has arrived
	never = 150 * time.Millisecond // if it has not arrived by then it will not
)

func TestFirstPacketArrives(t *testing.T) {
	for _, guarded := range []bool{true, false} {
		for _, underlay := range []string{"192.0.2.%d", "2001:db8::%d"} {
			t.Run(fmt.Sprintf("guarded %t over %s", guarded, underlay), func(t *testing.T) {
				hosts := newHosts(t, 3)
				for _, h := range hosts {
					h.cfg.VTEP = ip(fmt.Sprintf(underlay, h.n))
				}
				c := spread(t, hosts, guarded)
				for _, target := range []string{"10.9.0.2", "fd00:9::2", "10.9.0.3", "fd00:9::3"} {
					if !c[0].pings(ip(target)) {
						t.Errorf("no answer from %s", target)
					}
				}
				for _, h := range hosts {
					if r := h.verify(); r.Repairs != 0 {
						t.Errorf("host %d: repaired what was right: %q", h.n, r.Repaired)
					}
				}
			})
		}
	}
}

func TestLargestPacketFitsAndLargerIsRefused(t *testing.T) {
	c := spread(t, newHosts(t, 2), true)
	if !c[0].pings(ip("10.9.0.2"), "-M", "do", "-s", "1422") { // 1450 - 28
		t.Error("a packet of the MTU does not arrive")
	}
	if c[0].pings(ip("10.9.0.2"), "-M", "do", "-s", "1423") {
		t.Error("a packet larger than the MTU was sent")
	}
}

func TestTCPCarriesData(t *testing.T) {
	c := spread(t, newHosts(t, 2), true)
	for _, addr := range []string{"10.9.0.2", "fd00:9::2"} {
		var l net.Listener
		c[1].ns.Do(func() (err error) {
			l, err = net.Listen("tcp", net.JoinHostPort(addr, "7000"))
			return err
		})
		got := make(chan int64, 1)
		go func() {
			conn, err := l.Accept()
			if err != nil {
				got <- -1
				return
			}
			defer conn.Close()
			n, _ := io.Copy(io.Discard, conn)
			got <- n
		}()
		const size = 8 << 20
		c[0].ns.Do(func() error {
			conn, err := net.Dial("tcp", net.JoinHostPort(addr, "7000"))
			if err != nil {
				return err
			}
			defer conn.Close()
			_, err = conn.Write(make([]byte, size))
			return err
		})
		if n := <-got; n != size {
			t.Errorf("%s: %d of %d bytes arrived", addr, n, size)
		}
		l.Close()
	}
}

func TestKnownAddressesAreAnsweredWithoutAPacketOnTheWire(t *testing.T) {
	hosts := newHosts(t, 2)
	c := spread(t, hosts, true)
	// Stock of host 2: claimed, but no container has it.
	stock := overlay.Remote{VTEP: vtep(2), Addrs: []netip.Addr{ip("10.9.0.77"), ip("fd00:9::77")}}
	stock.MAC = overlay.MACOf("net1", stock.Addrs[0])
	n := &hosts[0].cfg.Networks[0]
	n.Remotes = append(slices.Clone(n.Remotes), stock)
	hosts[0].set()

	wire := hosts[0].tunnelCapture("net1")
	own := newCapture(t, c[0].ns, "eth0")
	me := c[0].port
	inject(t, c[0].ns, ethernet(broadcast, me.MAC, unix.ETH_P_ARP, arp(1, me.MAC, ip("10.9.0.1"), overlay.MAC{}, ip("10.9.0.77"))))
	if !own.saw(arp(2, stock.MAC, ip("10.9.0.77"), me.MAC, ip("10.9.0.1")), soon) {
		t.Error("ARP for a known address is not answered")
	}
	target := ip("fd00:9::77")
	sol := ipFrame(overlay.MAC{0x33, 0x33, 0xff, 0, 0, 0x77}, me.MAC, ip("fd00:9::1"), ip("ff02::1:ff00:77"), unix.IPPROTO_ICMPV6, solicitation(target, me.MAC))
	inject(t, c[0].ns, sol)
	if !own.saw(slices.Concat(target.AsSlice(), []byte{2, 1}, stock.MAC[:]), soon) {
		t.Error("a solicitation for a known address is not answered")
	}
	if wire.saw([]byte{8, 0, 6, 4, 0, 1}, never) || wire.saw(target.AsSlice(), never) {
		t.Error("the question went over the tunnel")
	}
}

func TestUnknownIsFlooded(t *testing.T) {
	for _, guarded := range []bool{true, false} {
		hosts := newHosts(t, 3)
		c := spread(t, hosts, guarded)
		// A container on host 2 that host 1 does not know of yet.
		hosts[1].cfg.Networks[0].Ports = append(slices.Clone(hosts[1].cfg.Networks[0].Ports), port("net1", "late", "10.9.0.50/24", "fd00:9::50/64"))
		hosts[1].set()
		late := hosts[1].fetch(hosts[1].cfg.Networks[0].Ports[1])
		four, six := c[0].pings(ip("10.9.0.50")), c[0].pings(ip("fd00:9::50"))
		if !four || !six {
			t.Errorf("guarded %t: a container that the host does not know is not reached: IPv4 %t, IPv6 %t", guarded, four, six)
		}
		_ = late
		there := []*capture{newCapture(t, c[1].ns, "eth0"), newCapture(t, c[2].ns, "eth0")}
		me := c[0].port.MAC
		for name, dst := range map[string]overlay.MAC{
			"broadcast": broadcast,
			"multicast": {0x01, 0x00, 0x5e, 0x01, 0x02, 0x03},
		} {
			m := marker()
			inject(t, c[0].ns, ipFrame(dst, me, ip("10.9.0.1"), ip("10.9.0.255"), unix.IPPROTO_UDP, udp(9, m)))
			for i, capture := range there {
				if !capture.saw(m, soon) {
					t.Errorf("guarded %t: %s does not reach host %d", guarded, name, i+2)
				}
			}
		}
		m := marker()
		wire := hosts[2].tunnelCapture("net1")
		inject(t, c[0].ns, ipFrame(overlay.MAC{2, 9, 9, 9, 9, 9}, me, ip("10.9.0.1"), ip("10.9.0.99"), unix.IPPROTO_UDP, udp(9, m)))
		if !wire.saw(m, soon) {
			t.Errorf("guarded %t: unknown unicast does not reach host 3", guarded)
		}
	}
}

// TestGuardedPorts sends frames from one container past another one on the
// same host, which sees all that is flooded.
func TestGuardedPorts(t *testing.T) {
	hosts := newHosts(t, 1)
	c := spread(t, hosts, true)
	n := &hosts[0].cfg.Networks[0]
	n.Ports = append(slices.Clone(n.Ports), port("net1", "observer", "10.9.0.60/24", "fd00:9::60/64"))
	hosts[0].set()
	observer := hosts[0].fetch(n.Ports[1])
	seen := newCapture(t, observer.ns, "eth0")

	me, other := c[0].port.MAC, observer.port.MAC
	me4, me6, them4, them6 := ip("10.9.0.1"), ip("fd00:9::1"), ip("10.9.0.60"), ip("fd00:9::60")
	any4, all6, strange := ip("255.255.255.255"), ip("ff02::1"), ip("fe80::1234")
	lladdr := netip.AddrFrom16([16]byte{0xfe, 0x80, 8: me[0] ^ 2, me[1], me[2], 0xff, 0xfe, me[3], me[4], me[5]})
	v6all := overlay.MAC{0x33, 0x33, 0, 0, 0, 1}
	const icmp6 = unix.IPPROTO_ICMPV6
	tests := map[string]struct {
		frame func(m []byte) []byte
		pass  bool
	}{
		"own IPv4":   {func(m []byte) []byte { return ipFrame(broadcast, me, me4, any4, 17, udp(9, m)) }, true},
		"DHCP":       {func(m []byte) []byte { return ipFrame(broadcast, me, ip("0.0.0.0"), any4, 17, datagram(68, 67, m)) }, true},
		"own IPv6":   {func(m []byte) []byte { return ipFrame(v6all, me, me6, all6, 17, udp(9, m)) }, true},
		"link-local": {func(m []byte) []byte { return ipFrame(v6all, me, lladdr, all6, 17, udp(9, m)) }, true},
		"MLD": {func(m []byte) []byte {
			return ipFrame(v6all, me, lladdr, all6, icmp6, append([]byte{143, 0, 0, 0}, m...))
		}, true},
		"IGMP": {func(m []byte) []byte { return ipFrame(broadcast, me, me4, ip("224.0.0.22"), 2, m) }, true},
		"DAD": {func(m []byte) []byte {
			return ipFrame(v6all, me, ip("::"), all6, icmp6, append(solicitation(me6, me), m...))
		}, true},
		"own ARP": {func(m []byte) []byte {
			return ethernet(broadcast, me, 0x0806, append(arp(1, me, me4, broadcast, them4), m...))
		}, true},
		"ARP probe": {func(m []byte) []byte {
			return ethernet(broadcast, me, 0x0806, append(arp(1, me, ip("0.0.0.0"), broadcast, me4), m...))
		}, true},
		"own advertisement": {func(m []byte) []byte {
			return ipFrame(v6all, me, me6, all6, icmp6, append(advertisement(me6, me), m...))
		}, true},
		"link-local advert.": {func(m []byte) []byte {
			return ipFrame(v6all, me, lladdr, all6, icmp6, append(advertisement(lladdr, me), m...))
		}, true},
		"IGMP before an address": {func(m []byte) []byte { return ipFrame(broadcast, me, ip("0.0.0.0"), ip("224.0.0.22"), 2, m) }, true},
		"MLD before an address": {func(m []byte) []byte {
			return ipFrame(v6all, me, ip("::"), all6, icmp6, append([]byte{143, 0, 0, 0}, m...))
		}, true},

		"DHCP server": {func(m []byte) []byte { return ipFrame(broadcast, me, me4, any4, 17, datagram(67, 68, m)) }, false},
		"DHCPv6 server": {func(m []byte) []byte {
			return ipFrame(v6all, me, lladdr, all6, 17, datagram(547, 546, m))
		}, false},
		"anything from 0.0.0.0":  {func(m []byte) []byte { return ipFrame(broadcast, me, ip("0.0.0.0"), any4, 17, udp(9, m)) }, false},
		"anything from ::":       {func(m []byte) []byte { return ipFrame(v6all, me, ip("::"), all6, 17, udp(9, m)) }, false},
		"a link-local of nobody": {func(m []byte) []byte { return ipFrame(v6all, me, strange, all6, 17, udp(9, m)) }, false},
		"a link-local to be found": {func(m []byte) []byte {
			return ipFrame(v6all, me, me6, all6, icmp6, append(advertisement(strange, me), m...))
		}, false},

		"foreign MAC":  {func(m []byte) []byte { return ipFrame(broadcast, other, me4, any4, 17, udp(9, m)) }, false},
		"foreign IPv4": {func(m []byte) []byte { return ipFrame(broadcast, me, them4, any4, 17, udp(9, m)) }, false},
		"foreign IPv6": {func(m []byte) []byte { return ipFrame(v6all, me, them6, all6, 17, udp(9, m)) }, false},
		"foreign ARP address": {func(m []byte) []byte {
			return ethernet(broadcast, me, 0x0806, append(arp(2, me, them4, broadcast, me4), m...))
		}, false},
		"foreign ARP MAC": {func(m []byte) []byte {
			return ethernet(broadcast, me, 0x0806, append(arp(2, other, me4, broadcast, me4), m...))
		}, false},
		"foreign advertisement": {func(m []byte) []byte {
			return ipFrame(v6all, me, me6, all6, icmp6, append(advertisement(them6, me), m...))
		}, false},
		"router advertisement": {func(m []byte) []byte { return ipFrame(v6all, me, lladdr, all6, icmp6, append(make134(), m...)) }, false},
		"redirect": {func(m []byte) []byte {
			return ipFrame(v6all, me, lladdr, all6, icmp6, append([]byte{137, 0, 0, 0, 0, 0, 0, 0}, m...))
		}, false},
		"tagged": {func(m []byte) []byte {
			_, packet := ipPacket(me4, any4, 17, udp(9, m))
			return ethernet(broadcast, me, 0x8100, slices.Concat([]byte{0, 0, 8, 0}, packet))
		}, false},
		"tagged foreign IPv4": {func(m []byte) []byte {
			_, packet := ipPacket(them4, any4, 17, udp(9, m))
			return ethernet(broadcast, me, 0x8100, slices.Concat([]byte{0, 0, 8, 0}, packet))
		}, false},
		"spanning tree": {func(m []byte) []byte { return ethernet(overlay.MAC{1, 0x80, 0xc2, 0, 0, 9}, me, 0x0026, m) }, false},
	}
	for name, test := range tests {
		m := marker()
		inject(t, c[0].ns, test.frame(m))
		wait := never
		if test.pass {
			wait = soon
		}
		if got := seen.saw(m, wait); got != test.pass {
			t.Errorf("%s: arrived %t, want %t", name, got, test.pass)
		}
	}
	if !c[0].pings(them4) || !c[0].pings(them6) || !observer.pings(me4) || !observer.pings(me6) {
		t.Error("neighbours on one host do not reach each other")
	}

	n.Guarded = false
	hosts[0].set()
	for name, test := range tests {
		if strings.Contains(name, "tree") {
			continue
		}
		m := marker()
		inject(t, c[0].ns, test.frame(m))
		if !seen.saw(m, soon) {
			t.Errorf("unguarded: %s does not arrive", name)
		}
	}
}

func make134() []byte { return append([]byte{134, 0, 0, 0}, make([]byte, 12)...) }

// vxlanPayload is what VXLAN has behind the UDP header: a VNI and a frame.
func vxlanPayload(vni uint32, frame []byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{8, 0, 0, 0}, vni<<8), frame...)
}

// vxlanPacket sends a VXLAN packet with an inner frame from one host to another,
// as the kernel's tunnels do: no process of the host may.
func vxlanPacket(t *testing.T, from, to *host, src, dst netip.Addr, vni uint32, frame []byte) {
	t.Helper()
	payload := vxlanPayload(vni, frame)
	kind, packet := ipPacket(src, dst, unix.IPPROTO_UDP, checkedUDP(src, dst, payload))
	inject(t, from.ns, ethernet(to.mac(), from.mac(), kind, packet))
}

// checkedUDP is a datagram to the tunnels' port with a checksum, which IPv6
// asks for.
func checkedUDP(src, dst netip.Addr, payload []byte) []byte {
	d := datagram(5555, 4789, payload)
	pseudo := slices.Concat(src.AsSlice(), dst.AsSlice(), binary.BigEndian.AppendUint32(nil, uint32(len(d))), []byte{0, 0, 0, unix.IPPROTO_UDP}, d)
	binary.BigEndian.PutUint16(d[6:], checksum(pseudo))
	return d
}

// mac is that of the host's eth0.
func (h *host) mac() overlay.MAC { return h.macOf("eth0") }

func (h *host) macOf(link string) (out overlay.MAC) {
	h.ns.Netlink(func(nl *netlink.Handle) error {
		l, err := nl.LinkByName(link)
		if err == nil {
			out = overlay.MAC(l.Attrs().HardwareAddr)
		}
		return err
	})
	return out
}

func TestOnlyMembersMaySendIntoANetwork(t *testing.T) {
	hosts := newHosts(t, 3)
	c := spread(t, hosts[:2], true)
	// Somebody else's overlay on the same port, as Docker's Swarm would have it.
	hosts[0].ns.Netlink(func(h *netlink.Handle) error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = "swarm"
		return h.LinkAdd(&netlink.Vxlan{LinkAttrs: attrs, VxlanId: 5000, Port: 4789})
	})
	hosts[0].ns.Up("swarm")
	seen, swarm := newCapture(t, c[0].ns, "eth0"), newCapture(t, hosts[0].ns, "swarm")
	send := func(from *host, vni uint32, to string) []byte {
		m := marker()
		src := vtep(from.n)
		if ip(to).Is6() {
			src = ip(fmt.Sprintf("2001:db8::%d", from.n))
		}
		vxlanPacket(t, from, hosts[0], src, ip(to), vni, ipFrame(broadcast, c[1].port.MAC, ip("10.9.0.2"), ip("255.255.255.255"), 17, udp(9, m)))
		return m
	}
	if swarm.saw(send(hosts[2], 5000, "192.0.2.1"), never) {
		t.Error("a packet with a VNI of nobody's arrives before another overlay was seen")
	}
	hosts[0].verify()
	if !seen.saw(send(hosts[1], 4097, "192.0.2.1"), soon) {
		t.Error("a member's packet is dropped")
	}
	if seen.saw(send(hosts[2], 4097, "192.0.2.1"), never) {
		t.Error("a stranger's packet arrives")
	}
	if seen.saw(send(hosts[2], 4097, "2001:db8::1"), never) {
		t.Error("a stranger's packet over IPv6 arrives")
	}
	if !swarm.saw(send(hosts[2], 5000, "192.0.2.1"), soon) {
		t.Error("another overlay's packet is dropped")
	}
	n := &hosts[0].cfg.Networks[0]
	n.Members = append(slices.Clone(n.Members), vtep(3))
	hosts[0].set()
	if !seen.saw(send(hosts[2], 4097, "192.0.2.1"), soon) {
		t.Error("a new member's packet is dropped")
	}
	n.Members = n.Members[:1]
	hosts[0].set()
	if seen.saw(send(hosts[2], 4097, "192.0.2.1"), never) {
		t.Error("a former member's packet arrives")
	}
	if out := must(t, hosts[0].ns, "nft", "list", "table", "inet", "weft"); !strings.Contains(out, "counter packets 3 ") {
		t.Errorf("dropped packets are not counted:\n%s", out)
	}
}

func TestMTUFollows(t *testing.T) {
	hosts := newHosts(t, 2)
	c := spread(t, hosts, true)
	for _, h := range hosts {
		h.cfg.Networks[0].MTU = 1300
		h.set()
	}
	if out := must(t, c[0].ns, "ip", "link", "show", "eth0"); !strings.Contains(out, "mtu 1300 ") {
		t.Errorf("the container's link did not follow: %s", out)
	}
	if !c[0].pings(ip("10.9.0.2"), "-M", "do", "-s", "1272") || c[0].pings(ip("10.9.0.2"), "-M", "do", "-s", "1273") {
		t.Error("the new MTU is not what fits")
	}
	if !c[0].pings(ip("fd00:9::2")) {
		t.Error("IPv6 is gone after the MTU changed")
	}
	for _, h := range hosts {
		if r := h.verify(); r.Repairs != 0 {
			t.Errorf("repaired %q", r.Repaired)
		}
	}
}
