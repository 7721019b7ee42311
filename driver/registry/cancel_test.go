package registry_test

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/registry"
	"github.com/weft-net/weft/driver/registry/registrytest"
	"github.com/weft-net/weft/kvstore"
	"github.com/weft-net/weft/kvstore/kvtest"
)

// writes says whether the request writes the key.
func writes(r kvtest.Request, key string) bool {
	return slices.ContainsFunc(r.Ops, func(op kvstore.Op) bool { return op.Key == key && op.Kind == kvstore.CAS })
}

// A removal that is not settled yet is cancelled by a person who makes the network
// again, and by nobody else.
func TestOnlyAPersonCancelsARemoval(t *testing.T) {
	cluster := registrytest.OpenStore(t, "cluster.db")
	var muted atomic.Bool
	mute := kvtest.Mute(cluster, &muted)
	h1, h2 := newMachine(t, "h1", mute), newMachine(t, "h2", cluster)
	n := h1.create("d1", want(subnetA))
	h1.do("name", h1.Name(t.Context(), n.ID, registry.Naming{Name: "net"}))
	muted.Store(true)
	h1.do("delete", h1.Delete(t.Context(), "d1"))

	mirrored := h1.Mirroring(n.ID)
	if _, err := h1.Create(t.Context(), "d2", overlay.Network{VNI: n.VNI, Subnets: n.Subnets}); err == nil || !strings.Contains(err.Error(), "there is nothing to do") {
		t.Errorf("mirroring brings the network back: %v", err)
	}
	mirrored()
	if err := h1.Attach(t.Context(), "d2", n.ID); err == nil {
		t.Error("the network was taken over while its removal was asked")
	}
	if in := h1.Inventory(); len(in.Live) > 0 || len(in.Docker) > 0 {
		t.Fatalf("h1 has %+v", in)
	}
	h1.create("d3", overlay.Network{ID: n.ID, Subnets: n.Subnets})
	muted.Store(false)
	h1.join("e", n.ID, "10.1.0.6")
	eventually(t, "h2 hears of h1 again", func() bool { return h2.peerHas(n.ID, "h1", "e") })
	// Hosts and networks are watched by themselves, so one may be shown before the other.
	eventually(t, "both have the network that its user has made again", func() bool { return h1.sees("net") && h2.sees("net") })
}

// Once the store is asked for a removal, whoever makes the network again is told so,
// since his network would be gone a moment later.
func TestARemovalUnderWayIsNotCancelled(t *testing.T) {
	var removing atomic.Bool
	asked, answer := make(chan struct{}), make(chan struct{})
	h1 := newMachine(t, "h1", kvtest.Before(registrytest.OpenStore(t, "cluster.db"), func(_ context.Context, r kvtest.Request) error {
		if removing.Load() && writes(r, "net/blue") {
			close(asked)
			<-answer
		}
		return nil
	}))
	n := h1.create("d1", overlay.Network{ID: "blue", Subnets: want(subnetA).Subnets})
	removing.Store(true)
	h1.do("delete", h1.Delete(t.Context(), "d1"))
	<-asked
	if _, err := h1.Create(t.Context(), "d2", n); err == nil || !strings.Contains(err.Error(), "try again") {
		t.Errorf("a network that is being removed was made: %v", err)
	}
	removing.Store(false)
	close(answer)
	eventually(t, "the network can be made again", func() bool {
		_, err := h1.Create(t.Context(), "d2", n)
		return err == nil
	})
}

// A network with an id of a person's choice that is removed while Docker is asked for
// its copy does not come back either.
func TestChosenIDRemovedWhileItIsMirrored(t *testing.T) {
	cluster := registrytest.OpenStore(t, "cluster.db")
	h1, h2 := newMachine(t, "h1", cluster), newMachine(t, "h2", cluster)
	n := h1.create("d1", overlay.Network{ID: "blue", Subnets: want(subnetA).Subnets})
	h1.do("name", h1.Name(t.Context(), n.ID, registry.Naming{Name: "net"}))
	eventually(t, "h2 sees the network", func() bool { return h2.sees("net") })
	defer h2.Mirroring(n.ID)()
	h1.do("remove", h1.Delete(t.Context(), "d1"))
	eventually(t, "h2 sees the removal", func() bool { return !h2.sees("net") })
	if got, err := h2.Create(t.Context(), "d2", overlay.Network{ID: n.ID, Subnets: n.Subnets}); err == nil {
		t.Errorf("it came back as %+v", got)
	}
}

// What a host has written itself does not replace what others have written over it
// since, such as a tombstone.
func TestALateAnswerBringsNothingBack(t *testing.T) {
	cluster := registrytest.OpenStore(t, "cluster.db")
	var h1, h2 *machine
	var n overlay.Network
	var naming atomic.Bool
	h1 = newMachine(t, "h1", kvtest.Around(cluster, func(ctx context.Context, r kvtest.Request, do kvtest.Do) (kvtest.Answer, error) {
		a, err := do(ctx)
		if naming.Load() && writes(r, "net/"+n.ID) {
			naming.Store(false)
			h2.do("delete", h2.Delete(t.Context(), "d2"))
			eventually(t, "h1 has the tombstone", func() bool { return !h1.knows(n.ID) })
		}
		return a, err
	}))
	h2 = newMachine(t, "h2", cluster)
	n = h1.create("d1", want(subnetA))
	eventually(t, "h2 sees the network", func() bool { return h2.knows(n.ID) })
	h2.create("d2", overlay.Network{ID: n.ID, Subnets: n.Subnets})
	naming.Store(true)
	h1.do("name", h1.Name(t.Context(), n.ID, registry.Naming{Name: "net"}))
	if h1.knows(n.ID) {
		t.Error("the network is back on h1")
	}
}

// A removal counts even if the store has lost the network meanwhile: others know it.
func TestRemovalOfANetworkThatTheStoreHasLost(t *testing.T) {
	cluster := registrytest.OpenStore(t, "cluster.db")
	var muted atomic.Bool
	mute := kvtest.Mute(cluster, &muted)
	h1, h2 := newMachine(t, "h1", mute), newMachine(t, "h2", mute)
	n := h1.create("d1", want(subnetA))
	h1.do("name", h1.Name(t.Context(), n.ID, registry.Naming{Name: "net"}))
	eventually(t, "h2 sees the network", func() bool { return h2.sees("net") })
	muted.Store(true)
	h1.do("delete", h1.Delete(t.Context(), "d1"))
	for _, key := range []string{"net/" + n.ID, "name/net"} {
		if _, err := cluster.Txn(t.Context(), kvstore.Op{Kind: kvstore.Delete, Key: key}); err != nil {
			t.Fatal(err)
		}
	}
	muted.Store(false)
	eventually(t, "the network is gone on both", func() bool {
		return !h1.Settling(n.ID) && !h1.sees("net") && !h2.sees("net")
	})
}

// knows says whether the machine has the network's record, with a name or without.
func (m *machine) knows(id string) bool {
	_, ok := m.Network(id)
	return ok
}
