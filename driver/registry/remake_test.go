package registry_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/registry"
	"github.com/weft-net/weft/driver/registry/registrytest"
	"github.com/weft-net/weft/kvstore"
)

// left is what a host's kernel has of network a, whose other addresses are on
// the hosts with these VTEPs.
func left(vteps ...string) []overlay.Remains {
	r := overlay.Remains{ID: "0123456789ab", VNI: 70000}
	for _, v := range vteps {
		r.Peers = append(r.Peers, netip.MustParseAddr(v))
	}
	return []overlay.Remains{r}
}

// as is a network as a host's Docker and kernel have it.
func as(id, name string, vni uint32, p netip.Prefix) overlay.Network {
	n := want(p)
	n.ID, n.Name, n.VNI, n.Created = id, name, vni, time.Now().UTC().Add(-time.Hour)
	return n
}

var a = as("0123456789ab", "a", 70000, subnetA)

// survivor is a host without records and with something in its kernel, or not.
func survivor(t *testing.T, name, vtep string, cluster kvstore.Store, remains []overlay.Remains) *machine {
	t.Helper()
	m := &machine{t: t, name: name, state: registrytest.OpenStore(t, name+".db"), vtep: vtep, remains: remains}
	m.start(cluster)
	t.Cleanup(func() { m.stop() })
	return m
}

// remade makes the network's record as soon as it may be.
func (m *machine) remade(n overlay.Network) {
	m.t.Helper()
	eventually(m.t, "network "+n.Name+" is recorded by "+m.name, func() bool {
		err := m.Remake(m.t.Context(), n)
		if err != nil && !errors.Is(err, registry.ErrFrozen) {
			m.t.Fatalf("%s: %v", m.name, err)
		}
		return err == nil
	})
}

// Hosts that have nothing but their kernels make one network's record, and nobody
// claims anything, nor takes anything out of a kernel, before all have spoken.
func TestNetworksAreMadeAgainFromKernels(t *testing.T) {
	cluster := registrytest.OpenStore(t, "cluster.db")
	h3 := survivor(t, "h3", "192.0.2.3", cluster, nil) // has no container, and is first
	eventually(t, "h3 may claim", h3.mayClaim)
	h3.do("rebuilt", h3.Rebuilt(t.Context()))
	h1 := survivor(t, "h1", "192.0.2.1", cluster, left("192.0.2.2"))
	h1.remade(a)
	eventually(t, "h3 sees it, and waits", func() bool { return h3.sees("a") && !h3.mayClaim() })
	h1.do("attach", h1.Attach(t.Context(), "d1", a.ID))
	h1.do("adopt", h1.Adopt(t.Context(), endpoint("e1", a.ID, "10.1.0.2")))
	h1.do("rebuilt", h1.Rebuilt(t.Context()))
	eventually(t, "h1 has recorded what it has", func() bool { return h3.peerHas(a.ID, "h1", "e1") })
	for end := time.Now().Add(500 * time.Millisecond); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if h1.mayClaim() || h3.mayClaim() || !h1.Snapshot().Partial {
			t.Fatal("the host at 192.0.2.2 is not waited for")
		}
	}
	eventually(t, "h1 says for whom it waits", func() bool {
		_, _, err := h1.Claims().Admit()
		return err != nil && strings.Contains(err.Error(), "host at 192.0.2.2 has not recorded again")
	})
	none := as("", "b", 0, subnetB)
	if err := h3.Remake(t.Context(), none); !errors.Is(err, registry.ErrFrozen) {
		t.Errorf("a network that no kernel has is recorded: %v", err)
	}

	h2 := survivor(t, "h2", "192.0.2.2", cluster, left("192.0.2.1"))
	h2.remade(a)
	h2.do("attach", h2.Attach(t.Context(), "d2", a.ID))
	h2.do("adopt", h2.Adopt(t.Context(), endpoint("e2", a.ID, "10.1.0.3")))
	if h1.mayClaim() || h2.mayClaim() {
		t.Error("h2, which does not know all it has, is not waited for")
	}
	h2.do("rebuilt", h2.Rebuilt(t.Context()))
	eventually(t, "all may claim", func() bool { return h1.mayClaim() && h2.mayClaim() && h3.mayClaim() })
	for _, m := range []*machine{h1, h2, h3} {
		if n, _ := m.Network("a"); n.ID != a.ID || n.VNI != a.VNI || n.Host != "h1" || m.Snapshot().Partial {
			t.Errorf("%s has %+v", m.name, n)
		}
	}
	eventually(t, "the hosts know each other's endpoints", func() bool {
		return h1.peerHas(a.ID, "h2", "e2") && h2.peerHas(a.ID, "h1", "e1")
	})
	h3.remade(none)
	eventually(t, "h1 has it too", func() bool { return h1.sees("b") })
	h1.remade(none)
	if n, _ := h1.Network("b"); n.Host != "h3" {
		t.Errorf("h1 has made a network of its own: %+v", n)
	}
}

