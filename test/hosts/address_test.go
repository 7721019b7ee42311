package hosts

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/weft-net/weft/test/lab/labtest"
)

func TestAddressesOfAnAutomaticPool(t *testing.T) {
	pool := netip.MustParsePrefix("10.128.0.0/10")
	seen := map[string]bool{}
	for i, host := range []string{"h1", "h2", "h3"} {
		n := namedNetwork(t, host, name(t, fmt.Sprint(i)))
		subnet := netip.MustParsePrefix(docker(t, host, "network", "inspect", "-f", "{{(index .IPAM.Config 0).Subnet}}", n))
		if !pool.Contains(subnet.Addr()) || subnet.Bits() != 24 || seen[subnet.String()] {
			t.Errorf("network %d has %s", i, subnet)
		}
		seen[subnet.String()] = true
	}
}

// Containers started at once on all hosts, explicit addresses among them, never
// share an address, and released ones are used again.
func TestAddressesAreUnique(t *testing.T) {
	n := network(t, "h1", "--subnet", "10.60.0.0/27")
	mirrored(t, "h2", n)
	mirrored(t, "h3", n)
	for round := range 2 { // 24 starts in a pool of 29: each round needs what the other released
		boxes := make(chan box, 12)
		for i := range 12 {
			host := []string{"h1", "h2", "h3"}[i%3]
			go func() {
				b := called(t, host, n, name(t, fmt.Sprintf("%d-%d", round, i)))
				if _, err := cluster.Host(host).Docker(t.Context(), "run", "-d", "--name", b.Name, "--network", n, "busybox", "sleep", "100000"); err != nil {
					t.Errorf("start %d: %v", i, err)
				}
				boxes <- b
			}()
		}
		seen := map[string]string{}
		for range 12 {
			b := <-boxes
			ip := b.ip()
			if by, dup := seen[ip]; dup || ip == "10.60.0.1" {
				t.Errorf("%s and %s have %s", by, b.Name, ip)
			}
			seen[ip] = b.Name
			defer b.Remove()
		}
	}
}

func TestRangeAndExplicitAddresses(t *testing.T) {
	n := network(t, "h1", "--subnet", "10.61.0.0/16", "--ip-range", "10.61.8.0/24", "--aux-address", "nas=10.61.8.5",
		"--ipv6", "--subnet", "fd61::/64")
	mirrored(t, "h2", n)
	ranged := netip.MustParsePrefix("10.61.8.0/24")
	for _, host := range []string{"h1", "h2"} {
		if ip := netip.MustParseAddr(container(t, host, n).ip()); !ranged.Contains(ip) || ip.String() == "10.61.8.5" {
			t.Errorf("%s gave %s", host, ip)
		}
	}
	b := container(t, "h2", n, "--ip", "10.61.200.7", "--ip6", "fd61::77")
	if b.ip() != "10.61.200.7" || b.ip6() != "fd61::77" {
		t.Errorf("got %s and %s", b.ip(), b.ip6())
	}
	a := container(t, "h1", n)
	a.pings("10.61.200.7")
	a.exec("ping", "-6", "-c1", "-W3", "fd61::77")
	eventually(t, 5*time.Second, "h1 knows who has it", func() error {
		out, err := cluster.Host("h1").Run(t.Context(), "weft", "endpoint", "ls", "--network", n)
		if err != nil {
			return fmt.Errorf("%s %w", out, err)
		}
		return nil
	})
	refused(t, "h1", []string{"10.61.200.7", "in use", "h2"}, "run", "--rm", "--network", n, "--ip", "10.61.200.7", "busybox", "true")
	b.Remove()
	c := container(t, "h1", n, "--ip", "10.61.200.7")
	if c.ip() != "10.61.200.7" {
		t.Errorf("a released address is not given again: %s", c.ip())
	}
}

// An address that no container has is had by name, although another host keeps it ahead of
// use, and that host goes on with another.
func TestAnAddressKeptAheadIsHadByName(t *testing.T) {
	n := network(t, "h1", "--subnet", "10.66.0.0/24", "--ipv6", "--subnet", "fd66::/64")
	mirrored(t, "h2", n)
	mirrored(t, "h3", n)
	for asker, keeper := range map[string]string{"h1": "h2", "h2": "h3", "h3": "h1"} {
		kept := labtest.Stock(t, cluster.Host(asker), n, keeper)
		a4 := kept[slices.IndexFunc(kept, netip.Addr.Is4)]
		a6 := kept[slices.IndexFunc(kept, netip.Addr.Is6)]
		b := container(t, asker, n, "--ip", a4.String(), "--ip6", a6.String())
		if b.ip() != a4.String() || b.ip6() != a6.String() {
			t.Errorf("%s has %s and %s of %s, not %s and %s", asker, b.ip(), b.ip6(), keeper, a4, a6)
		}
		container(t, keeper, n).pings(a4.String())
		refused(t, keeper, []string{a4.String(), "in use"}, "run", "--rm", "--network", n, "--ip", a4.String(), "busybox", "true")
	}
}

func TestSeveralSubnets(t *testing.T) {
	// The ranges keep the hosts' stocks off the addresses chosen here.
	n := network(t, "h1", "--subnet", "10.62.0.0/24", "--ip-range", "10.62.0.128/25",
		"--subnet", "10.63.0.0/24", "--ip-range", "10.63.0.128/25")
	mirrored(t, "h2", n)
	a := container(t, "h1", n, "--ip", "10.62.0.10")
	b := container(t, "h2", n, "--ip", "10.63.0.10")
	c := container(t, "h2", n, "--ip", "10.62.0.11")
	a.pings(c.ip())
	if b.ip() != "10.63.0.10" {
		t.Errorf("got %s", b.ip())
	}
}

// debianDocker is the docker command of the lab's dockerd. A newer one refuses
// to send --mac-address to it.
const debianDocker = "/usr/bin/docker"

func TestAChosenMAC(t *testing.T) {
	n := network(t, "h1")
	mirrored(t, "h2", n)
	a, b := called(t, "h1", n, name(t, "h1")), container(t, "h2", n)
	t.Cleanup(a.Remove)
	if _, err := cluster.Host("h1").Run(t.Context(), debianDocker, "run", "-d", "--name", a.Name, "--network", n,
		"--mac-address", "02:00:00:00:77:01", "busybox", "sleep", "100000"); err != nil {
		t.Fatal(err)
	}
	if mac := a.exec("cat", "/sys/class/net/eth0/address"); mac != "02:00:00:00:77:01" {
		t.Errorf("MAC is %s", mac)
	}
	b.pings(a.ip())
	a.pings(b.ip())
}
