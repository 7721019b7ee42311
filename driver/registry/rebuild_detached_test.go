package registry_test

import (
	"slices"
	"sync/atomic"
	"testing"

	"github.com/weft-net/weft/driver/registry/registrytest"
)

// A host that has lost its state is killed before it knows again what it has. What Docker
// has removed meanwhile the next process does not tell of, whether it reaches the store or
// not, and an empty store takes nothing else away.
func TestARebuildingHostForgetsANetworkThatDockerHasRemoved(t *testing.T) {
	cluster, empty := registrytest.OpenStore(t, "cluster.db"), registrytest.OpenStore(t, "empty.db")
	h1, h2 := newMachine(t, "h1", cluster), newMachine(t, "h2", cluster)
	n, m := h1.create("d1", want(subnetA)), h1.create("d2", want(subnetB))
	h1.do("rebuilt", h1.Rebuilt(t.Context()))
	h1.join("e1", n.ID, "10.1.0.2")
	h1.join("e2", m.ID, "10.2.0.2")
	eventually(t, "h2 has both", func() bool { return h2.peerHas(n.ID, "h1", "e1") && h2.peerHas(m.ID, "h1", "e2") })
	h1.stop()
	h1.state = registrytest.OpenStore(t, "new.db")
	h1.start(cluster)
	eventually(t, "h2 knows that h1 is another", func() bool { return h2.peerSays("h1") == h1.Self().Incarnation })
	eventually(t, "h1 knows the networks", func() bool { return h1.sees(n.ID) && h1.sees(m.ID) })

	tells := func(what string, want ...string) {
		t.Helper()
		docs, err := h1.Direct().Documents(t.Context(), 0)
		h1.do("documents", err)
		var got []string
		for _, at := range docs.New {
			for _, e := range at.Endpoints {
				got = append(got, e.ID)
			}
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%s: h1 tells the others of the endpoints %q, not of %q", what, got, want)
		}
	}
	var cut atomic.Bool
	cut.Store(true)
	away := cutOff(cluster, &cut)
	h1.restart(away)
	tells("without the store", "e1", "e2")
	h1.do("attach", h1.Attach(t.Context(), "d2", m.ID))
	h1.do("detach", h1.Detach(t.Context(), "d2"))
	tells("after Docker has removed a network", "e1")
	h1.restart(away)
	tells("the process after that", "e1")
	h1.restart(empty)
	eventually(t, "h1 has read the empty store", func() bool { return h1.Contact().Err == nil })
	tells("with an empty store", "e1")
	h1.do("rebuilt", h1.Rebuilt(t.Context()))
	tells("when it knows what it has")
}
