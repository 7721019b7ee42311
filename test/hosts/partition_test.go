package hosts

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// cutOff separates h3 from everybody.
func cutOff(t *testing.T) {
	t.Helper()
	for _, other := range []string{"h1", "h2", "consul1"} {
		if err := cluster.Cut(t.Context(), "h3", other); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { _ = cluster.Heal(t.Context()) })
}

// hostState is what weft on h1 says of h3.
func hostState(t *testing.T) string {
	t.Helper()
	for _, h := range weft[[]struct{ Name, State string }](t, "h1", "host", "ls") {
		if h.Name == "h3" {
			return h.State
		}
	}
	return "gone"
}

// A host that was only cut off keeps its addresses, if nobody freed them.
func TestAHostThatWasCutOffComesBack(t *testing.T) {
	n := network(t, "h1")
	mirrored(t, "h3", n)
	a, c := container(t, "h1", n), container(t, "h3", n)
	a.pings(c.ip())
	cutOff(t)
	eventually(t, 40*time.Second, "h3 is down for h1", func() error {
		if s := hostState(t); s == "live" {
			return fmt.Errorf("it is %s", s)
		}
		return nil
	})
	if err := cluster.Heal(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, 15*time.Second, "traffic goes again", func() error {
		_, err := cluster.Host("h1").Docker(t.Context(), "exec", a.Name, "ping", "-c1", "-W1", c.ip())
		return err
	})
}

// One whose addresses were freed and taken meanwhile loses the container, not
// the address its new owner.
func TestAHostThatWasForgottenComesBackWithoutAClash(t *testing.T) {
	n := network(t, "h1", "--subnet", "10.80.0.0/24")
	mirrored(t, "h2", n)
	mirrored(t, "h3", n)
	a, kept, lost := container(t, "h1", n), container(t, "h3", n), container(t, "h3", n)
	address := lost.ip()
	a.pings(address)
	cutOff(t)
	eventually(t, 40*time.Second, "h3 may be forgotten", func() error {
		_, err := cluster.Host("h1").Run(t.Context(), "weft", "host", "forget", "h3")
		return err
	})
	owner := container(t, "h2", n, "--ip", address)
	a.pings(address)
	if err := cluster.Heal(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, 30*time.Second, "h3 is live again", func() error {
		if s := hostState(t); s != "live" {
			return fmt.Errorf("it is %s", s)
		}
		return nil
	})
	eventually(t, 15*time.Second, "the container that lost its address is out of the network", func() error {
		list := docker(t, "h3", "network", "inspect", "-f", "{{range .Containers}}{{.Name}} {{end}}", n)
		if slices.Contains(strings.Fields(list), lost.Name) {
			return fmt.Errorf("h3's network has %s", list)
		}
		return nil
	})
	eventually(t, 15*time.Second, "the other one is reached again", func() error {
		_, err := cluster.Host("h1").Docker(t.Context(), "exec", a.Name, "ping", "-c1", "-W1", kept.ip())
		return err
	})
	a.pings(address)
	if got := owner.ip(); got != address {
		t.Errorf("the new owner has %s, want %s", got, address)
	}
}
