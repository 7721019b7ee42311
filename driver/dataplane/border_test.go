package dataplane_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/driver/dataplane"
	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/test/netns"
)

// frameOf is a frame that any container of the network takes, from one of it.
func frameOf(from *container, m []byte) []byte {
	return ipFrame(broadcast, from.port.MAC, from.port.Addrs[0].Addr(), ip("255.255.255.255"), unix.IPPROTO_UDP, udp(9, m))
}

// sendUDP sends from an ordinary socket of a namespace. With a segment the kernel
// makes datagrams of that many bytes of it, where it wants to.
func sendUDP(t *testing.T, ns *netns.NS, to netip.Addr, segment int, payload []byte) {
	t.Helper()
	ns.Do(func() error {
		conn, err := net.Dial("udp", netip.AddrPortFrom(to, 4789).String())
		if err != nil {
			return err
		}
		defer conn.Close()
		if segment > 0 {
			raw, err := conn.(*net.UDPConn).SyscallConn()
			if err != nil {
				return err
			}
			if err := raw.Control(func(fd uintptr) {
				err = unix.SetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_SEGMENT, segment)
			}); err != nil {
				return err
			}
		}
		if _, err = conn.Write(payload); errors.Is(err, unix.EPERM) {
			return nil // the kernel says at once that it drops it
		}
		return err
	})
}

