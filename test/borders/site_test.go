package borders

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/weft-net/weft/driver/control"
	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/test/borders/craft"
	"github.com/weft-net/weft/test/lab"
	"github.com/weft-net/weft/test/lab/labtest"
)

// site is a lab with two networks that both hosts are members of. Attackers are
// after the network victim; the container tenant attacks its own, other one.
type site struct {
	t             *testing.T
	lab           *lab.Lab
	h1, h2        *lab.Host
	victim, other network
	boxes         map[string]*box // by name
	watch         *watch
	rows          uint16 // used as marks
}

// network is one under attack.
type network struct {
	name  string
	vni   uint32
	netns string // of its bridge, without the host's root
}

// box is a container.
type box struct {
	host  *lab.Host
	name  string
	netns string
	craft.Station
}

// The containers.
var boxes = []struct {
	name, host, network string
	rights              []string
}{
	{"victim1", "h1", "victim", nil},
	{"victim2", "h2", "victim", nil},
	{"tenant", "h1", "other", nil}, // with Docker's usual rights
	{"tenant-bare", "h1", "other", bare},
	{"neighbour", "h2", "other", nil},
	{"behind", "h1", "bridge", nil},
	{"behind-bare", "h1", "bridge", bare},
	{"hostnet", "h1", "host", []string{"--cap-drop=ALL"}},
}

// bare is a container that may do nothing.
var bare = []string{"--cap-drop=ALL", "--user=65534:65534"}

func newSite(t *testing.T, f firewall) *site {
	t.Helper()
	c := f.config
	c.Name, c.Hosts, c.NoWeft = fmt.Sprintf("borders-%d", os.Getpid()), 2, *peer == "swarm"
	l, err := lab.Up(t.Context(), c)
	if err != nil {
		t.Fatal("this test needs root and a lab: ", err)
	}
	t.Cleanup(func() {
		if err := l.Down(context.WithoutCancel(t.Context())); err != nil {
			t.Error("take the lab down: ", err)
		}
	})
	s := &site{t: t, lab: l, h1: l.Host("h1"), h2: l.Host("h2"), boxes: map[string]*box{}, watch: newWatch()}
	s.checkIptables(c.Iptables)
	for _, h := range l.Hosts() {
		// Older Dockers do it themselves.
		if _, err := h.Run(t.Context(), "sh", "-c", "echo 1 >/proc/sys/net/ipv6/conf/all/forwarding"); err != nil {
			t.Fatal(err)
		}
	}
	s.networks()
	for _, b := range boxes {
		s.container(b.name, b.host, b.network, b.rights...)
	}
	s.watchAll()
	return s
}

func (s *site) docker(h *lab.Host, args ...string) string {
	s.t.Helper()
	return labtest.Docker(s.t, h, args...)
}

// checkIptables makes sure that the firewall is the one that was asked for.
func (s *site) checkIptables(kind string) {
	s.t.Helper()
	want := map[string]string{"legacy": "(legacy)", "nft": "(nf_tables)"}[kind]
	for _, program := range []string{"iptables", "ip6tables", "iptables-save"} {
		out, err := s.h1.Run(s.t.Context(), program, "--version")
		if err != nil || !strings.Contains(out, want) {
			s.t.Fatalf("%s of h1 should be %q: it says %q (%v)", program, want, out, err)
		}
	}
}

// networks makes both, weft's or a swarm's.
func (s *site) networks() {
	driver := []string{"-d", "weft", "--ipam-driver", "weft", "--ipv6"}
	if *peer == "swarm" {
		driver = []string{"-d", "overlay", "--attachable"}
		s.docker(s.h1, "swarm", "init", "--advertise-addr", s.h1.Addr().String())
		token := s.docker(s.h1, "swarm", "join-token", "-q", "worker")
		s.docker(s.h2, "swarm", "join", "--advertise-addr", s.h2.Addr().String(), "--token", token, s.h1.Addr().String()+":2377")
	}
	for i, name := range []string{"victim", "other"} {
		var id string
		labtest.Eventually(s.t, 30*time.Second, "h1 has network "+name, func() (err error) {
			id, err = s.h1.Docker(s.t.Context(), slices.Concat([]string{"network", "create"}, driver, []string{name})...)
			return err
		})
		n := network{name: name, netns: "/run/docker/netns/1-" + id[:min(10, len(id))]}
		if *peer == "swarm" {
			vni := s.docker(s.h1, "network", "inspect", "-f", `{{index .Options "com.docker.network.driver.overlay.vxlanid_list"}}`, name)
			number, err := strconv.ParseUint(vni, 10, 24)
			if err != nil {
				s.t.Fatal("find the VNI of a swarm's network: ", err)
			}
			n.vni = uint32(number)
		} else {
			labtest.Mirrored(s.t, 20*time.Second, name, s.h2)
			for _, d := range labtest.Weft[[]control.Network](s.t, s.h1, "network", "ls") {
				if d.Name == name {
					n.vni, n.netns = d.VNI, "/run/netns/"+overlay.Namespace(d.ID)
				}
			}
		}
		if i == 0 {
			s.victim = n
		} else {
			s.other = n
		}
	}
}

