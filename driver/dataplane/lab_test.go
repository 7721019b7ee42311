package dataplane_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/vishvananda/netlink"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/driver/dataplane"
	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/test/netns"
)

// fastPath is the fast path of all hosts. Each test is to hold with and without.
var fastPath = flag.String("fast-path", "auto", "auto, on or off")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// host is a simulated host: a namespace with eth0 on a common switch, and a
// directory of its own for the networks' namespaces.
type host struct {
	tb    testing.TB
	n     int
	ns    *netns.NS
	sw    *netns.NS // of the switch, where the other end of eth0 is p1, p2 and so on
	dir   string
	swarm string // where Docker has the namespaces of its own overlay
	dp    *dataplane.Dataplane
	cfg   overlay.Config
	clock time.Time
}

// newHosts joins count hosts by a switch. Host i has 192.0.2.i and 2001:db8::i.
func newHosts(tb testing.TB, count int) []*host {
	tb.Helper()
	sw := netns.New(tb)
	var hosts []*host
	var ports []string
	for i := 1; i <= count; i++ {
		h := &host{tb: tb, n: i, ns: netns.New(tb), sw: sw, dir: tb.TempDir(), swarm: tb.TempDir(), clock: time.Unix(1_000_000, 0)}
		port := fmt.Sprintf("p%d", i)
		netns.Link(h.ns, "eth0", sw, port)
		h.ns.Addr("eth0", fmt.Sprintf("192.0.2.%d/24", i))
		h.ns.Addr("eth0", fmt.Sprintf("2001:db8::%d/64", i))
		ports = append(ports, port)
		h.cfg = overlay.Config{VTEP: vtep(i), Port: 4789}
		h.restart()
		tb.Cleanup(h.clean)
		hosts = append(hosts, h)
	}
	sw.Bridge("sw", ports...)
	// The kernel may take a second to notice that a switch port has a carrier.
	for _, h := range hosts[1:] {
		for !pings(hosts[0].ns, vtep(h.n)) {
		}
	}
	return hosts
}

func vtep(i int) netip.Addr { return netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}) }

// restart is a new process: all memory is gone, the kernel stays.
func (h *host) restart() {
	h.tb.Helper()
	h.restartWith(dataplane.FastPath(*fastPath))
}

func (h *host) restartWith(mode dataplane.FastPath) {
	h.tb.Helper()
	if h.dp != nil {
		h.dp.Close()
	}
	log := logrus.New()
	log.SetOutput(io.Discard)
	var err error
	h.dp, err = dataplane.New(dataplane.Options{
		Log: log, NetnsDir: h.dir, HostNetns: h.ns.Path(), DockerNetns: h.swarm, Now: func() time.Time { return h.clock },
		FastPath: mode,
	})
	if err != nil {
		h.tb.Fatal(err)
	}
}

func (h *host) clean() {
	h.dp.Close()
	files, _ := filepath.Glob(h.dir + "/weft-*")
	for _, f := range files {
		_ = unix.Unmount(f, unix.MNT_DETACH)
		os.Remove(f)
	}
	for unix.Unmount(h.dir, unix.MNT_DETACH) == nil {
	}
}

func (h *host) set() dataplane.Report {
	h.tb.Helper()
	return h.pass(false)
}

func (h *host) verify() dataplane.Report {
	h.tb.Helper()
	return h.pass(true)
}

func (h *host) pass(verify bool) dataplane.Report {
	h.tb.Helper()
	r, err := h.dp.Set(context.Background(), h.cfg, verify)
	for _, failed := range r.Failed {
		err = errors.Join(err, failed)
	}
	if err != nil {
		h.tb.Fatalf("host %d: %v", h.n, err)
	}
	return r
}

// container is a sandbox with one interface in one network.
type container struct {
	ns   *netns.NS
	port overlay.Port
}

// endpointID looks like one of Docker's.
func endpointID(seed string) string {
	sum := sha256.Sum256([]byte(seed))
	return hex.EncodeToString(sum[:])
}

func port(network, name string, addrs ...string) overlay.Port {
	p := overlay.Port{Endpoint: endpointID(network + name)}
	for _, a := range addrs {
		p.Addrs = append(p.Addrs, netip.MustParsePrefix(a))
	}
	p.MAC = overlay.MACOf(network, p.Addrs[0].Addr())
	return p
}

// remote is p as the other hosts know it.
func remote(p overlay.Port, at netip.Addr) overlay.Remote {
	r := overlay.Remote{MAC: p.MAC, VTEP: at}
	for _, a := range p.Addrs {
		r.Addrs = append(r.Addrs, a.Addr())
	}
	return r
}

// fetch does what Docker does after Join: it takes the container end into the
// sandbox, renames it and gives it its addresses.
func (h *host) fetch(p overlay.Port) *container {
	h.tb.Helper()
	c := &container{ns: netns.New(h.tb), port: p}
	c.port.Sandbox = c.ns.Path()
	name := overlay.ContainerLink(p.Endpoint)
	f, err := os.Open(c.ns.Path())
	if err != nil {
		h.tb.Fatal(err)
	}
	defer f.Close()
	h.ns.Netlink(func(nl *netlink.Handle) error {
		l, err := nl.LinkByName(name)
		if err != nil {
			return fmt.Errorf("container end %s: %w", name, err)
		}
		return nl.LinkSetNsFd(l, int(f.Fd()))
	})
	c.ns.Netlink(func(nl *netlink.Handle) error {
		l, err := nl.LinkByName(name)
		if err != nil {
			return err
		}
		return nl.LinkSetName(l, "eth0")
	})
	for _, a := range p.Addrs {
		c.ns.Addr("eth0", a.String())
	}
	c.ns.Up("eth0")
	h.settle(p)
	c.listen()
	return c
}

