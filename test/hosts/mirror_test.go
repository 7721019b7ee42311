package hosts

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weft-net/weft/test/lab"
	"github.com/weft-net/weft/test/lab/labtest"
)

// dockerNetwork is what `docker network inspect` tells and must be the same on
// every host.
type dockerNetwork struct {
	Driver     string
	EnableIPv6 bool
	Internal   bool
	Attachable bool
	Labels     map[string]string
	IPAM       struct {
		Driver string
		Config []struct {
			Subnet, IPRange, Gateway string
			AuxiliaryAddresses       map[string]string
		}
	}
}

// Subnet is its first.
func (n dockerNetwork) Subnet() string { return n.IPAM.Config[0].Subnet }

func inspect(t *testing.T, host, n string) dockerNetwork {
	t.Helper()
	var out []dockerNetwork
	if err := json.Unmarshal([]byte(docker(t, host, "network", "inspect", n)), &out); err != nil {
		t.Fatal(err)
	}
	return out[0]
}

func TestANetworkIsOnEveryHost(t *testing.T) {
	n := network(t, "h1", "--subnet", "10.50.0.0/16", "--gateway", "10.50.0.9", "--ip-range", "10.50.8.0/24",
		"--aux-address", "nas=10.50.8.5", "--ipv6", "--subnet", "fd50::/64", "--gateway", "fd50::1", "--internal", "--attachable",
		"--label", "lab=el", "-o", "com.docker.network.driver.mtu=1400", "-o", "any=thing")
	want := inspect(t, "h1", n)
	for _, host := range []string{"h2", "h3"} {
		mirrored(t, host, n)
		if got := inspect(t, host, n); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s has %+v, h1 has %+v", host, got, want)
		}
	}
}

func TestAnyHostMayCreate(t *testing.T) {
	for i, host := range []string{"h1", "h2", "h3"} {
		n := namedNetwork(t, host, name(t, host))
		for _, other := range []string{"h1", "h2", "h3"} {
			mirrored(t, other, n)
		}
		from := []string{"h2", "h3", "h1"}[i]
		docker(t, from, "network", "rm", n)
		eventually(t, 5*time.Second, n+" is removed from "+host+" too", func() error { return absent(t, host, n) })
	}
}

func absent(t *testing.T, host, n string) error {
	t.Helper()
	if list := docker(t, host, "network", "ls", "--format", "{{.Name}}"); slices.Contains(strings.Fields(list), n) {
		return fmt.Errorf("%s has %s", host, n)
	}
	return nil
}

