package registry_test

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/registry"
	"github.com/weft-net/weft/driver/registry/registrytest"
	"github.com/weft-net/weft/kvstore/kvtest"
)

// peerSays gives the incarnation in which m knows the host.
func (m *machine) peerSays(host string) string {
	for _, h := range m.HostStates() {
		if h.Name == host {
			return h.Incarnation
		}
	}
	return ""
}

func TestAHostThatLostItsStateIsNotForgotten(t *testing.T) {
	cluster := registrytest.OpenStore(t, "cluster.db")
	h1, h2 := newMachine(t, "h1", cluster), newMachine(t, "h2", cluster)
	n := h1.create("d1", want(subnetA))
	h1.do("rebuilt", h1.Rebuilt(t.Context()))
	h1.join("running", n.ID, "10.1.0.2")
	h1.join("ended", n.ID, "10.1.0.3")
	eventually(t, "h2 has both", func() bool {
		return h2.peerHas(n.ID, "h1", "running") && h2.peerHas(n.ID, "h1", "ended")
	})

	h1.stop()
	h1.state, h1.remains = registrytest.OpenStore(t, "new.db"), []overlay.Remains{{ID: n.ID, VNI: n.VNI}}
	h1.start(cluster)
	eventually(t, "h2 knows that h1 is another", func() bool { return h2.peerSays("h1") == h1.Self().Incarnation })
	for range 2 { // a process that dies meanwhile changes nothing
		eventually(t, "h1 has read the store", func() bool { _, ready := h1.Rebuilding(); return ready && h1.sees(n.ID) })
		if lost, _ := h1.Rebuilding(); !lost || !h1.Snapshot().Partial {
			t.Error("h1 believes that it has all its records")
		}
		eventually(t, "h1 claims nothing, and says why", func() bool {
			_, _, err := h1.Claims().Admit()
			return errors.Is(err, registry.ErrFrozen) && strings.Contains(err.Error(), "this host's state was lost or set aside")
		})
		for _, id := range []string{"running", "ended"} {
			if !h2.peerHas(n.ID, "h1", id) {
				t.Errorf("h2 has forgotten endpoint %q of h1, which does not know yet", id)
			}
		}
		h1.restart(cluster)
	}

	h1.do("attach", h1.Attach(t.Context(), "d1", n.ID))
	e := endpoint("running", n.ID, "10.1.0.2")
	e.Sandbox = "/run/sandbox/running"
	h1.do("adopt", h1.Adopt(t.Context(), e))
	h1.do("adopt again", h1.Adopt(t.Context(), e))
	if got, _ := h1.Endpoint("running"); got.Phase != overlay.Joined || got.Sandbox != e.Sandbox {
		t.Errorf("the endpoint is recorded as %+v", got)
	}
	if held := h1.Claims().Held()[subnetA]; len(held) != 1 || held[0] != netip.MustParseAddr("10.1.0.2") {
		t.Errorf("the network's addresses here are %v", held)
	}
	h1.do("rebuilt", h1.Rebuilt(t.Context()))
	eventually(t, "h2 forgets what is not there any more", func() bool {
		return h2.peerHas(n.ID, "h1", "running") && !h2.peerHas(n.ID, "h1", "ended")
	})
	h1.restart(cluster)
	if lost, _ := h1.Rebuilding(); lost || h1.Snapshot().Partial {
		t.Error("a host that was rebuilt begins again")
	}
}

