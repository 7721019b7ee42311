package names

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

func TestNamesOfContainersOnOtherHosts(t *testing.T) {
	n := network(t, "ov_net1", "--ipv6")
	one := start(t, "h1", "bbox1", "--network", n)
	two := start(t, "h2", "bbox2", "--network", n, "--hostname", "myhost", "--network-alias", "web", "--network-alias", "Shop.Example")
	id := docker(t, "h2", "inspect", "-f", "{{.Id}}", "bbox2")
	ip, ip6 := two.ip(n), docker(t, "h2", "inspect", "-f", "{{.NetworkSettings.Networks.ov_net1.GlobalIPv6Address}}", "bbox2")
	reverse, _ := dns.ReverseAddr(ip)
	reverse6, _ := dns.ReverseAddr(ip6)
	one.soon(time.Second, "web", dns.TypeA, ip) // of all names, aliases come last
	for _, b := range []box{one, two} {
		for _, name := range []string{"bbox2", "BBOX2", "bbox2.ov_net1", "web", "web.ov_net1", "shop.example", "myhost", id[:12]} {
			b.finds(name, dns.TypeA, ip)
			b.finds(name, dns.TypeAAAA, ip6)
			b.finds(name, dns.TypeMX, "no data")
		}
		b.finds(reverse, dns.TypePTR, "bbox2.ov_net1.")
		b.finds(reverse6, dns.TypePTR, "bbox2.ov_net1.")
		b.finds("bbox1", dns.TypeA, one.ip(n))
	}
	for _, host := range []string{"bbox2", "bbox2.ov_net1", "web"} {
		if out, err := one.Run("ping", "-c1", "-W2", host); err != nil {
			t.Errorf("ping %s: %v\n%s", host, err, out)
		}
	}
}

func TestAnAliasOfSeveralContainersIsAllOfThem(t *testing.T) {
	n := network(t, "shared")
	one := start(t, "h1", "asks", "--network", n)
	var all []string
	for i, host := range []string{"h1", "h2", "h2"} {
		b := start(t, host, fmt.Sprint("db", i), "--network", n, "--network-alias", "db")
		all = append(all, b.ip(n))
	}
	slices.Sort(all)
	one.soon(time.Second, "db", dns.TypeA, strings.Join(all, " "))
	first := map[string]bool{}
	for range 3 {
		c := &dns.Conn{Conn: one.dial("udp4")}
		if err := c.WriteMsg(new(dns.Msg).SetQuestion("db.", dns.TypeA)); err != nil {
			t.Fatal(err)
		}
		m, err := c.ReadMsg()
		if err != nil {
			t.Fatal(err)
		}
		first[m.Answer[0].(*dns.A).A.String()] = true
		if ttl := m.Answer[0].Header().Ttl; ttl > 5 {
			t.Errorf("answers may be kept for %d s", ttl)
		}
		c.Close()
	}
	if len(first) != 3 {
		t.Errorf("in three answers %v come first", first)
	}
}

func TestNamesFollowTheirContainers(t *testing.T) {
	n, other := network(t, "follow"), network(t, "follow-other")
	one := start(t, "h1", "watcher", "--network", n)
	two := start(t, "h2", "before", "--network", n)
	ip := two.ip(n)
	one.finds("before", dns.TypeA, ip)

	docker(t, "h2", "rename", "before", "after")
	one.soon(time.Second, "after", dns.TypeA, ip)
	one.soon(time.Second, "before.follow", dns.TypeA, "NXDOMAIN")

	docker(t, "h2", "network", "connect", "--alias", "second", other, "after")
	docker(t, "h1", "network", "connect", other, "watcher")
	one.soon(time.Second, "second", dns.TypeA, docker(t, "h2", "inspect", "-f", `{{(index .NetworkSettings.Networks "follow-other").IPAddress}}`, "after"))
	one.finds("after.follow", dns.TypeA, ip)

	docker(t, "h2", "network", "disconnect", n, "after")
	one.soon(time.Second, "after.follow", dns.TypeA, "NXDOMAIN")
	docker(t, "h2", "rm", "-f", "after")
	one.soon(time.Second, "second", dns.TypeA, "NXDOMAIN")
}

