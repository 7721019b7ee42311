package registry_test

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/weft-net/weft/driver/registry/registrytest"
	"github.com/weft-net/weft/kvstore"
)

// Who is told that a host leaves must not find it back, so a host that cannot
// tell the store refuses, at the first moment too.
func TestNoHostLeavesWithoutTheStore(t *testing.T) {
	var cut atomic.Bool
	h1 := newMachine(t, "h1", cutOff(registrytest.OpenStore(t, "cluster.db"), &cut))
	n := h1.create("d1", want(subnetA))
	h1.do("rebuild", h1.Rebuilt(t.Context())) // it is new, and has lost nothing
	eventually(t, "it may leave", func() bool { return h1.Departure().MayLeave(t.Context(), false) == nil })

	cut.Store(true)
	for _, force := range []bool{false, true} {
		err := h1.Departure().MayLeave(t.Context(), force)
		if !errors.Is(err, kvstore.ErrUnavailable) || !strings.Contains(err.Error(), "`weft host forget h1` on another host") {
			t.Errorf("without a store, forced: %v, it is told %v", force, err)
		}
	}
	cut.Store(false)
	eventually(t, "it may leave again", func() bool { return h1.Departure().MayLeave(t.Context(), false) == nil })

	h1.join("e1", n.ID, "10.1.0.2")
	if err := h1.Departure().MayLeave(t.Context(), false); err == nil || !strings.Contains(err.Error(), "--force") {
		t.Errorf("with a container it is told %v", err)
	}
	h1.do("leave by force", h1.Departure().MayLeave(t.Context(), true))
}

// A claim that the store carries out after the host has left would hold its
// address for ever: the host does not look after it, and nobody reaps a host
// that has left.
func TestNoClaimOutlivesLeaving(t *testing.T) {
	cluster := registrytest.OpenStore(t, "cluster.db")
	h1, h2 := newMachine(t, "h1", cluster), newMachine(t, "h2", cluster)
	eventually(t, "h2 may claim", h2.mayClaim)
	checks, _, err := h2.Claims().Admit()
	h2.do("admit", err)
	late := append([]kvstore.Op{{Kind: kvstore.CAS, Key: "addr/10.1.0.0_24/10.1.0.200", Value: []byte(`{"h":"h2","i":"x","e":1}`)}}, checks...)
	late = append(late, h2.Claims().Fence()...)
	h2.stop()
	h2.do("leave", h2.Departure().Retire(t.Context()))
	if _, err := cluster.Txn(t.Context(), late...); !errors.Is(err, kvstore.ErrConflict) {
		t.Errorf("a claim that came after the host had left was carried out: %v", err)
	}
	eventually(t, "h1 has forgotten h2", func() bool { return len(h1.HostStates()) == 0 })
	h2.start(cluster)
	eventually(t, "h2 may claim again", func() bool {
		_, err := cluster.Txn(t.Context(), h2.Claims().Fence()...)
		return err == nil && h2.mayClaim()
	})
	eventually(t, "h1 knows it again", func() bool { return len(h1.HostStates()) == 1 })
}
