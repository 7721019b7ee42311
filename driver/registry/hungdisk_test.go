package registry_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/registry/registrytest"
	"github.com/weft-net/weft/kvstore/kvtest"
)

// While the disk hangs, what this host has and what others say is known all the same:
// only what is to be recorded waits.
func TestAHungDiskHoldsNobodyUp(t *testing.T) {
	cluster := registrytest.OpenStore(t, "cluster.db")
	var hangs, waits atomic.Bool
	ends := make(chan struct{})
	h1 := &machine{t: t, name: "h1"}
	h1.state = kvtest.Before(registrytest.OpenStore(t, "h1.db"), func(_ context.Context, r kvtest.Request) error {
		if r.Method == kvtest.Txn && hangs.Load() {
			waits.Store(true)
			<-ends
		}
		return nil
	})
	h1.start(cluster)
	t.Cleanup(func() { h1.stop() })
	h2 := newMachine(t, "h2", cluster)
	n := h1.create("d1", want(subnetA))
	h2.create("d2", overlay.Network{ID: waitID(t, h2, n), Subnets: n.Subnets})
	h1.join("e1", n.ID, "10.1.0.5")
	eventually(t, "h1 sees h2", func() bool { return h1.attachedPeer(n.ID, "h2") })

	hangs.Store(true)
	free := sync.OnceFunc(func() { close(ends) })
	t.Cleanup(free)
	named := make(chan error, 1)
	go func() { named <- h1.NameEndpoint(context.Background(), "e1", []string{"web"}) }()
	eventually(t, "the disk hangs", waits.Load)
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		h1.Self()
		h1.Contact()
		h1.Keyring().Meta()
		h1.Direct().Seq()
		h1.Direct().PushPeers()
		h1.Own()
		if _, ok := h1.Endpoint("e1"); !ok || len(h1.Snapshot().Local) != 1 {
			t.Error("h1 does not know what it has")
		}
	}()
	eventually(t, "h1 answers", func() bool {
		select {
		case <-answered:
			return true
		default:
			return false
		}
	})
	h2.join("e2", n.ID, "10.1.0.6")
	eventually(t, "h1 sees what h2 has since", func() bool { return h1.peerHas(n.ID, "h2", "e2") })
	select {
	case err := <-named:
		t.Errorf("the name was recorded on a disk that hangs: %v", err)
	default:
	}
	free()
	h1.do("name", <-named)
	if e, _ := h1.Endpoint("e1"); e.Name != "web" {
		t.Errorf("after that e1 is %+v", e)
	}
	h1.stop() // with what was to be kept
	h1.start(cluster)
	if !h1.peerHas(n.ID, "h2", "e2") {
		t.Error("what h2 had was not kept for the next start")
	}
}
