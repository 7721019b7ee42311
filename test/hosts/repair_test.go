package hosts

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/weft-net/weft/test/lab"
)

// What somebody deletes by hand is back within 10 s, and counted.
func TestDeletedByHand(t *testing.T) {
	n := network(t, "h1")
	mirrored(t, "h2", n)
	a, b := container(t, "h1", n), container(t, "h2", n)
	a.pings(b.ip())
	space := "weft-" + networkID(t, "h1", n)
	in := func(args ...string) []string { return append([]string{"ip", "netns", "exec", space}, args...) }
	mac := b.exec("cat", "/sys/class/net/eth0/address")
	port := strings.Fields(run1(t, "h1", in("sh", "-c", "ls /sys/class/net/br0/brif | grep wp")...))[0]
	for _, tt := range []struct {
		name string
		args []string
	}{
		{"the tunnel", in("ip", "link", "del", "vx0")},
		{"the bridge", in("ip", "link", "del", "br0")},
		{"the tunnel, set down", in("ip", "link", "set", "vx0", "down")},
		{"a forwarding entry", in("bridge", "fdb", "del", mac, "dev", "vx0", "self", "dst", cluster.Host("h2").Addr().String())},
		{"a neighbour entry", in("ip", "neigh", "del", b.ip(), "dev", "br0")},
		{"the guard", []string{"nft", "delete", "table", "inet", "weft"}},
		{"the container's port", in("ip", "link", "del", port)},
		{"the namespace", []string{"ip", "netns", "del", space}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := repairs(t, "h1")
			run1(t, "h1", tt.args...)
			eventually(t, 10*time.Second, "it is repaired and counted", func() error {
				_, err := cluster.Host("h1").Docker(t.Context(), "exec", a.Name, "ping", "-c1", "-W1", b.ip())
				if now := repairs(t, "h1"); err == nil && now <= before {
					// A pass that follows a change makes what is missing and does not count it.
					_, _ = cluster.Host("h1").Run(t.Context(), tt.args...) // it may still be gone
					return fmt.Errorf("repairs were %d and are %d", before, now)
				}
				return err
			})
		})
	}
}

func run1(t *testing.T, host string, args ...string) string {
	t.Helper()
	out, err := cluster.Host(host).Run(t.Context(), args...)
	if err != nil {
		t.Fatalf("%s$ %s: %v", host, strings.Join(args, " "), err)
	}
	return out
}

// networkID is weft's id of the network.
func networkID(t *testing.T, host, n string) string {
	t.Helper()
	networks := weft[[]struct{ ID, Name string }](t, host, "network", "ls")
	for _, have := range networks {
		if have.Name == n {
			return have.ID
		}
	}
	t.Fatalf("weft on %s does not know network %s: %+v", host, n, networks)
	return ""
}

func repairs(t *testing.T, host string) uint64 {
	t.Helper()
	return weft[struct{ Passes struct{ Repairs uint64 } }](t, host, "status").Passes.Repairs
}

// Traffic does not notice that weft is killed and comes back, and neither does
// what comes after.
func TestWeftKilled(t *testing.T) {
	h1 := cluster.Host("h1")
	n := network(t, "h1")
	mirrored(t, "h2", n)
	a, b := container(t, "h1", n), container(t, "h2", n)
	pinging := make(chan error, 1)
	go func() {
		out, err := h1.Docker(t.Context(), "exec", a.Name, "ping", "-c40", "-i0.1", "-W1", "-q", b.ip())
		if err == nil && !strings.Contains(out, " 0% packet loss") {
			err = fmt.Errorf("%s", out)
		}
		pinging <- err
	}()
	for range 2 {
		if err := h1.Kill(t.Context(), lab.Weft); err != nil {
			t.Fatal(err)
		}
		if err := h1.Start(t.Context(), lab.Weft); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-pinging; err != nil {
		t.Errorf("packets were lost: %v", err)
	}
	container(t, "h1", n).pings(b.ip())
}

// With the store away, traffic goes on and containers start from stock.
func TestWithoutTheStore(t *testing.T) {
	n := network(t, "h1")
	mirrored(t, "h2", n)
	a, b := container(t, "h1", n), container(t, "h2", n)
	time.Sleep(500 * time.Millisecond) // stock is filled and published
	if err := cluster.Consul(1).Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if !cluster.Consul(1).Running() {
			_ = cluster.Consul(1).Start(t.Context())
		}
	})
	a.pings(b.ip())
	for range 4 {
		c := container(t, "h2", n)
		a.pings(c.ip())
		c.pings(a.ip())
	}
	began := time.Now()
	refused(t, "h1", []string{"store"}, "network", "create", "-d", "weft", "--ipam-driver", "weft", name(t, "bad"))
	// 3 s are weft's, the rest is for Docker and its client on a busy machine.
	if took := time.Since(began); took > 3500*time.Millisecond {
		t.Errorf("the refusal took %s", took)
	}
	if err := cluster.Consul(1).Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, 10*time.Second, "networks can be made again", func() error {
		_, err := cluster.Host("h1").Docker(t.Context(), "network", "create", "-d", "weft", "--ipam-driver", "weft", name(t, "after"))
		return err
	})
	removeNetwork(t, "h1", name(t, "after"))
}

// After everything, the hosts hold nothing of weft's.
func TestNothingIsLeftBehind(t *testing.T) {
	n := network(t, "h1")
	mirrored(t, "h2", n)
	for _, host := range []string{"h1", "h2"} {
		b := container(t, host, n)
		b.Remove()
	}
	for _, host := range []string{"h1", "h2"} {
		eventually(t, 10*time.Second, host+" holds nothing", func() error {
			spaces := run1(t, host, "ip", "netns", "list")
			links := run1(t, host, "ls", "/sys/class/net")
			if strings.Contains(spaces, "weft-") || strings.Contains(links, "wc") || strings.Contains(links, "wp") {
				return fmt.Errorf("namespaces %s, links %s", spaces, links)
			}
			return nil
		})
	}
}
