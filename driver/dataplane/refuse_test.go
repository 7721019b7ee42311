package dataplane_test

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/test/netns"
)

// atOnce is sooner than TCP repeats a packet, which it does after a second.
const atOnce = 800 * time.Millisecond

// connects tries to reach a port and gives the error, or that it took too long.
func connects(ns *netns.NS, network string, to netip.Addr) (err error) {
	ns.Do(func() error {
		var c net.Conn
		if c, err = net.DialTimeout(network, netip.AddrPortFrom(to, 7000).String(), atOnce); err != nil {
			return nil
		}
		defer c.Close()
		if network == "udp" {
			_ = c.SetDeadline(time.Now().Add(atOnce))
			if _, err = c.Write([]byte("?")); err == nil {
				_, err = c.Read(make([]byte, 1))
			}
		}
		return nil
	})
	return err
}

// refused says whether the error is that nobody is there, at once.
func refused(err error) bool {
	return errors.Is(err, unix.ECONNREFUSED) || errors.Is(err, unix.EHOSTUNREACH)
}

// hold makes addresses stock of host at, for it and all others.
func hold(hosts []*host, at int, addrs ...string) {
	for i, h := range hosts {
		n := &h.cfg.Networks[0]
		n.Remotes = slices.Clone(n.Remotes)
		for _, a := range addrs {
			if i == at {
				n.Gone = append(n.Gone, ip(a))
			} else {
				n.Remotes = append(n.Remotes, overlay.Remote{MAC: overlay.MACOf(n.ID, ip(a)), VTEP: hosts[at].cfg.VTEP, Addrs: []netip.Addr{ip(a)}})
			}
		}
		slices.SortFunc(n.Gone, netip.Addr.Compare)
		slices.SortFunc(n.Remotes, func(a, b overlay.Remote) int { return slices.Compare(a.MAC[:], b.MAC[:]) })
		h.set()
	}
	hosts[at].refusing()
}

// refusing waits until the kernel has noticed that the pair is up, see settle.
func (h *host) refusing() {
	h.tb.Helper()
	for start := time.Now(); ; {
		var up bool
		h.netlink("net1", func(n *netlink.Handle) error {
			l, err := n.LinkByName(overlay.RefusePort)
			up = err == nil && l.Attrs().OperState == netlink.OperUp
			return nil
		})
		if up || len(h.cfg.Networks[0].Gone) == 0 || !h.cfg.Networks[0].Guarded {
			return
		}
		if time.Since(start) > 10*time.Second {
			h.tb.Fatal("nothing is refused")
		}
	}
}

func TestAddressesThatNoContainerHasAreRefusedAtOnce(t *testing.T) {
	for _, underlay := range []string{"IPv4", "IPv6"} {
		hosts := newHosts(t, 2)
		if underlay == "IPv6" {
			hosts[0].cfg.VTEP, hosts[1].cfg.VTEP = ip("2001:db8::1"), ip("2001:db8::2")
		}
		c := spread(t, hosts, true)
		hold(hosts, 0, "10.9.0.77", "fd00:9::77")
		for i, from := range c {
			for _, to := range []string{"10.9.0.77", "fd00:9::77"} {
				for _, network := range []string{"tcp", "udp"} {
					if err := connects(from.ns, network, ip(to)); !refused(err) {
						t.Errorf("%s underlay: %s to %s from host %d: %v", underlay, network, to, i+1, err)
					}
				}
				if out, _ := run(from.ns, "ping", "-c1", "-W2", "-n", to); !strings.Contains(strings.ToLower(out), "unreachable") {
					t.Errorf("%s underlay: ping %s from host %d:\n%s", underlay, to, i+1, out)
				}
			}
		}
		if !c[0].pings(ip("10.9.0.2")) || !c[1].pings(ip("fd00:9::1")) {
			t.Error("containers do not reach each other")
		}
		for _, h := range hosts {
			if r := h.verify(); r.Repairs != 0 {
				t.Errorf("host %d: repaired what was right: %q", h.n, r.Repaired)
			}
		}
	}
}

