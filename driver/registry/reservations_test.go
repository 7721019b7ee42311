package registry_test

import (
	"fmt"
	"testing"

	"github.com/weft-net/weft/driver/registry"
	"github.com/weft-net/weft/driver/registry/registrytest"
)

// The keys of a network's name and VNI are made again when they go alone, by the first
// host, and those of a removed network are not.
func TestKeysThatGoAloneAreMadeAgain(t *testing.T) {
	cluster := registrytest.OpenStore(t, "cluster.db")
	h1, h2 := newMachine(t, "h1", cluster), newMachine(t, "h2", cluster)
	eventually(t, "h2 may claim", h2.mayClaim)
	n := h2.create("d1", want(subnetA))
	h2.do("name it", h2.Name(t.Context(), n.ID, registry.Naming{Name: "web"}))
	gone := h2.create("d2", want(subnetB))
	eventually(t, "both know all of it", func() bool {
		a, known := h1.Network("web")
		_, other := h1.Network(gone.ID)
		return known && other && a.Name == "web" && h1.hostLive("h2") && h2.hostLive("h1")
	})
	h2.do("remove", h2.Delete(t.Context(), "d2"))
	eventually(t, "h1 knows that one is removed", func() bool { _, known := h1.Network(gone.ID); return !known })

	name, vni := "name/web", fmt.Sprintf("vni/%d", n.VNI)
	for _, keys := range [][]string{{name}, {vni}, {name, vni}, {}} {
		for _, key := range keys {
			remove(t, cluster, key)
		}
		h2.do("look", h2.RestoreReservations(t.Context()))
		for _, key := range keys {
			if _, err := cluster.Get(t.Context(), key); err == nil {
				t.Errorf("%s is made again by a host that is not the first", key)
			}
		}
		h1.do("look", h1.RestoreReservations(t.Context()))
		for _, key := range []string{name, vni} {
			if got := read(t, cluster, key); string(got.Value) != n.ID {
				t.Errorf("without %v, %s is %q", keys, key, got.Value)
			}
		}
	}
	if _, err := cluster.Get(t.Context(), fmt.Sprintf("vni/%d", gone.VNI)); err == nil {
		t.Error("the VNI of a removed network is reserved")
	}

	// What another network has is left to it; what a removed one has left is taken over.
	put(t, cluster, name, gone.ID)
	h1.do("look", h1.RestoreReservations(t.Context()))
	if got := read(t, cluster, name); string(got.Value) != n.ID {
		t.Errorf("a removed network keeps %s: %q", name, got.Value)
	}
	put(t, cluster, vni, "strange")
	h1.do("look", h1.RestoreReservations(t.Context()))
	if got := read(t, cluster, vni); string(got.Value) != "strange" {
		t.Errorf("what nobody understands is written over by %q", got.Value)
	}
}
