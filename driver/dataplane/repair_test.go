package dataplane_test

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/test/netns"
)

// damages are what a hand can do to the kernel; say is what the report says.
func damages(h *host) map[string]struct{ command, say string } {
	n := h.cfg.Networks[0]
	wp, remote := overlay.PortLink(n.Ports[0].Endpoint), n.Remotes[0]
	in := func(format string, args ...any) string {
		return "nsenter --net=" + h.dir + "/weft-" + n.ID + " " + fmt.Sprintf(format, args...)
	}
	host := func(s string) string { return "nsenter --net=" + h.ns.Path() + " " + s }
	return map[string]struct{ command, say string }{
		"vx0 deleted":         {in("ip link del vx0"), "VXLAN device of network alpha was missing"},
		"vx0 down":            {in("ip link set vx0 down"), "link vx0 of network alpha was down"},
		"vx0 MTU":             {in("ip link set vx0 mtu 1200"), "link vx0 of network alpha had MTU 1200"},
		"vx0 not attached":    {in("ip link set vx0 nomaster"), "link vx0 of network alpha was no port of the bridge"},
		"vx0 learning":        {in("ip link set vx0 type bridge_slave learning on"), "bridge port vx0 of network alpha had other settings"},
		"vx0 with other VNI":  {in("ip link del vx0") + " && " + in("ip link add vx0 type vxlan id 9 dstport 4789 local 192.0.2.1"), "VXLAN device of network alpha had VNI 9"},
		"vx0 socket inside":   {in("ip link del vx0") + " && " + in("ip link add vx0 type vxlan id %d dstport 4789 local 192.0.2.1 nolearning", n.VNI), "VXLAN device of network alpha had its socket outside the host's namespace"},
		"bridge deleted":      {in("ip link del br0"), "bridge of network alpha was missing"},
		"bridge down":         {in("ip link set br0 down"), "link br0 of network alpha was down"},
		"bridge MTU":          {in("ip link set br0 mtu 1300"), "link br0 of network alpha had MTU 1300"},
		"fdb deleted":         {in("bridge fdb del %s dev vx0 dst %s self", remote.MAC, remote.VTEP), "fdb entry " + remote.MAC.String() + " at host " + remote.VTEP.String() + " of network alpha was missing"},
		"fdb changed":         {in("bridge fdb replace %s dev vx0 dst 192.0.2.99 self permanent", remote.MAC), "fdb entry " + remote.MAC.String() + " at host " + remote.VTEP.String() + " of network alpha was missing"},
		"fdb added":           {in("bridge fdb add 02:11:22:33:44:55 dev vx0 dst 192.0.2.99 self permanent"), "fdb entry 02:11:22:33:44:55 at host 192.0.2.99 of network alpha was not weft's"},
		"flooding deleted":    {in("bridge fdb del 00:00:00:00:00:00 dev vx0 dst %s self", n.Flood[0]), "flood entry to " + n.Flood[0].String() + " of network alpha was missing"},
		"bridge fdb deleted":  {in("bridge fdb del %s dev vx0 master", remote.MAC), "bridge fdb entry " + remote.MAC.String() + " at vx0 of network alpha was missing"},
		"port fdb deleted":    {in("bridge fdb del %s dev %s master", n.Ports[0].MAC, wp), "bridge fdb entry " + n.Ports[0].MAC.String() + " at " + wp + " of network alpha was missing"},
		"neighbour deleted":   {in("ip neigh del %s dev br0", remote.Addrs[0]), "neighbour " + remote.Addrs[0].String() + " at " + remote.MAC.String() + " of network alpha was missing"},
		"neighbours flushed":  {in("ip -6 neigh flush nud permanent dev br0"), "neighbour fd01::9 at " + remote.MAC.String() + " of network alpha was missing"},
		"port down":           {in("ip link set %s down", wp), "link " + wp + " of network alpha was down"},
		"port not attached":   {in("ip link set %s nomaster", wp), "link " + wp + " of network alpha was no port of the bridge"},
		"guard deleted":       {in("nft delete table netdev weft"), "guard of link " + wp + " of network alpha was missing"},
		"guard emptied":       {in("nft flush chain netdev weft %s", wp), "guard of link " + wp + " of network alpha was missing"},
		"fragments pass":      {in("nft flush chain netdev weft fragment"), "guard of fragments of network alpha was missing"},
		"ruleset flushed":     {host("nft flush ruleset"), "nftables table inet weft was missing or changed"},
		"a member added":      {host("nft add element inet weft members4 { 192.0.2.66 . 0x1001 }"), "member 192.0.2.66 of VNI 4097 in nftables was not weft's"},
		"a member deleted":    {host("nft delete element inet weft members4 { 192.0.2.9 . 0x1001 }"), "member 192.0.2.9 of VNI 4097 was missing in nftables"},
		"a VNI deleted":       {host("nft delete element inet weft vnis { 0x1001 }"), "VNI 4097 was missing in nftables"},
		"a host deleted":      {host("nft delete element inet weft hosts4 { 192.0.2.9 }"), "host 192.0.2.9 was missing in nftables"},
		"a host added":        {host("nft add element inet weft hosts6 { 2001:db8::66 }"), "host 2001:db8::66 in nftables was not weft's"},
		"a way around":        {host("nft insert rule inet weft input udp dport 4789 accept"), "nftables table inet weft was missing or changed"},
		"a chain added":       {host("nft add chain inet weft mine"), "nftables table inet weft was missing or changed"},
		"a drop rule deleted": {host("nft flush chain inet weft check"), "nftables table inet weft was missing or changed"},
		"sysctl changed":      {in("sysctl -qw net.ipv6.conf.br0.disable_ipv6=1"), "sysctl net/ipv6/conf/br0/disable_ipv6 of network alpha was changed"},
		"container end MTU":   {host("ip link set " + overlay.ContainerLink(n.Ports[0].Endpoint) + " mtu 1000"), "container end of link " + wp + " of network alpha had MTU 1000"},
	}
}