// A host that was away gets what was made meanwhile, and loses what was removed.
func TestAHostThatJoinsLaterGetsAll(t *testing.T) {
	h3 := cluster.Host("h3")
	old := namedNetwork(t, "h1", name(t, "old"))
	mirrored(t, "h3", old)
	for _, s := range []lab.Service{lab.Dockerd, lab.Weft} {
		if err := h3.Stop(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	docker(t, "h1", "network", "rm", old)
	n := network(t, "h1")
	for _, s := range h3.Services() {
		if err := h3.Start(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	mirrored(t, "h3", n)
	eventually(t, 10*time.Second, "the removed network is removed on h3", func() error { return absent(t, "h3", old) })
}

func TestOneNameOnTwoHostsAtOnce(t *testing.T) {
	for round := range 3 {
		n := name(t, fmt.Sprint(round))
		errs := make(chan error, 2)
		for _, host := range []string{"h1", "h2"} {
			go func() {
				_, err := cluster.Host(host).Docker(t.Context(), "network", "create", "-d", "weft", "--ipam-driver", "weft", n)
				errs <- err
			}()
		}
		if first, second := <-errs, <-errs; first != nil && second != nil {
			t.Errorf("neither host could create it: %v; %v", first, second)
		}
		eventually(t, 10*time.Second, "all hosts have one network of that name", func() error {
			var subnets []string
			for _, h := range cluster.Hosts() {
				out, err := h.Docker(t.Context(), "network", "inspect", "-f", "{{(index .IPAM.Config 0).Subnet}}", n)
				if err != nil {
					return err
				}
				subnets = append(subnets, out)
			}
			if subnets[0] != subnets[1] || subnets[1] != subnets[2] {
				return fmt.Errorf("subnets are %v", subnets)
			}
			return nil
		})
		removeNetwork(t, "h3", n)
	}
}

// A network with a subnet of its user's choice is not replaced by another one: he is
// told, on the host where it is, and both stay until he decides.
func TestOneNameWithTwoSubnetsAtOnce(t *testing.T) {
	subnets := map[string]string{"h1": "10.59.0.0/24", "h2": "10.60.0.0/24"}
	for round := range 5 {
		n := name(t, fmt.Sprint(round))
		var both sync.WaitGroup
		errs := make(chan error, 2)
		for host, subnet := range subnets {
			both.Go(func() {
				_, err := cluster.Host(host).Docker(t.Context(), "network", "create", "-d", "weft", "--ipam-driver", "weft", "--subnet", subnet, n)
				errs <- err
			})
		}
		both.Wait()
		if first, second := <-errs, <-errs; first != nil || second != nil { // it was mirrored already
			t.Logf("a host was too late: %v; %v", first, second)
			removeNetwork(t, "h3", n)
			continue
		}
		mirrored(t, "h3", n)
		winner, loser := "h1", "h2"
		if inspect(t, "h3", n).Subnet() == subnets["h2"] {
			winner, loser = "h2", "h1"
		}
		id := ""
		eventually(t, 10*time.Second, loser+" says that its network is not the cluster's", func() error {
			shown := weft[[]struct{ State, Why string }](t, loser, "network", "inspect", n)[0]
			for _, word := range []string{subnets["h1"], subnets["h2"], "created on host " + winner, "docker network rm "} {
				if shown.State != "conflict" || !strings.Contains(shown.Why, word) {
					return fmt.Errorf("it is %+v, without %q", shown, word)
				}
			}
			_, rest, _ := strings.Cut(shown.Why, "docker network rm ")
			id = rest[:12] // Docker 20.10 may have two of the name
			return nil
		})
		if got := inspect(t, loser, id).Subnet(); got != subnets[loser] {
			t.Errorf("the network of %s has %s, and was made with %s", loser, got, subnets[loser])
		}
		if labtest.Logged(t, cluster.Host(loser), "is not the cluster's of that name") == 0 {
			t.Errorf("the log of %s does not say it", loser)
		}
		docker(t, loser, "network", "rm", id)
		eventually(t, 10*time.Second, loser+" has the cluster's network", func() error {
			out, err := cluster.Host(loser).Docker(t.Context(), "network", "inspect", "-f", "{{(index .IPAM.Config 0).Subnet}}", n)
			if err == nil && out != subnets[winner] {
				err = fmt.Errorf("it has %s", out)
			}
			return err
		})
		removeNetwork(t, "h3", n)
		return
	}
	t.Error("no two hosts were at once")
}

// Another driver's network keeps its name; status says what is in the way, and
// once it is gone the cluster's network takes its place.
func TestAForeignNetworkOfTheName(t *testing.T) {
	n := name(t, "net")
	docker(t, "h2", "network", "create", n)
	namedNetwork(t, "h1", n)
	mirrored(t, "h3", n)
	eventually(t, 5*time.Second, "weft status tells the conflict", func() error {
		status := weft[struct {
			Docker struct{ Conflicts []struct{ Text string } }
		}](t, "h2", "status")
		for _, c := range status.Docker.Conflicts {
			if strings.Contains(c.Text, n) {
				return nil
			}
		}
		return fmt.Errorf("conflicts are %+v", status.Docker.Conflicts)
	})
	if got := inspect(t, "h2", n).Driver; got != "bridge" {
		t.Errorf("the foreign network's driver is %s", got)
	}
	docker(t, "h2", "network", "rm", n)
	eventually(t, 5*time.Second, "h2 has the cluster's network", func() error {
		out, err := cluster.Host("h2").Docker(t.Context(), "network", "inspect", "-f", "{{.Driver}}", n)
		if err == nil && out != "weft" {
			err = fmt.Errorf("its driver is %s", out)
		}
		return err
	})
}

func TestANetworkInUseElsewhereComesBack(t *testing.T) {
	n := network(t, "h1")
	mirrored(t, "h2", n)
	b := container(t, "h2", n)
	a := container(t, "h1", n)
	a.pings(b.ip())
	docker(t, "h3", "network", "rm", n)
	mirrored(t, "h3", n)
	a.pings(b.ip())
	c := container(t, "h3", n)
	c.pings(b.ip())
}