// A container goes as Docker takes it away, while others go on connecting to it.
func TestAContainerThatGoesIsRefusedFromLeaveOn(t *testing.T) {
	hosts := newHosts(t, 2)
	c := spread(t, hosts, true)
	hold(hosts, 0, "10.9.0.77")
	own := port("net1", "short", "10.9.0.50/24", "fd00:9::50/64")
	own.MAC = overlay.MAC{2, 1, 2, 3, 4, 5} // the user's choice
	n := &hosts[0].cfg.Networks[0]
	n.Ports = append(slices.Clone(n.Ports), own)
	hosts[0].set()
	short := hosts[0].fetch(own)
	there := remote(own, hosts[0].cfg.VTEP)
	hosts[1].cfg.Networks[0].Remotes = append(slices.Clone(hosts[1].cfg.Networks[0].Remotes), there)
	slices.SortFunc(hosts[1].cfg.Networks[0].Remotes, func(a, b overlay.Remote) int { return slices.Compare(a.MAC[:], b.MAC[:]) })
	hosts[1].set()
	ask := func(when string) {
		t.Helper()
		for i, from := range c {
			for _, to := range []string{"10.9.0.50", "fd00:9::50"} {
				if err := connects(from.ns, "tcp", ip(to)); !refused(err) {
					t.Errorf("%s, from host %d to %s: %v", when, i+1, to, err)
				}
			}
		}
	}
	ask("before") // nobody listens there
	n.Ports = slices.Clone(n.Ports)
	n.Ports[1].Keep = true
	n.Gone = []netip.Addr{ip("10.9.0.50"), ip("10.9.0.77"), ip("fd00:9::50")}
	hosts[0].set()
	ask("after Leave")
	short.ns.Delete()
	ask("without its sandbox")
	ask("without its sandbox")
	hosts[0].verify()
	ask("after a look at everything")
}