// container starts one that idles and has the attackers' program.
func (s *site) container(name, host, network string, rights ...string) {
	s.t.Helper()
	h := s.lab.Host(host)
	args := append([]string{"run", "-d", "--name", name, "--network", network, "-v", shooter + ":/shooter:ro"}, rights...)
	s.docker(h, append(args, lab.Image, "sleep", "100000")...)
	b := &box{host: h, name: name}
	var err error
	if b.netns, err = h.ContainerNetns(s.t.Context(), name); err != nil {
		s.t.Fatal(err)
	}
	s.boxes[name] = b
	if network == "host" {
		return
	}
	read := func(field string) string {
		return s.docker(h, "inspect", "-f", fmt.Sprintf("{{(index .NetworkSettings.Networks %q).%s}}", network, field), name)
	}
	if b.MAC, err = craft.ParseMAC(read("MacAddress")); err != nil {
		s.t.Fatal(err)
	}
	b.Addr4 = netip.MustParseAddr(read("IPAddress"))
	// Docker's overlay has none, but forwards IPv6 all the same.
	b.Addr6 = netip.MustParseAddr(cmp.Or(read("GlobalIPv6Address"), "fd00::"+strconv.Itoa(len(s.boxes))))
}

// watchAll has captures everywhere where a frame can get to.
func (s *site) watchAll() {
	tenantPort := s.peerOf(s.boxes["tenant"])
	for _, h := range []*lab.Host{s.h1, s.h2} {
		for _, n := range []network{s.victim, s.other} {
			if *peer == "swarm" {
				s.keepTrailers(h, n)
			}
			ignored := 0
			if h == s.h1 && n == s.other {
				ignored = tenantPort
			}
			s.watch.add(s.t, n.name+" on "+h.Name(), h.Path(n.netns), "", ignored)
		}
	}
	for _, name := range []string{"victim1", "victim2", "tenant-bare", "neighbour"} {
		s.watch.add(s.t, name, s.boxes[name].netns, "eth0", 0)
	}
	s.watch.start(s.t)
}

// keepTrailers has the bridge of a network not hand packets to iptables, which has
// no rules there but cuts off what is behind their ends: the marks. weft does so itself.
func (s *site) keepTrailers(h *lab.Host, n network) {
	s.t.Helper()
	script := "for f in /proc/sys/net/bridge/bridge-nf-call-*tables; do echo 0 >$f; done"
	if _, err := h.Run(s.t.Context(), "nsenter", "--net="+n.netns, "--", "sh", "-c", script); err != nil {
		s.t.Fatal(err)
	}
}

// peerOf is the index of the bridge's port that a container's eth0 leads to.
func (s *site) peerOf(b *box) (index int) {
	text := s.docker(b.host, "exec", b.name, "cat", "/sys/class/net/eth0/iflink")
	index, err := strconv.Atoi(text)
	if err != nil {
		s.t.Fatal(err)
	}
	return index
}

// link is what a host's link is called by on its wire.
type link struct {
	mac   craft.MAC
	addrs []netip.Addr
}

func (s *site) link(h *lab.Host, name string) link {
	s.t.Helper()
	return s.linkIn(h.Netns(), name)
}

func (s *site) linkIn(netns, name string) (l link) {
	s.t.Helper()
	err := lab.Inside(netns, func() error {
		i, err := net.InterfaceByName(name)
		if err != nil {
			return err
		}
		copy(l.mac[:], i.HardwareAddr)
		addrs, err := i.Addrs()
		for _, a := range addrs {
			if p, err := netip.ParsePrefix(a.String()); err == nil {
				l.addrs = append(l.addrs, p.Addr())
			}
		}
		return err
	})
	if err != nil {
		s.t.Fatalf("look at link %s: %v", name, err)
	}
	return l
}

// use has the tunnels go over IPv4 or IPv6 from now on.
func (s *site) use(family int) {
	s.t.Helper()
	for _, h := range []*lab.Host{s.h1, s.h2} {
		h.WeftArgs("--advertise", underlay(h, family).String())
		if err := h.Stop(s.t.Context(), lab.Weft); err != nil {
			s.t.Fatal(err)
		}
	}
	for _, h := range []*lab.Host{s.h1, s.h2} {
		if err := h.Start(s.t.Context(), lab.Weft); err != nil {
			s.t.Fatal(err)
		}
	}
	for _, h := range []*lab.Host{s.h1, s.h2} {
		for _, n := range []network{s.victim, s.other} {
			labtest.Eventually(s.t, 30*time.Second, fmt.Sprintf("network %s on %s has its tunnel over IPv%d", n.name, h.Name(), family), func() error {
				out, err := h.Run(s.t.Context(), "nsenter", "--net="+n.netns, "--", "ip", "-d", "link", "show", overlay.VXLAN)
				if err == nil && !strings.Contains(out, " local "+underlay(h, family).String()+" ") {
					err = fmt.Errorf("it has %q", out)
				}
				return err
			})
		}
	}
}

func underlay(h *lab.Host, family int) netip.Addr {
	if family == 6 {
		return h.Addr6()
	}
	return h.Addr()
}