// listen waits until the container takes part in neighbour discovery for its
// IPv6 addresses, which the kernel begins in a worker as well.
func (c *container) listen() {
	c.ns.Netlink(func(*netlink.Handle) error {
		for _, a := range c.port.Addrs {
			if !a.Addr().Is6() {
				continue
			}
			group := ip("ff02::1:ff00:0").As16()
			own := a.Addr().As16()
			copy(group[13:], own[13:])
			for start := time.Now(); ; {
				out, _ := run(c.ns, "ip", "-6", "maddr", "show", "dev", "eth0")
				if strings.Contains(out, netip.AddrFrom16(group).String()) {
					break
				}
				if time.Since(start) > 10*time.Second {
					return fmt.Errorf("%s does not listen for solicitations:\n%s", a, out)
				}
			}
		}
		return nil
	})
}

func (h *host) networkOf(p overlay.Port) string {
	h.tb.Helper()
	for _, n := range h.cfg.Networks {
		for _, have := range n.Ports {
			if have.Endpoint == p.Endpoint {
				return n.ID
			}
		}
	}
	h.tb.Fatalf("no network has endpoint %s", p.Endpoint)
	return ""
}

// settle waits until the kernel has noticed that the container end is up and
// lets its bridge port forward. It does so in a worker that waits for the same
// lock as a namespace that dies: 0.1 ms, or some tens of them when one does.
func (h *host) settle(p overlay.Port) {
	h.tb.Helper()
	start, network := time.Now(), h.networkOf(p)
	for {
		var up bool
		h.netlink(network, func(n *netlink.Handle) error {
			l, err := n.LinkByName(overlay.PortLink(p.Endpoint))
			up = err == nil && l.Attrs().OperState == netlink.OperUp
			return err
		})
		if up {
			if d := time.Since(start); d > 20*time.Millisecond {
				h.tb.Logf("the port of %s forwarded after %v", p.MAC, d)
			}
			return
		}
		if time.Since(start) > 10*time.Second {
			h.tb.Fatalf("the port of %s does not forward", p.MAC)
		}
	}
}

// arrive is what follows when the container's link is up.
func (h *host) arrive(p overlay.Port) {
	h.tb.Helper()
	if err := h.dp.AwaitCarrier(h.tb.Context(), h.networkOf(p), p.Endpoint); err != nil {
		h.tb.Fatal(err)
	}
	if r := h.set(); r.Repairs != 0 {
		h.tb.Errorf("an arrival is taken for drift: %q", r.Repaired)
	}
}

// run runs a command in the container and gives its output and whether it succeeded.
func run(ns *netns.NS, args ...string) (string, bool) {
	out, err := exec.Command("nsenter", append([]string{"--net=" + ns.Path()}, args...)...).CombinedOutput()
	return string(out), err == nil
}

func runHere(args ...string) (string, bool) {
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	return string(out), err == nil
}

func must(tb testing.TB, ns *netns.NS, args ...string) string {
	tb.Helper()
	out, ok := run(ns, args...)
	if !ok {
		tb.Fatalf("%s: %s", strings.Join(args, " "), out)
	}
	return out
}

// pings sends one packet and says whether it was answered within a second.
func (c *container) pings(addr netip.Addr, args ...string) bool { return pings(c.ns, addr, args...) }

// pingsAgain is pings after a repair: the kernel may still be busy with what died,
// and one answer to three packets does.
func (c *container) pingsAgain(addr netip.Addr) bool { return c.pings(addr, "-c3", "-i0.5") }

func pings(ns *netns.NS, addr netip.Addr, args ...string) bool {
	_, ok := run(ns, append([]string{"ping", "-c1", "-W1", "-n", addr.String()}, args...)...)
	return ok
}

// path is where a network's namespace is mounted.
func (h *host) path(network string) string {
	return filepath.Join(h.dir, overlay.Namespace(network))
}

// netlink calls f with a handle of a network's namespace.
func (h *host) netlink(network string, f func(*netlink.Handle) error) {
	h.tb.Helper()
	netns.In(h.tb, h.path(network), func(ns *netns.NS) { ns.Netlink(f) })
}

// spread makes one network over the hosts with one container on each, all
// knowing each other. Container i has 10.9.0.i and fd00:9::i.
func spread(tb testing.TB, hosts []*host, guarded bool) []*container {
	tb.Helper()
	const id = "net1"
	mtu := 1500 - overlay.Overhead(hosts[0].cfg.VTEP)
	var ports []overlay.Port
	for _, h := range hosts {
		ports = append(ports, port(id, fmt.Sprint("c", h.n), fmt.Sprintf("10.9.0.%d/24", h.n), fmt.Sprintf("fd00:9::%d/64", h.n)))
	}
	var out []*container
	for i, h := range hosts {
		n := overlay.NetworkConfig{ID: id, VNI: 4097, MTU: mtu, Guarded: guarded, Ports: ports[i : i+1 : i+1]}
		for j, other := range hosts {
			if i == j {
				continue
			}
			n.Remotes = append(n.Remotes, remote(ports[j], other.cfg.VTEP))
			n.Flood = append(n.Flood, other.cfg.VTEP)
			n.Members = append(n.Members, other.cfg.VTEP)
		}
		slices.SortFunc(n.Remotes, func(a, b overlay.Remote) int { return slices.Compare(a.MAC[:], b.MAC[:]) })
		h.cfg.Networks = []overlay.NetworkConfig{n}
		h.set()
		c := h.fetch(ports[i])
		out = append(out, c)
		h.cfg.Networks[0].Ports = []overlay.Port{c.port}
		h.set()
	}
	return out
}

func ip(s string) netip.Addr { return netip.MustParseAddr(s) }