func TestDriftIsRepairedAndReported(t *testing.T) {
	h := newHosts(t, 1)[0]
	h.cfg = states()["two networks"]
	h.set()
	for name, damage := range damages(h) {
		if out, ok := shell(damage.command); !ok {
			t.Fatalf("%s: %s", name, out)
		}
		if r := h.set(); r.Repairs != 0 {
			t.Errorf("%s: a pass without verify looked: %q", name, r.Repaired)
		}
		r := h.verify()
		if r.Repairs == 0 || r.Repairs != len(r.Repaired) || !slices.Contains(r.Repaired, damage.say) {
			t.Errorf("%s: the report is %q, without %q", name, r.Repaired, damage.say)
		}
		if d := cmp.Diff(h.wanted(), h.kernel()); d != "" {
			t.Errorf("%s is not repaired (-want +kernel):\n%s", name, d)
		}
		if r := h.verify(); r.Repairs != 0 {
			t.Errorf("%s: still %q", name, r.Repaired)
		}
	}
}

func shell(command string) (string, bool) {
	return runHere("sh", "-c", command)
}

func TestDeletedNamespaceIsMadeAgain(t *testing.T) {
	for _, stale := range []bool{false, true} {
		hosts := newHosts(t, 2)
		c := spread(t, hosts, true)
		path := filepath.Join(hosts[0].dir, "weft-net1")
		if err := unix.Unmount(path, unix.MNT_DETACH); err != nil {
			t.Fatal(err)
		}
		if !stale {
			os.Remove(path)
		}
		r := hosts[0].verify()
		if !slices.Contains(r.Repaired, "namespace of network net1 was missing") {
			t.Errorf("the report is %q", r.Repaired)
		}
		// The container's link died with the namespace.
		hosts[0].verify()
		hosts[0].clock = hosts[0].clock.Add(time.Minute)
		hosts[0].verify()
		hosts[0].settle(c[0].port)
		for _, to := range []string{"10.9.0.2", "fd00:9::2"} {
			if !c[0].pingsAgain(ip(to)) {
				t.Errorf("stale file %t: the container does not reach %s again", stale, to)
			}
		}
	}
}