// Whoever is asked what a host has, that lost its state, says nothing as long as it does
// not know; from then on all that it had, without the store too, until it has it again.
func TestARebuildingHostTellsNoLessThanItHad(t *testing.T) {
	cluster := registrytest.OpenStore(t, "cluster.db")
	h1, h2 := newMachine(t, "h1", cluster), newMachine(t, "h2", cluster)
	n := h1.create("d1", want(subnetA))
	h1.do("rebuilt", h1.Rebuilt(t.Context()))
	h1.join("running", n.ID, "10.1.0.2")
	eventually(t, "h2 has the endpoint", func() bool { return h2.peerHas(n.ID, "h1", "running") })

	h1.stop()
	var cut atomic.Bool
	cut.Store(true)
	h1.state = registrytest.OpenStore(t, "new.db")
	h1.start(cutOff(cluster, &cut))
	if docs, err := h1.Direct().Documents(t.Context(), 0); !errors.Is(err, registry.ErrRebuilding) {
		t.Errorf("before it knows what it has it tells of %+v, %v", docs.New, err)
	}
	tells := func() bool {
		docs, err := h1.Direct().Documents(t.Context(), 0)
		return err == nil && slices.ContainsFunc(docs.New, func(at overlay.Attachment) bool {
			return at.Network == n.ID && len(at.Endpoints) == 1 && at.Endpoints[0].ID == "running"
		})
	}
	cut.Store(false)
	eventually(t, "it tells of what the store had", tells)
	eventually(t, "it knows the network", func() bool { return h1.sees(n.ID) })
	h1.do("attach", h1.Attach(t.Context(), "d1", n.ID))
	cut.Store(true)
	h1.restart(cutOff(cluster, &cut))
	if !tells() {
		t.Error("without the store the next process tells of less")
	}
}

func TestFullDisk(t *testing.T) {
	cluster := registrytest.OpenStore(t, "cluster.db")
	h1, h2 := newMachine(t, "h1", cluster), newMachine(t, "h2", cluster)
	var full atomic.Bool
	errFull := errors.New("no space left on device")
	h1.state = kvtest.Before(h1.state, func(_ context.Context, r kvtest.Request) error {
		if r.Method == kvtest.Txn && full.Load() {
			return errFull
		}
		return nil
	})
	h1.restart(cluster)
	n := h1.create("d1", want(subnetA))
	h1.join("before", n.ID, "10.1.0.2")
	eventually(t, "h2 has the network", func() bool { return h2.sees(n.ID) })
	h2.do("attach", h2.Attach(t.Context(), "d2", n.ID))

	full.Store(true)
	for what, err := range map[string]error{
		"create endpoint": h1.CreateEndpoint(t.Context(), endpoint("new", n.ID, "10.1.0.3")),
		"adopt":           h1.Adopt(t.Context(), endpoint("new", n.ID, "10.1.0.3")),
		"delete endpoint": h1.DeleteEndpoint(t.Context(), "before"),
		"delete network":  h1.Delete(t.Context(), "d1"),
	} {
		if !errors.Is(err, errFull) {
			t.Errorf("%s: the error is %v", what, err)
		}
	}
	if _, known := h1.Endpoint("new"); known {
		t.Error("an endpoint is known that could not be recorded")
	}
	if e, known := h1.Endpoint("before"); !known || e.Phase != overlay.Joined || !h1.Attached(n.ID) {
		t.Errorf("what could not be recorded has happened: %+v", e)
	}
	if e, err := h1.Leave("before"); err != nil || e.Phase != overlay.Left {
		t.Errorf("leave, which records nothing: %+v, %v", e, err)
	}
	// What the others do is followed all the same.
	h2.join("theirs", n.ID, "10.1.0.9")
	m := h2.create("d3", want(subnetB))
	eventually(t, "h1 follows", func() bool { return h1.peerHas(n.ID, "h2", "theirs") && h1.sees(m.ID) })

	full.Store(false)
	h1.do("create endpoint", h1.CreateEndpoint(t.Context(), endpoint("new", n.ID, "10.1.0.3")))
	eventually(t, "it is kept", func() bool {
		pairs, _, err := h1.state.List(t.Context(), "replica/")
		var all strings.Builder
		for _, p := range pairs {
			all.Write(p.Value)
		}
		return err == nil && strings.Contains(all.String(), `"theirs"`) && strings.Contains(all.String(), m.ID)
	})
}
