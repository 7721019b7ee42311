package hosts

import (
	"strings"
	"testing"
)

func TestOptionsOfEndpoints(t *testing.T) {
	n := network(t, "h1", "-o", "com.docker.network.container_iface_prefix=lan", "-o", "com.docker.network.bridge.name=br-shop", "-o", "encrypted=false")
	before := state(t)
	b := container(t, "h1", "bridge")
	for _, tt := range []struct {
		option string
		words  []string
	}{
		{"my.opt=v", []string{`option my.opt="v" is refused`, "leave it out"}},
		{"com.docker.network.endpoint.ifname=shop0", []string{"com.docker.network.endpoint.ifname", "com.docker.network.container_iface_prefix"}},
		{"com.docker.network.endpoint.tomorrow=1", []string{"com.docker.network.endpoint.tomorrow", "leave it out"}},
	} {
		refused(t, "h1", tt.words, "network", "connect", "--driver-opt", tt.option, n, b.Name)
	}
	if out, err := cluster.Host("h1").Run(t.Context(), "weft", "endpoint", "ls", "--network", n, "--json"); err != nil || strings.TrimSpace(out) != "[]" {
		t.Errorf("the network has endpoints: %v %s", err, out)
	}
	if after := state(t); after != before {
		t.Errorf("state was\n%s\nand is\n%s", before, after)
	}
	// Docker sets sysctls itself, or is too old to: then they are refused.
	const sysctls = "com.docker.network.endpoint.sysctls=net.ipv4.conf.IFNAME.log_martians=1"
	if out, err := cluster.Host("h1").Docker(t.Context(), "network", "connect", "--driver-opt", sysctls, n, b.Name); err == nil {
		if got := b.exec("cat", "/proc/sys/net/ipv4/conf/lan0/log_martians"); got != "1" {
			t.Errorf("the sysctl was taken, and is %s", got)
		}
	} else if !strings.Contains(err.Error(), "only since version 27") {
		t.Errorf("%v: %s", err, out)
	}
	// What Docker itself sends with a container that has all of it is taken.
	c := container(t, "h1", n, "-p", "18080:80", "--expose", "90/udp", "--dns", "192.0.2.53", "--link-local-ip", "169.254.7.7")
	if links := c.exec("ls", "/sys/class/net"); !strings.Contains(links, "lan0") {
		t.Errorf("interfaces are %s, want lan0", links)
	}
	if addrs := c.exec("ip", "address", "show", "dev", "lan0"); !strings.Contains(addrs, "169.254.7.7") {
		t.Errorf("Docker has not given the link-local address:\n%s", addrs)
	}
	mirrored(t, "h2", n)
	d := container(t, "h2", n)
	c.pings(d.ip())
	// Port isolation drops what has no address of the container's own.
	route, err := cluster.Host("h2").CommandInContainer(t.Context(), d.Name, "ip", "route", "add", "169.254.0.0/16", "dev", "lan0")
	if err != nil {
		t.Fatal(err)
	}
	if out, err := route.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if _, err := cluster.Host("h1").Docker(t.Context(), "exec", c.Name, "ping", "-c1", "-W1", "-I", "169.254.7.7", d.ip()); err == nil {
		t.Error("a packet from the link-local address came through, which docs/options.md denies")
	}
	out, err := cluster.Host("h2").Run(t.Context(), "weft", "network", "inspect", n)
	if err != nil || !strings.Contains(out, "Ignored option") || !strings.Contains(out, "com.docker.network.bridge.name=br-shop: ") {
		t.Errorf("weft network inspect: %v\n%s", err, out)
	}
}