func TestDeletedContainerLinkIsMadeAgainInItsSandbox(t *testing.T) {
	hosts := newHosts(t, 2)
	h := hosts[0]
	c := spread(t, hosts, true)
	must(t, c[0].ns, "ip", "link", "del", "eth0")
	must(t, c[0].ns, "ip", "link", "add", "eth1", "type", "bridge") // as docker_gwbridge's would be there
	for range 3 {
		if r := h.verify(); r.Repairs != 0 {
			// The pair's entries go with it; they come back with it.
			for _, s := range r.Repaired {
				if strings.Contains(s, "made again") {
					t.Errorf("made again too early: %q", r.Repaired)
				}
			}
		}
	}
	h.clock = h.clock.Add(4 * time.Second)
	h.verify()
	if out := must(t, c[0].ns, "ip", "-o", "link"); strings.Contains(out, "eth0") {
		t.Errorf("made again before its time:\n%s", out)
	}
	h.clock = h.clock.Add(time.Second)
	r := h.verify()
	want := fmt.Sprintf("link %s of network net1 was missing and was made again in its sandbox", overlay.PortLink(c[0].port.Endpoint))
	if !slices.Contains(r.Repaired, want) {
		t.Errorf("the report is %q", r.Repaired)
	}
	h.settle(c[0].port)
	out := must(t, c[0].ns, "ip", "address", "show", "eth0")
	for _, s := range []string{c[0].port.MAC.String(), "10.9.0.1/24", "fd00:9::1/64", "mtu 1450"} {
		if !strings.Contains(out, s) {
			t.Errorf("eth0 lacks %s:\n%s", s, out)
		}
	}
	if !c[0].pingsAgain(ip("10.9.0.2")) || !c[0].pingsAgain(ip("fd00:9::2")) {
		t.Error("the container has no network again")
	}
	if r := h.verify(); r.Repairs != 0 {
		t.Errorf("still %q", r.Repaired)
	}
}

func TestTeardownIsNotRepaired(t *testing.T) {
	hosts := newHosts(t, 1)
	h := hosts[0]
	c := spread(t, hosts, true)
	late := func() {
		for range 3 {
			h.clock = h.clock.Add(time.Minute)
			h.verify()
		}
	}
	t.Run("the sandbox is gone", func(t *testing.T) {
		c[0].ns.Delete()
		for deadline := time.Now().Add(10 * time.Second); strings.Contains(h.kernel(), ": wp"); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("the kernel keeps the link:\n%s", h.kernel())
			}
		}
		late()
		if k := h.kernel(); strings.Contains(k, "wp") || strings.Contains(k, "wc") {
			t.Errorf("a link was made for a container that is gone:\n%s", k)
		}
	})
	t.Run("the endpoint is left", func(t *testing.T) {
		ns := netns.New(t)
		p := c[0].port
		p.Sandbox, p.Keep = ns.Path(), true
		h.cfg.Networks[0].Ports = []overlay.Port{p}
		h.set()
		late()
		if k := h.kernel(); strings.Contains(k, "wp") || strings.Contains(k, "wc") {
			t.Errorf("a link was made for an endpoint that Docker is taking down:\n%s", k)
		}
	})
}

func TestLinkThatDockerDidNotFetchIsMadeInTheSandbox(t *testing.T) {
	h := newHosts(t, 1)[0]
	p := port("net1", "c", "10.9.0.1/24")
	ns := netns.New(t)
	p.Sandbox = ns.Path() // there before Join, as on Docker 23 and later
	h.cfg.Networks = []overlay.NetworkConfig{{ID: "net1", VNI: 4097, MTU: 1450, Guarded: true, Ports: []overlay.Port{p}}}
	h.set()
	name := overlay.ContainerLink(p.Endpoint)
	h.verify()
	h.clock = h.clock.Add(59 * time.Second)
	h.verify()
	if out := must(t, h.ns, "ip", "-o", "link"); !strings.Contains(out, name) {
		t.Fatalf("taken from Docker too early:\n%s", out)
	}
	h.clock = h.clock.Add(time.Second)
	h.verify()
	if out := must(t, h.ns, "ip", "-o", "link"); strings.Contains(out, name) {
		t.Errorf("still in the host's namespace:\n%s", out)
	}
	if out := must(t, ns, "ip", "-o", "-4", "address"); !strings.Contains(out, "10.9.0.1/24") {
		t.Errorf("not in the sandbox:\n%s", out)
	}
}

// TestRestartDisturbsNothing pings 100 times a second while fresh instances run.
func TestRestartDisturbsNothing(t *testing.T) {
	hosts := newHosts(t, 2)
	c := spread(t, hosts, true)
	before := hosts[0].kernel()
	done := make(chan string, 1)
	go func() {
		out, _ := run(c[0].ns, "ping", "-i", "0.01", "-c", "200", "-q", "10.9.0.2")
		done <- out
	}()
	events := 0
	for range 10 {
		for _, h := range hosts {
			h.restart()
			h.set()
			h.verify()
			events++
		}
		time.Sleep(100 * time.Millisecond)
	}
	if out := <-done; !strings.Contains(out, "200 packets transmitted, 200 received") {
		t.Errorf("packets were lost:\n%s", out)
	}
	if d := cmp.Diff(before, hosts[0].kernel()); d != "" {
		t.Errorf("a fresh instance changed the kernel:\n%s", d)
	}
}