// What is not the same network is refused in a sentence.
func TestWhatCannotBeMadeAgain(t *testing.T) {
	cluster := registrytest.OpenStore(t, "cluster.db")
	h1 := survivor(t, "h1", "192.0.2.1", cluster, left())
	eventually(t, "an epoch has begun", func() bool { return !h1.Inventory().Epoch.IsZero() })
	h1.do("rebuilt", h1.Rebuilt(t.Context()))
	eventually(t, "h1 may claim", h1.mayClaim)
	h1.remade(as("", "taken", 0, subnetA))
	gone := h1.create("d1", want(subnetB))
	h1.do("name", h1.Name(t.Context(), gone.ID, registry.Naming{Name: "gone"}))
	h1.do("delete", h1.Delete(t.Context(), "d1"))
	eventually(t, "it is gone", func() bool { return !h1.sees("gone") })
	vni, _ := h1.Network("taken")
	for sentence, n := range map[string]overlay.Network{
		"has recorded one of that name with 10.1.0.0/24": as("", "taken", 0, subnetB),
		"was removed from the cluster":                   as("", "gone", 0, subnetB),
		"choose another weft.vni":                        as("", "other", vni.VNI, subnetB),
	} {
		if err := h1.Remake(t.Context(), n); err == nil || !strings.Contains(err.Error(), sentence) {
			t.Errorf("%s: %v", n.Name, err)
		}
	}
}

// A host that has had a network all the time knows it better.
func TestTheOriginalStays(t *testing.T) {
	cluster, empty := registrytest.OpenStore(t, "cluster.db"), registrytest.OpenStore(t, "empty.db") // which the machines' end comes before
	h1 := newMachine(t, "h1", cluster)
	n := h1.create("d1", want(subnetA))
	h1.do("name", h1.Name(t.Context(), n.ID, registry.Naming{Name: "a", Labels: map[string]string{"x": "y"}}))
	n, _ = h1.Network("a")
	h1.stop()

	remains := []overlay.Remains{{ID: n.ID, VNI: n.VNI}}
	h2 := survivor(t, "h2", "192.0.2.2", empty, remains)
	again := as(n.ID, "a", n.VNI, subnetA)
	again.Created = n.Created.Add(time.Hour)
	h2.remade(again)
	h1.start(empty)
	for _, m := range []*machine{h1, h2} {
		eventually(t, m.name+" has the original", func() bool {
			got, _ := m.Network("a")
			return got.Labels["x"] == "y" && got.Created.Equal(n.Created) && !got.Rebuilt
		})
	}
}

// As long as a host that has lost its state does not say all that it has, the
// others keep in their kernels what they know of it.
func TestNothingIsTakenOutBeforeItIsKnown(t *testing.T) {
	cluster, empty := registrytest.OpenStore(t, "cluster.db"), registrytest.OpenStore(t, "empty.db")
	h1, h2 := newMachine(t, "h1", cluster), survivor(t, "h2", "192.0.2.2", cluster, nil)
	n := h1.create("d1", want(subnetA))
	h1.do("name", h1.Name(t.Context(), n.ID, registry.Naming{Name: "a"}))
	h1.join("e1", n.ID, "10.1.0.2")
	h2.create("d2", overlay.Network{ID: waitID(t, h2, n), Subnets: n.Subnets})
	h2.join("e2", n.ID, "10.1.0.3")
	h1.do("rebuilt", h1.Rebuilt(t.Context()))
	h2.do("rebuilt", h2.Rebuilt(t.Context()))
	eventually(t, "h2 has e1", func() bool { return h2.peerHas(n.ID, "h1", "e1") && h2.mayClaim() })
	n, _ = h1.Network("a")
	h1.stop()
	h2.stop()

	cluster = empty
	h1.state, h1.remains = registrytest.OpenStore(t, "new.db"), []overlay.Remains{{ID: n.ID, VNI: n.VNI, Peers: []netip.Addr{netip.MustParseAddr("192.0.2.2")}}}
	h1.start(cluster)
	h1.remade(n)
	h1.do("attach", h1.Attach(t.Context(), "d1", n.ID))
	h2.start(cluster)
	look := func() bool {
		s := h2.Snapshot()
		if s.Partial {
			return true
		}
		for _, at := range s.Peers[n.ID] {
			if len(at.Endpoints) > 0 {
				return true
			}
		}
		return false
	}
	for end := time.Now().Add(time.Second); time.Now().Before(end); time.Sleep(50 * time.Microsecond) {
		if !look() {
			t.Fatal("h2 takes out of its kernel what it does not know of any more")
		}
	}
	h1.do("adopt", h1.Adopt(t.Context(), endpoint("e1", n.ID, "10.1.0.2")))
	h1.do("rebuilt", h1.Rebuilt(t.Context()))
	eventually(t, "all is known, and may change", func() bool { return !h2.Snapshot().Partial && h2.peerHas(n.ID, "h1", "e1") })
	if h1.Snapshot().Partial {
		t.Error("h1 keeps what it has")
	}
}