func TestNamesOfOtherNetworksAreNotTold(t *testing.T) {
	a, b := network(t, "leak-a"), network(t, "leak-b")
	one := start(t, "h1", "in-a", "--network", a)
	two := start(t, "h2", "in-b", "--network", b, "--network-alias", "secret")
	start(t, "h2", "in-both", "--network", a)
	docker(t, "h2", "network", "connect", b, "in-both")
	for _, name := range []string{"in-b", "in-b.leak-b", "secret"} {
		if got := one.resolve(name, dns.TypeA); got == two.ip(b) {
			t.Errorf("%s is told to a container of another network", name)
		}
	}
	two.soon(time.Second, "in-both", dns.TypeA, docker(t, "h2", "inspect", "-f", `{{(index .NetworkSettings.Networks "leak-b").IPAddress}}`, "in-both"))
	one.finds("in-both", dns.TypeA, docker(t, "h2", "inspect", "-f", `{{(index .NetworkSettings.Networks "leak-a").IPAddress}}`, "in-both"))
}

// A container may be anything; its resolver is asked all the same.
func TestKindsOfContainers(t *testing.T) {
	n := network(t, "kinds")
	target := start(t, "h2", "target", "--network", n)
	ip := target.ip(n)
	for kind, args := range map[string][]string{
		"plain":          {"--network", n},
		"read-only root": {"--network", n, "--read-only"},
		"not root":       {"--network", n, "--user", "1000:1000"},
		"no capability":  {"--network", n, "--cap-drop", "ALL"},
		"dns option":     {"--network", n, "--dns", "198.51.100.11", "--dns-search", "example.com", "--dns-opt", "ndots:3"},
		"hostname":       {"--network", n, "--hostname", "target2"},
	} {
		t.Run(kind, func(t *testing.T) {
			b := start(t, "h1", "kind", args...)
			if out, err := b.Run("nslookup", "-type=a", "target."); err != nil || !strings.Contains(out, ip) {
				t.Errorf("nslookup: %v\n%s", err, out)
			}
			if kind == "no capability" || kind == "not root" {
				return // which ping needs
			}
			if out, err := b.Run("ping", "-c1", "-W2", "target"); err != nil {
				t.Errorf("ping: %v\n%s", err, out)
			}
		})
	}
	t.Run("network of another container", func(t *testing.T) {
		start(t, "h1", "owner", "--network", n)
		b := start(t, "h1", "guest", "--network", "container:owner")
		b.finds("target", dns.TypeA, ip)
	})
	t.Run("connected while running", func(t *testing.T) {
		b := start(t, "h1", "late")
		docker(t, "h1", "network", "connect", n, "late")
		b.finds("target", dns.TypeA, ip)
		docker(t, "h1", "network", "disconnect", n, "late")
		eventually(t, 2*time.Second, "the sandbox is left", b.untouched)
	})
	t.Run("restarted", func(t *testing.T) {
		start(t, "h1", "again", "--network", n)
		docker(t, "h1", "restart", "-t", "0", "again")
		if out := docker(t, "h1", "exec", "again", "nslookup", "-type=a", "target"); !strings.Contains(out, ip) {
			t.Error(out)
		}
	})
	t.Run("internal network", func(t *testing.T) {
		in := network(t, "kinds-internal", "--internal")
		one, two := start(t, "h1", "in1", "--network", in), start(t, "h2", "in2", "--network", in)
		one.finds("in2", dns.TypeA, two.ip(in))
	})
	t.Run("without weft", func(t *testing.T) {
		if err := start(t, "h1", "bridged").untouched(); err != nil {
			t.Error(err)
		}
		docker(t, "h1", "network", "create", "own")
		t.Cleanup(func() { _, _ = cluster.Host("h1").Docker(context.WithoutCancel(t.Context()), "network", "rm", "own") })
		if err := start(t, "h1", "bridged2", "--network", "own").untouched(); err != nil {
			t.Error(err)
		}
	})
}

// untouched says whether weft has nothing in the container's sandbox.
func (b box) untouched() error {
	cmd, err := cluster.Host(b.host).CommandInContainer(b.tb.Context(), b.name, "nft", "list", "tables")
	if err != nil {
		return err
	}
	out, err := cmd.CombinedOutput()
	if err != nil || strings.Contains(string(out), "weft") {
		return fmt.Errorf("%w: tables: %s", err, out)
	}
	return nil
}