func TestLeftoversAreSweptAndOthersAreNot(t *testing.T) {
	const count = 1000
	h := newHosts(t, 1)[0]
	for i := range count / 10 {
		h.cfg.Networks = append(h.cfg.Networks, overlay.NetworkConfig{ID: fmt.Sprintf("old%04d", i), VNI: uint32(5000 + i), MTU: 1450})
	}
	for i := range count - count/10 {
		n := &h.cfg.Networks[i%10]
		n.Ports = append(n.Ports, port(n.ID, fmt.Sprint(i), netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 3, byte(i >> 8), byte(i)}), 16).String()))
	}
	h.set()
	// Things of other people.
	must(t, h.ns, "ip", "link", "add", "wcard", "type", "veth", "peer", "name", "wpan0")
	must(t, h.ns, "ip", "link", "add", "wc0123456789ab", "type", "bridge")
	must(t, h.ns, "nft", "add", "table", "inet", "theirs")
	stranger := netns.NewAt(t, filepath.Join(h.dir, "stranger"))

	h.restart()
	h.cfg.Networks = nil
	start := time.Now()
	r := h.set()
	t.Logf("swept %d networks and %d veth pairs in %v", len(r.Removed), count-count/10, time.Since(start))
	files, _ := filepath.Glob(h.dir + "/*")
	if len(files) != 1 || files[0] != stranger.Path() {
		t.Errorf("namespaces left: %q", files)
	}
	must(t, h.ns, "ip", "link", "show", "wpan0")
	must(t, h.ns, "ip", "link", "show", "wc0123456789ab")
	must(t, h.ns, "nft", "list", "table", "inet", "theirs")
	// The guard is there as long as this host is one of a cluster's: what its
	// containers and processes send to other hosts is its business too.
	vtep := h.cfg.VTEP
	h.cfg.VTEP = netip.Addr{}
	h.set()
	if out, ok := run(h.ns, "nft", "list", "table", "inet", "weft"); ok {
		t.Errorf("the guard is left:\n%s", out)
	}
	h.cfg.VTEP = vtep
	// The kernel takes the namespaces down in its own time, and then the VNIs
	// are free again for a network that waits for them.
	h.cfg.Networks = []overlay.NetworkConfig{{ID: "new", VNI: 5099, MTU: 1450}}
	h.set()
	t.Logf("a network with a VNI of theirs after %v", time.Since(start))
	h.ns.Netlink(func(nl *netlink.Handle) error {
		links, err := whole(nl.LinkList)
		for _, l := range links {
			if overlay.IsContainerLink(l.Attrs().Name) && l.Type() == "veth" {
				return fmt.Errorf("link %s is left", l.Attrs().Name)
			}
		}
		return err
	})
}

// A pass that follows a change goes by what the last one left, and lists no ports. What
// somebody has changed by hand is found by the pass that verifies.
func TestAChangeOfAPortIsFoundByAPassThatVerifies(t *testing.T) {
	h := newHosts(t, 1)[0]
	stays, comes := port("net1", "stays", "10.9.0.1/24"), port("net1", "comes", "10.9.0.2/24")
	n := overlay.NetworkConfig{ID: "net1", VNI: 4097, MTU: 1450, Guarded: true, Ports: []overlay.Port{stays}}
	h.cfg.Networks = []overlay.NetworkConfig{n}
	h.set()
	name := overlay.PortLink(stays.Endpoint)
	if out, ok := runHere("nsenter", "--net="+h.path("net1"), "bridge", "link", "set", "dev", name, "learning", "on"); !ok {
		t.Fatal(out)
	}
	learns := func() bool {
		out, ok := runHere("nsenter", "--net="+h.path("net1"), "bridge", "-d", "link", "show", "dev", name)
		if !ok || !strings.Contains(out, "learning") {
			t.Fatal(out)
		}
		return strings.Contains(out, "learning on")
	}
	n.Ports = []overlay.Port{stays, comes}
	slices.SortFunc(n.Ports, func(a, b overlay.Port) int { return strings.Compare(a.Endpoint, b.Endpoint) })
	h.cfg.Networks = []overlay.NetworkConfig{n}
	if h.set(); !learns() {
		t.Error("the pass that makes a port has looked at another one")
	}
	if r := h.verify(); r.Repairs != 1 || learns() {
		t.Errorf("repaired: %q", r.Repaired)
	}
}
