package hosts

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestContainersReachEachOther(t *testing.T) {
	n := network(t, "h1")
	mirrored(t, "h2", n)
	mirrored(t, "h3", n)
	boxes := []box{container(t, "h1", n), container(t, "h2", n), container(t, "h3", n), container(t, "h1", n)}
	for _, from := range boxes {
		for _, to := range boxes {
			from.pings(to.ip())
		}
	}
	routes := boxes[1].exec("ip", "route")
	if !strings.Contains(routes, "default via") || !strings.Contains(routes, "dev eth1") || !strings.Contains(routes, "dev eth0") {
		t.Errorf("eth0 should be the network's and eth1 the way outside:\n%s", routes)
	}
	if mtu := boxes[1].exec("cat", "/sys/class/net/eth0/mtu"); mtu != "1450" {
		t.Errorf("MTU is %s, want the underlay's less 50", mtu)
	}
	// A packet as large as the MTU arrives whole.
	boxes[0].exec("ping", "-c1", "-W2", "-s", "1422", boxes[1].ip())
}

func TestBothFamilies(t *testing.T) {
	n := network(t, "h1", "--ipv6")
	mirrored(t, "h2", n)
	a, b := container(t, "h1", n), container(t, "h2", n)
	a.pings(b.ip())
	for _, pair := range [][2]box{{a, b}, {b, a}} {
		pair[0].exec("ping", "-6", "-c1", "-W3", pair[1].ip6())
	}
}

func TestConnectAndDisconnect(t *testing.T) {
	n := network(t, "h1")
	mirrored(t, "h2", n)
	a := container(t, "h1", n)
	b := container(t, "h2", "bridge")
	docker(t, "h2", "network", "connect", n, b.Name)
	b.Network = n
	a.pings(b.ip())
	b.pings(a.ip())
	address := b.ip()
	docker(t, "h2", "network", "disconnect", n, b.Name)
	if _, err := cluster.Host("h1").Docker(t.Context(), "exec", a.Name, "ping", "-c1", "-W1", address); err == nil {
		t.Errorf("%s still answers", address)
	}
}

func TestNetworksAreApart(t *testing.T) {
	n1, n2 := namedNetwork(t, "h1", name(t, "a")), namedNetwork(t, "h1", name(t, "b"))
	mirrored(t, "h2", n1)
	mirrored(t, "h2", n2)
	a, b := container(t, "h1", n1), container(t, "h2", n2)
	if _, err := cluster.Host("h1").Docker(t.Context(), "exec", a.Name, "ping", "-c1", "-W1", b.ip()); err == nil {
		t.Error("a container reaches another network")
	}
}

// The first packet to a container that has just started on another host is
// answered.
func TestTheFirstPacketIsAnswered(t *testing.T) {
	n := network(t, "h1")
	mirrored(t, "h2", n)
	a := container(t, "h1", n)
	for i := range 5 {
		b := container(t, "h2", n)
		out, err := cluster.Host("h1").Docker(t.Context(), "exec", a.Name, "ping", "-c1", "-W1", b.ip())
		if err != nil {
			t.Errorf("start %d: %v\n%s", i, err, out)
		}
		b.exec("ping", "-c1", "-W1", a.ip())
	}
}

func TestPublishedPorts(t *testing.T) {
	n := network(t, "h1")
	b := container(t, "h1", n, "-p", "18080:80")
	docker(t, "h1", "exec", "-d", b.Name, "sh", "-c", "while :; do echo hello | nc -l -p 80; done")
	eventually(t, 5*time.Second, "the published port answers", func() error {
		out, err := cluster.Host("h1").Run(t.Context(), "busybox", "nc", "-w", "1", "127.0.0.1", "18080")
		if err == nil && !strings.Contains(out, "hello") {
			err = fmt.Errorf("it answers %q", out)
		}
		return err
	})
}