// gateway gives a host a container that is in no network of weft's, behind a
// bridge with the rules that Docker makes for docker_gwbridge.
func (h *host) gateway() *netns.NS {
	h.tb.Helper()
	box := netns.New(h.tb)
	netns.Link(box, "eth1", h.ns, "vethgw")
	h.ns.Bridge("docker_gwbridge", "vethgw")
	h.ns.Addr("docker_gwbridge", "203.0.113.1/24")
	h.ns.Addr("docker_gwbridge", "2001:db8:1::1/64")
	box.Addr("eth1", "203.0.113.2/24")
	box.Addr("eth1", "2001:db8:1::2/64")
	must(h.tb, box, "ip", "route", "add", "default", "via", "203.0.113.1")
	must(h.tb, box, "ip", "route", "add", "default", "via", "2001:db8:1::1")
	must(h.tb, h.ns, "sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
	must(h.tb, h.ns, "nft", `add table inet docker; add chain inet docker nat { type nat hook postrouting priority srcnat; }
		add rule inet docker nat ip saddr 203.0.113.0/24 oifname != "docker_gwbridge" masquerade
		add rule inet docker nat ip6 saddr 2001:db8:1::/64 oifname != "docker_gwbridge" masquerade`)
	for !pings(box, ip("203.0.113.1")) || !pings(box, ip("2001:db8:1::1")) {
	}
	return box
}

// What a container that is in no network, or a process of the host, sends to a
// tunnel's port gets into no network, of this host or of another one.
func TestNobodyOnAHostSendsIntoANetwork(t *testing.T) {
	for name, vteps := range map[string][]netip.Addr{
		"IPv4": {vtep(1), vtep(2)}, "IPv6": {ip("2001:db8::1"), ip("2001:db8::2")},
	} {
		t.Run(name, func(t *testing.T) {
			hosts := newHosts(t, 2)
			for i, h := range hosts {
				h.cfg.VTEP = vteps[i]
				h.cfg.Hosts = vteps
			}
			c := spread(t, hosts, true)
			box := hosts[0].gateway()
			seen := []*capture{newCapture(t, c[0].ns, "eth0"), newCapture(t, c[1].ns, "eth0")}
			if out, ok := run(box, "ping", "-c1", "-W1", vteps[1].String()); !ok {
				t.Fatalf("the container behind the bridge does not reach the other host: %s", out)
			}
			gates := []string{"203.0.113.1", "2001:db8:1::1"}
			gate := ip(gates[0])
			if vteps[0].Is6() {
				gate = ip(gates[1])
			}
			attacks := func(guarded bool) {
				for _, from := range []struct {
					name string
					ns   *netns.NS
				}{{"a container behind docker_gwbridge", box}, {"a process of the host", hosts[0].ns}} {
					for to, at := range map[netip.Addr]int{vteps[1]: 1, vteps[0]: 0, gate: 0} {
						m := marker()
						p := vxlanPayload(4097, frameOf(c[1-at], m))
						sendUDP(t, from.ns, to, 0, p)
						// The kernel cuts the second datagram off behind the firewall.
						sendUDP(t, from.ns, to, len(p), slices.Concat(vxlanPayload(77, frameOf(c[1-at], m)), p))
						if got := seen[at].saw(m, never); got == guarded {
							t.Errorf("guarded %t: %s got a frame into the network through %s: %t", guarded, from.name, to, got)
						}
					}
				}
			}
			attacks(true)
			for _, filter := range []string{"0", "2", "1"} {
				for _, dev := range []string{"all", "docker_gwbridge", "eth0"} {
					must(t, hosts[0].ns, "sysctl", "-qw", "net.ipv4.conf."+dev+".rp_filter="+filter)
				}
				for to, at := range map[netip.Addr]int{vteps[0]: 0, gate: 0, vteps[1]: 1} {
					for _, src := range vteps {
						m := marker()
						kind, packet := ipPacket(src, to, unix.IPPROTO_UDP, checkedUDP(src, to, vxlanPayload(4097, frameOf(c[1-at], m))))
						injectAt(t, box, "eth1", ethernet(hosts[0].macOf("docker_gwbridge"), overlay.MAC{2, 9, 9, 9, 9, 9}, kind, packet))
						if seen[at].saw(m, never) {
							t.Errorf("with rp_filter %s a container got a frame into the network of %s with %s as source", filter, to, src)
						}
					}
				}
			}
			if !c[0].pings(ip("10.9.0.2")) || !c[1].pings(ip("fd00:9::1")) {
				t.Error("the members do not reach each other")
			}
			for _, h := range hosts {
				must(t, h.ns, "nft", "delete table inet weft")
			}
			attacks(false) // or there was nothing to be seen
		})
	}
}

// Where Docker's own overlay has a tunnel on the port its packets pass, by the
// underlay, and take nothing of others along.
func TestAnotherOverlayOnThePort(t *testing.T) {
	hosts := newHosts(t, 3)
	c := spread(t, hosts[:2], true)
	h := hosts[0]
	box := h.gateway()
	theirs := netns.NewAt(t, filepath.Join(h.swarm, "1-a1b2c3d4e5"))
	netns.NewAt(t, filepath.Join(h.swarm, "a1b2c3d4e5f6"))                                   // a container's
	if err := os.WriteFile(filepath.Join(h.swarm, "2-a1b2c3d4e5"), nil, 0o600); err != nil { // one that is about to be
		t.Fatal(err)
	}
	must(t, h.ns, "ip", "link", "add", "vxswarm", "type", "vxlan", "id", "5000", "dstport", "4789")
	must(t, h.ns, "ip", "link", "set", "vxswarm", "netns", theirs.Path())
	theirs.Up("vxswarm")
	h.verify()
	ours, swarm := newCapture(t, c[0].ns, "eth0"), newCapture(t, theirs, "vxswarm")
	m := marker()
	vxlanPacket(t, hosts[2], h, vtep(3), vtep(1), 5000, frameOf(c[1], m))
	if !swarm.saw(m, soon) {
		t.Error("another overlay's packet is dropped")
	}
	m = marker()
	vxlanPacket(t, hosts[2], h, vtep(3), vtep(1), 4097, frameOf(c[1], m))
	p := vxlanPayload(4097, frameOf(c[1], m))
	sendUDP(t, box, ip("203.0.113.1"), len(p), slices.Concat(vxlanPayload(5000, frameOf(c[1], m)), p))
	if ours.saw(m, never) {
		t.Error("a stranger or a container got a frame into the network through another overlay's door")
	}
	theirs.Delete()
	h.verify()
	if out := must(t, h.ns, "nft", "list", "chain", "inet", "weft", "check"); strings.Contains(out, "@vnis") {
		t.Errorf("the door is left open:\n%s", out)
	}
}

// No fragments, extension headers or several datagrams in one of a stranger on
// the wire get past the check of the source.
func TestNoStrangerHidesThePort(t *testing.T) {
	hosts := newHosts(t, 3)
	for i, h := range hosts {
		h.cfg.VTEP = ip(fmt.Sprintf("2001:db8::%d", i+1))
	}
	c := spread(t, hosts[:2], true)
	seen := newCapture(t, c[0].ns, "eth0")
	victim, stranger := hosts[0], hosts[2]
	src, dst := stranger.cfg.VTEP, victim.cfg.VTEP
	send := func(next byte, payload []byte) {
		kind, packet := ipPacket(src, dst, next, payload)
		inject(t, stranger.ns, ethernet(victim.mac(), stranger.mac(), kind, packet))
	}
	ids := uint32(1)
	// fragment is a fragment header (RFC 8200 section 4.5) with what follows it.
	fragment := func(next byte, offset int, more bool, id uint32, payload []byte) []byte {
		bits := uint16(offset)
		if more {
			bits |= 1
		}
		h := binary.BigEndian.AppendUint16([]byte{next, 0}, bits)
		return append(binary.BigEndian.AppendUint32(h, id), payload...)
	}
	const hopByHop, frag, options = 0, 44, 60
	pad := func(next byte) []byte { return []byte{next, 0, 1, 4, 0, 0, 0, 0} } // eight bytes of options
	attacks := map[string]func(d []byte){
		"whole":               func(d []byte) { send(unix.IPPROTO_UDP, d) },
		"destination options": func(d []byte) { send(options, slices.Concat(pad(unix.IPPROTO_UDP), d)) },
		"hop by hop":          func(d []byte) { send(hopByHop, slices.Concat(pad(unix.IPPROTO_UDP), d)) },
		"one atomic fragment": func(d []byte) { send(frag, fragment(unix.IPPROTO_UDP, 0, false, ids, d)) },
		"eight bytes first": func(d []byte) {
			send(frag, fragment(unix.IPPROTO_UDP, 0, true, ids, d[:8]))
			send(frag, fragment(unix.IPPROTO_UDP, 8, false, ids, d[8:]))
		},
		"the last first": func(d []byte) {
			send(frag, fragment(unix.IPPROTO_UDP, 8, false, ids, d[8:]))
			send(frag, fragment(unix.IPPROTO_UDP, 0, true, ids, d[:8]))
		},
		"options only first": func(d []byte) {
			send(frag, fragment(options, 0, true, ids, pad(unix.IPPROTO_UDP)))
			send(frag, fragment(options, 8, false, ids, d))
		},
		"fragments within one": func(d []byte) {
			send(frag, fragment(frag, 0, false, ids, fragment(unix.IPPROTO_UDP, 0, true, ids+1, d[:8])))
			send(frag, fragment(unix.IPPROTO_UDP, 8, false, ids+1, d[8:]))
		},
		"a lie within": func(d []byte) {
			send(frag, fragment(frag, 0, true, ids, fragment(6, 8, false, ids+1, nil)))
			send(frag, fragment(frag, 8, false, ids, d[8:]))
			send(frag, fragment(unix.IPPROTO_UDP, 0, true, ids+1, d[:8]))
		},
	}
	attacks["the second of two in one"] = func(d []byte) {
		p := d[8:] // without the UDP header, which the socket makes
		nobodys := slices.Clone(p)
		nobodys[6] ^= 1 // the VNI
		sendUDP(t, stranger.ns, dst, len(p), slices.Concat(nobodys, p))
	}
	arrived := func(wait time.Duration) (names []string) {
		for name, attack := range attacks {
			m := marker()
			ids += 16
			attack(checkedUDP(src, dst, vxlanPayload(4097, frameOf(c[1], m))))
			if seen.saw(m, wait) {
				names = append(names, name)
			}
		}
		slices.Sort(names)
		return names
	}
	if names := arrived(never); names != nil {
		t.Errorf("of a stranger arrived: %q", names)
	}
	must(t, victim.ns, "nft", "add table ip6 x; add chain ip6 x y { type filter hook input priority 0; }; add rule ip6 x y ct state new counter")
	if names := arrived(never); names != nil {
		t.Errorf("of a stranger arrived while connections are tracked: %q", names)
	}
	must(t, victim.ns, "nft", "delete table ip6 x; delete table inet weft")
	must(t, stranger.ns, "nft", "flush ruleset")
	// Else there would be nothing to be seen. Newer kernels drop the rest by
	// themselves (RFC 7112).
	names := arrived(never)
	for _, name := range []string{"destination options", "eight bytes first", "hop by hop", "one atomic fragment", "the last first", "the second of two in one", "whole"} {
		if !slices.Contains(names, name) {
			t.Errorf("%s does not arrive without the guard", name)
		}
	}
	victim.verify()
	src = hosts[1].cfg.VTEP
	m := marker()
	send(unix.IPPROTO_UDP, checkedUDP(src, dst, vxlanPayload(4097, frameOf(c[1], m))))
	if !seen.saw(m, soon) {
		t.Error("what a member sends does not arrive")
	}
	// Other fragments are let through: a large ping's.
	if !pings(stranger.ns, dst, "-s", "4000") {
		t.Error("a large ping between the hosts is not answered")
	}
}

// A host that has no tunnel keeps its processes and containers from the
// tunnels of others too.
func TestAHostWithoutTunnelsIsGuarded(t *testing.T) {
	hosts := newHosts(t, 3)
	c := spread(t, hosts[:2], true)
	for _, h := range hosts[:2] { // the third has a part in the network, and no container
		h.cfg.Networks[0].Members = append(slices.Clone(h.cfg.Networks[0].Members), vtep(3))
		h.set()
	}
	hosts[2].cfg.Hosts = []netip.Addr{vtep(1), vtep(2), vtep(3)}
	hosts[2].set()
	seen := newCapture(t, c[0].ns, "eth0")
	m := marker()
	sendUDP(t, hosts[2].ns, vtep(1), 0, vxlanPayload(4097, frameOf(c[1], m)))
	if seen.saw(m, never) {
		t.Error("a process of a host without containers got a frame into the network")
	}
}

// The kernel has no connections for what the tunnels send and get.
func TestTunnelsAreNotTracked(t *testing.T) {
	hosts := newHosts(t, 2)
	hosts[0].restartWith(dataplane.FastOff) // what takes the fast path passes no hook
	c := spread(t, hosts, true)
	must(t, hosts[0].ns, "nft", `add table inet x
		add chain inet x in { type filter hook input priority 0; }
		add chain inet x out { type filter hook output priority 0; }
		add rule inet x in udp dport 4789 ct state new,established counter comment "tracked"
		add rule inet x out udp dport 4789 ct state new,established counter comment "tracked"
		add rule inet x in udp dport 4789 ct state untracked counter comment "untracked"
		add rule inet x out udp dport 4789 ct state untracked counter comment "untracked"`)
	if !c[0].pings(ip("10.9.0.2"), "-c3", "-i0.2") {
		t.Fatal("no answer")
	}
	rules := must(t, hosts[0].ns, "nft", "list", "table", "inet", "x")
	for line := range strings.Lines(rules) {
		if none := strings.Contains(line, "packets 0 "); strings.Contains(line, `"tracked"`) && !none || strings.Contains(line, `"untracked"`) && none {
			t.Errorf("a tunnel's packets are tracked:\n%s", rules)
		}
	}
}

// While the table cannot be made no tunnel is up, and that is said. What runs on
// one host goes on.
func TestNoTunnelIsUpWithoutAGuard(t *testing.T) {
	hosts := newHosts(t, 2)
	c := spread(t, hosts, true)
	h := hosts[0]
	neighbour := port("net1", "c9", "10.9.0.9/24")
	h.cfg.Networks[0].Ports = append(slices.Clone(h.cfg.Networks[0].Ports), neighbour)
	slices.SortFunc(h.cfg.Networks[0].Ports, func(a, b overlay.Port) int { return strings.Compare(a.Endpoint, b.Endpoint) })
	h.set()
	h.fetch(neighbour)

	must(t, h.ns, "nft", "delete table inet weft; add table inet weft; add chain inet weft theirs; add rule inet weft theirs counter")
	theirs := must(t, h.ns, "nft", "list", "ruleset")
	for range 2 {
		_, err := h.dp.Set(t.Context(), h.cfg, true)
		if err == nil || !strings.Contains(err.Error(), "table inet weft") || !strings.Contains(err.Error(), "is not weft's") || strings.Contains(err.Error(), "\n") {
			t.Errorf("the error is %v", err)
		}
	}
	if c[0].pings(ip("10.9.0.2")) {
		t.Error("a tunnel is up without its guard")
	}
	if !c[0].pings(ip("10.9.0.9")) {
		t.Error("containers of one host do not reach each other")
	}
	if got := must(t, h.ns, "nft", "list", "ruleset"); got != theirs {
		t.Errorf("somebody else's table was changed from\n%s to\n%s", theirs, got)
	}
	h.restart()
	h.cfg.Networks = append(h.cfg.Networks, overlay.NetworkConfig{ID: "net2", VNI: 4099, MTU: 1450, Guarded: true})
	if _, err := h.dp.Set(t.Context(), h.cfg, false); err == nil {
		t.Error("a new network came up without a guard")
	}
	must(t, h.ns, "nft", "delete table inet weft")
	h.set()
	if !c[0].pingsAgain(ip("10.9.0.2")) {
		t.Error("the tunnel did not come back with the guard")
	}
}

// A kernel whose nftables is missing, too old or full has no tunnel up, and one
// sentence says why.
func TestNoTunnelIsUpWithoutNftables(t *testing.T) {
	hosts := newHosts(t, 2)
	c := spread(t, hosts, true)
	h := hosts[0]
	for number, name := range map[unix.Errno]string{unix.EOPNOTSUPP: "missing", unix.EINVAL: "too old", unix.ENOSPC: "full", unix.ENOBUFS: "without memory"} {
		h.dp.BreakNftables(number)
		r, err := h.dp.Set(t.Context(), h.cfg, false)
		if err == nil || len(r.Failed) != 0 || !strings.Contains(err.Error(), number.Error()) || !strings.Contains(err.Error(), "weft doctor") || strings.Contains(err.Error(), "\n") {
			t.Errorf("nftables is %s: failed %v, error %v", name, r.Failed, err)
		}
		if c[0].pings(ip("10.9.0.2"), "-W0.3") {
			t.Errorf("nftables is %s, and a tunnel is up", name)
		}
		h.dp.BreakNftables(0)
		h.set()
		if !c[0].pingsAgain(ip("10.9.0.2")) {
			t.Errorf("nftables was %s, and the tunnel did not come back", name)
		}
	}
}

// Somebody deletes or changes the guard while a stranger sends as fast as he
// can: what gets in, gets in within milliseconds.
func TestAGuardThatIsDeletedIsBackAtOnce(t *testing.T) {
	hosts := newHosts(t, 3)
	c := spread(t, hosts[:2], true)
	h, stranger := hosts[0], hosts[2]
	h.verify()
	ctx, cancel := context.WithCancel(t.Context())
	var told atomic.Int32
	watched := make(chan error, 1)
	go func() { watched <- h.dp.WatchBorder(ctx, func() { told.Add(1) }) }()
	for told.Load() == 0 { // it watches
		time.Sleep(time.Millisecond)
	}
	began := told.Load()
	m := marker()
	kind, packet := ipPacket(vtep(3), vtep(1), unix.IPPROTO_UDP, checkedUDP(vtep(3), vtep(1), vxlanPayload(4097, frameOf(c[1], m))))
	frame := ethernet(h.mac(), stranger.mac(), kind, packet)
	var sent, inside atomic.Int64
	flood, stop := context.WithCancel(t.Context())
	flooded := make(chan struct{})
	go func() {
		defer close(flooded)
		_ = stranger.ns.Run(func() error {
			fd, err := packetSocket("eth0")
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			for flood.Err() == nil {
				if _, err := unix.Write(fd, frame); err == nil {
					sent.Add(1)
				}
			}
			return nil
		})
	}()
	seen := newCapture(t, c[0].ns, "eth0")
	counted := make(chan struct{})
	go func() {
		defer close(counted)
		for flood.Err() == nil {
			if seen.saw(m, never) {
				inside.Add(1)
			}
		}
	}()
	for _, damage := range []string{"flush ruleset", "delete table inet weft", "flush chain inet weft check", "insert rule inet weft input accept", "add element inet weft members4 { 192.0.2.3 . 0x1001 }"} {
		began, before := sent.Load(), inside.Load()
		start := time.Now()
		must(t, h.ns, "nft", damage)
		for sent.Load() < began+20_000 {
			time.Sleep(time.Millisecond)
		}
		took, rate := time.Since(start), float64(sent.Load()-began)/time.Since(start).Seconds()
		got := inside.Load() - before
		t.Logf("%s: %d of %d frames a stranger sent in %v came in: open for %.1f ms", damage, got, sent.Load()-began, took.Round(time.Millisecond), float64(got)/rate*1000)
		for last := int64(-1); last != inside.Load(); time.Sleep(100 * time.Millisecond) { // those under way
			last = inside.Load()
		}
		settled, from := inside.Load(), sent.Load()
		for sent.Load() < from+2_000 {
			time.Sleep(time.Millisecond)
		}
		if inside.Load() != settled {
			t.Errorf("%s: the guard is not back", damage)
		}
	}
	stop()
	<-flooded
	<-counted
	if told.Load() == began {
		t.Error("nobody was told of the damage")
	}
	if r := h.verify(); r.Repairs == 0 {
		t.Error("the damage is in no report")
	}
	before := told.Load()
	h.cfg.Networks[0].Members = append(slices.Clone(h.cfg.Networks[0].Members), vtep(3))
	h.set() // its own change is nobody's damage
	time.Sleep(50 * time.Millisecond)
	if now := told.Load(); now != before {
		t.Errorf("told %d times of its own change", now-before)
	}
	cancel()
	if err := <-watched; err != nil {
		t.Error(err)
	}
}

// The table of many hosts and networks is made in pieces, and nothing comes in
// before the last one.
func TestGuardOfManyHosts(t *testing.T) {
	h := newHosts(t, 1)[0]
	const networks, members = 40, 600
	for n := range networks {
		c := overlay.NetworkConfig{ID: fmt.Sprintf("n%03d", n), VNI: uint32(6000 + n), MTU: 1450, Guarded: true}
		for i := range members {
			c.Members = append(c.Members, netip.AddrFrom4([4]byte{198, 51, byte(i >> 8), byte(i)}))
		}
		h.cfg.Networks = append(h.cfg.Networks, c)
	}
	began := time.Now()
	h.set()
	t.Logf("made in %v", time.Since(began))
	if r := h.verify(); r.Repairs != 0 {
		t.Errorf("repaired %q", r.Repaired)
	}
	out := must(t, h.ns, "nft", "list", "set", "inet", "weft", "members4")
	if got := strings.Count(out, " . "); got != networks*members+1 {
		t.Errorf("the set has %d elements, not %d", got-1, networks*members)
	}
	must(t, h.ns, "nft", "flush", "ruleset")
	if r := h.verify(); r.Repairs != 1 {
		t.Errorf("repaired %q", r.Repaired)
	}
	if d := must(t, h.ns, "nft", "list", "chain", "inet", "weft", "input"); !strings.Contains(d, "jump check") {
		t.Errorf("the table was left closed:\n%s", d)
	}
}

// Many ports are guarded in one pass.
func TestManyPortsInOnePass(t *testing.T) {
	h := newHosts(t, 1)[0]
	c := overlay.NetworkConfig{ID: "net1", VNI: 6000, MTU: 1450, Guarded: true}
	for i := range 120 {
		c.Ports = append(c.Ports, port("net1", fmt.Sprint("c", i), fmt.Sprintf("10.1.0.%d/16", i+1), fmt.Sprintf("fd00::%x/64", i+1)))
	}
	slices.SortFunc(c.Ports, func(a, b overlay.Port) int { return strings.Compare(a.Endpoint, b.Endpoint) })
	h.cfg.Networks = []overlay.NetworkConfig{c}
	h.set()
	if r := h.verify(); r.Repairs != 0 {
		t.Errorf("repaired %q", r.Repaired)
	}
	var chains int
	netns.In(t, h.path("net1"), func(ns *netns.NS) {
		chains = strings.Count(must(t, ns, "nft", "list", "chains", "netdev"), "chain wp")
	})
	if chains != len(c.Ports) {
		t.Errorf("%d of %d ports are guarded", chains, len(c.Ports))
	}
}