// A container that gets an address that was refused is reached by its first packet,
// whatever MAC others have heard of.
func TestAnAddressThatWasRefusedIsReachableAtOnce(t *testing.T) {
	for name, change := range map[string]func(p *overlay.Port){
		"the address's MAC": func(*overlay.Port) {},
		"another MAC":       func(p *overlay.Port) { p.MAC = overlay.MAC{2, 1, 2, 3, 4, 5} },
	} {
		t.Run(name, func(t *testing.T) {
			hosts := newHosts(t, 2)
			c := spread(t, hosts, true)
			hold(hosts, 0, "10.9.0.50", "fd00:9::50")
			targets := []netip.Addr{ip("10.9.0.50"), ip("fd00:9::50")}
			for _, from := range c {
				for _, to := range targets {
					if err := connects(from.ns, "tcp", to); !refused(err) {
						t.Fatalf("%s is not refused: %v", to, err)
					}
				}
			}
			next := port("net1", "next", "10.9.0.50/24", "fd00:9::50/64")
			change(&next)
			n := &hosts[0].cfg.Networks[0]
			n.Ports, n.Gone = append(slices.Clone(n.Ports), next), nil
			hosts[0].set()
			far := &hosts[1].cfg.Networks[0]
			far.Remotes = slices.DeleteFunc(slices.Clone(far.Remotes), func(r overlay.Remote) bool { return slices.Contains(targets, r.Addrs[0]) })
			hosts[1].set() // the records may say for a moment that it is nobody's
			far.Remotes = append(slices.Clone(far.Remotes), remote(next, hosts[0].cfg.VTEP))
			slices.SortFunc(far.Remotes, func(a, b overlay.Remote) int { return slices.Compare(a.MAC[:], b.MAC[:]) })
			hosts[1].set()
			server := hosts[0].fetch(next)
			server.ns.Do(func() error {
				l, err := net.Listen("tcp", ":7000")
				if err == nil {
					t.Cleanup(func() { l.Close() })
				}
				return err
			})
			for i, from := range c {
				for _, to := range targets {
					if err := connects(from.ns, "tcp", to); err != nil {
						t.Errorf("%s from host %d: %v", to, i+1, err)
					}
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

func TestNobodyAnswersForAnotherHostsAddress(t *testing.T) {
	hosts := newHosts(t, 3)
	c := spread(t, hosts, true)
	hold(hosts, 0, "10.9.0.77")
	hold(hosts, 1, "10.9.0.78")
	hosts[1].cfg.Networks[0].Gone = nil // as a host that refuses nothing
	hosts[1].set()
	for i, from := range c {
		if err := connects(from.ns, "tcp", ip("10.9.0.78")); err == nil || refused(err) {
			t.Errorf("from host %d: %v", i+1, err)
		}
		if err := connects(from.ns, "tcp", ip("10.9.0.99")); err == nil || refused(err) {
			t.Errorf("nobody's address, from host %d: %v", i+1, err)
		}
	}
}

// Where containers may send from any address, an address that weft gave to nobody
// may be somebody's.
func TestNothingIsRefusedInAnUnguardedNetwork(t *testing.T) {
	hosts := newHosts(t, 1)
	c := spread(t, hosts, false)
	hold(hosts, 0, "10.9.0.77")
	if err := connects(c[0].ns, "tcp", ip("10.9.0.77")); err == nil || refused(err) {
		t.Errorf("got %v", err)
	}
}

func TestManyAddressesAreRefused(t *testing.T) {
	hosts := newHosts(t, 1)
	c := spread(t, hosts, true)
	n := &hosts[0].cfg.Networks[0]
	for a := ip("10.9.4.0"); a.Less(ip("10.9.24.0")); a = a.Next() {
		n.Gone = append(n.Gone, a)
	}
	began := time.Now()
	hosts[0].set()
	hosts[0].refusing()
	t.Logf("%d addresses took %v", len(n.Gone), time.Since(began))
	c[0].ns.Addr("eth0", "10.9.0.1/16")
	if err := connects(c[0].ns, "tcp", n.Gone[len(n.Gone)-1]); !refused(err) {
		t.Errorf("got %v", err)
	}
	if r := hosts[0].verify(); r.Repairs != 0 {
		t.Errorf("repaired what was right: %d", r.Repairs)
	}
}

func TestAKernelThatCannotRefuseGoesWithout(t *testing.T) {
	hosts := newHosts(t, 1)
	c := spread(t, hosts, true)
	hold(hosts, 0, "10.9.0.77")
	hosts[0].dp.CannotRefuse()
	hosts[0].verify()
	if err := connects(c[0].ns, "tcp", ip("10.9.0.77")); err == nil || refused(err) {
		t.Errorf("got %v", err)
	}
	if out := must(t, c[0].ns, "ip", "neigh", "show", "10.9.0.77"); strings.Contains(out, "REACHABLE") {
		t.Errorf("ARP is answered although nothing is refused: %s", out)
	}
}

func TestRefusalsAreRepaired(t *testing.T) {
	for what, harm := range map[string][]string{
		"the pair is gone":   {"ip", "link", "del", "rf0"},
		"one end is down":    {"ip", "link", "set", "rf1", "down"},
		"it is no port":      {"ip", "link", "set", "rf0", "nomaster"},
		"a rule is gone":     {"nft", "flush", "chain", "netdev", "weft", "rf1"},
		"the chain is gone":  {"nft", "delete", "chain", "netdev", "weft", "rf1"},
		"the table is gone":  {"nft", "delete", "table", "netdev", "weft"},
		"the bridge is gone": {"ip", "link", "del", "br0"},
		"broadcast is sent":  {"bridge", "link", "set", "dev", "rf0", "bcast_flood", "on"},
	} {
		t.Run(what, func(t *testing.T) {
			hosts := newHosts(t, 1)
			c := spread(t, hosts, true)
			hold(hosts, 0, "10.9.0.77", "fd00:9::77")
			netns.In(t, hosts[0].path("net1"), func(ns *netns.NS) { must(t, ns, harm...) })
			if r := hosts[0].verify(); r.Repairs == 0 {
				t.Error("nothing was repaired")
			}
			hosts[0].refusing()
			if err := connects(c[0].ns, "tcp", ip("10.9.0.77")); !refused(err) {
				t.Errorf("got %v", err)
			}
			if r := hosts[0].verify(); r.Repairs != 0 {
				t.Errorf("repaired again: %q", r.Repaired)
			}
		})
	}
}

// From Join on the container's address is known everywhere, and Docker takes a while
// to bring its link up. Who has the address from before does not wait for that, and is
// let in as soon as the link is up.
func TestAContainerThatHasNotArrivedIsRefused(t *testing.T) {
	hosts := newHosts(t, 2)
	c := spread(t, hosts, true)
	hold(hosts, 0, "10.9.0.50", "10.9.0.77", "fd00:9::50")
	comes := port("net1", "comes", "10.9.0.50/24", "fd00:9::50/64")
	ask := func(when string) {
		t.Helper()
		for i, from := range c {
			for _, to := range comes.Addrs {
				for _, network := range []string{"tcp", "udp"} {
					if err := connects(from.ns, network, to.Addr()); !refused(err) {
						t.Errorf("%s, %s from host %d to %s: %v", when, network, i+1, to, err)
					}
				}
			}
		}
	}
	ask("in stock")
	n := &hosts[0].cfg.Networks[0]
	n.Ports, n.Gone = append(slices.Clone(n.Ports), comes), []netip.Addr{ip("10.9.0.77")}
	hosts[0].set()
	there := &hosts[1].cfg.Networks[0]
	there.Remotes = slices.DeleteFunc(slices.Clone(there.Remotes), func(r overlay.Remote) bool {
		return slices.Contains(r.Addrs, ip("10.9.0.50")) || slices.Contains(r.Addrs, ip("fd00:9::50"))
	})
	there.Remotes = append(there.Remotes, remote(comes, hosts[0].cfg.VTEP))
	slices.SortFunc(there.Remotes, func(a, b overlay.Remote) int { return slices.Compare(a.MAC[:], b.MAC[:]) })
	hosts[1].set()
	ask("before its link is in its sandbox")
	if r := hosts[0].verify(); r.Repairs != 0 {
		t.Errorf("repaired what was right: %q", r.Repaired)
	}
	ask("after a look at everything")
	here := hosts[0].fetch(comes)
	for i, from := range c {
		for _, to := range comes.Addrs {
			if !from.pings(to.Addr()) {
				t.Errorf("the container of host %d does not reach the new one at %s", i+1, to)
			}
		}
	}
	must(t, here.ns, "ip", "link", "set", "eth0", "down")
	for hosts[0].arrived("net1", comes) { // the kernel may take a second to notice
		time.Sleep(10 * time.Millisecond)
	}
	hosts[0].verify() // for the fast path
	ask("when its link is down again")
}
