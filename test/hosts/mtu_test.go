package hosts

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/weft-net/weft/test/lab"
)

// A host with a small way to the others makes a network's MTU smaller for running
// containers elsewhere, and everybody is told who it was.
func TestASmallHostBoundsANetworkAndIsNamed(t *testing.T) {
	n := network(t, "h1")
	fixed := namedNetwork(t, "h1", name(t, "fixed"), "-o", "com.docker.network.driver.mtu=1450")
	mirrored(t, "h3", n)
	mirrored(t, "h3", fixed)
	a, b := container(t, "h1", n), container(t, "h3", n)
	mtu := func(b box, want string) {
		t.Helper()
		eventually(t, 10*time.Second, fmt.Sprintf("%s has MTU %s", b.Name, want), func() error {
			got, err := cluster.Host(b.host).Docker(t.Context(), "exec", b.Name, "cat", "/sys/class/net/eth0/mtu")
			if err == nil && got != want {
				err = fmt.Errorf("it is %s", got)
			}
			return err
		})
	}
	shows := func(host, network, want string) {
		t.Helper()
		eventually(t, 10*time.Second, fmt.Sprintf("weft network inspect %s on %s says %q", network, host, want), func() error {
			out, err := cluster.Host(host).Run(t.Context(), "weft", "network", "inspect", network)
			if err == nil && !strings.Contains(out, want) {
				err = fmt.Errorf("it says\n%s", out)
			}
			return err
		})
	}
	mtu(a, "1450")
	route := func(do string) {
		t.Helper()
		to := cluster.Host("h1").Addr().String()
		if _, err := cluster.Host("h3").Run(context.WithoutCancel(t.Context()), "ip", "route", do, to, "dev", "eth0", "mtu", "1400"); err != nil {
			t.Fatal(err)
		}
	}
	route("add")
	small := true
	t.Cleanup(func() {
		if small {
			route("del")
		}
	})
	mtu(a, "1350")
	mtu(b, "1350")
	shows("h1", n, "1350, what the underlay of host h3 leaves")
	told := func(host string) {
		t.Helper()
		log, err := os.ReadFile(cluster.Host(host).Log(lab.Weft))
		if err != nil {
			t.Fatal(err)
		}
		sentence := fmt.Sprintf("The MTU of network %q goes down from 1450 to 1350", n)
		if times := strings.Count(strings.ReplaceAll(string(log), `\"`, `"`), sentence); times != 1 {
			t.Errorf("the log of %s says %d times %q", host, times, sentence)
		}
	}
	told("h1")
	told("h3")
	a.pings(b.ip())

	// A weft that starts again knows the way to the others before they hear of it.
	if err := cluster.Host("h3").Stop(t.Context(), lab.Weft); err != nil {
		t.Fatal(err)
	}
	if err := cluster.Host("h3").Start(t.Context(), lab.Weft); err != nil {
		t.Fatal(err)
	}
	shows("h3", n, "1350, what the underlay of host h3 leaves")
	container(t, "h3", n).pings(a.ip())
	told("h1")

	shows("h1", fixed, "Too narrow")
	shows("h3", fixed, "narrow")
	late := namedNetwork(t, "h1", name(t, "late"), "-o", "com.docker.network.driver.mtu=1450")
	mirrored(t, "h3", late)
	shows("h3", late, "narrow")
	refused(t, "h3", []string{"1450", "1350"}, "network", "create", "-d", "weft", "--ipam-driver", "weft", "-o", "com.docker.network.driver.mtu=1450", name(t, "bad"))
	container(t, "h3", late)

	route("del")
	small = false
	mtu(a, "1450")
	mtu(b, "1450")
}
