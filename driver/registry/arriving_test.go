package registry_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/weft-net/weft/driver/arrival"
	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/registry/registrytest"
)

// A container's address is told from its Join on, and its names when it has arrived.
func TestNamesAreToldWhenTheirContainerHasArrived(t *testing.T) {
	cluster := registrytest.OpenStore(t, "cluster.db")
	h1, h2 := newMachine(t, "h1", cluster), newMachine(t, "h2", cluster)
	h1.stop()
	h1.arrivals = arrival.New()
	h1.start(cluster)
	up := make(chan struct{})
	ctx, end := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		done <- h1.arrivals.Run(ctx, func(ctx context.Context, _, _ string) error {
			select {
			case <-up:
			case <-ctx.Done(): // within seconds, by which a slow machine has not got there
				<-up
			}
			return nil
		}, h1.Arrived)
	}()
	defer func() {
		end()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	n := h1.create("d1", want(subnetA))
	eventually(t, "h2 sees the network", func() bool { _, ok := h2.NetworkOf(subnetA); return ok })
	h2.create("d2", overlay.Network{ID: n.ID, Subnets: n.Subnets})
	began := time.Now()
	h1.join("e1", n.ID, "10.1.0.5")
	h1.do("name", h1.NameEndpoint(t.Context(), "e1", []string{"web", "www"}))
	h1.join("e2", n.ID, "10.1.0.6") // who is told of it is told of all before it

	told := func(id string) (e overlay.PeerEndpoint, ok bool) {
		for _, at := range h2.Snapshot().Peers[n.ID] {
			if i := slices.IndexFunc(at.Endpoints, func(e overlay.PeerEndpoint) bool { return e.ID == id }); i >= 0 {
				return at.Endpoints[i], true
			}
		}
		return e, false
	}
	own := func() overlay.Endpoint {
		all := h1.Snapshot().Local
		return all[slices.IndexFunc(all, func(e overlay.Endpoint) bool { return e.ID == "e1" })]
	}
	eventually(t, "h2 sees the endpoints", func() bool { _, ok := told("e2"); return ok })
	e, _ := told("e1")
	here := own()
	onItsWay := e.Name == "" && len(e.Names) == 0 && here.Arriving && here.Name == "web"
	if !onItsWay && time.Since(began) < 2*time.Second { // else the machine stands still, and names do not wait for that
		t.Errorf("on its way, h2 is told %+v, and h1 has %+v", e, here)
	}
	close(up)
	eventually(t, "h2 is told its names", func() bool {
		e, _ := told("e1")
		return e.Name == "web" && slices.Equal(e.Names, []string{"web", "www"})
	})
	if own := own(); own.Arriving {
		t.Errorf("after its arrival h1 has %+v", own)
	}

	// A weft that starts again waits for nobody.
	h1.restart(cluster)
	if own := own(); own.Arriving || own.Name != "web" {
		t.Errorf("after a restart h1 has %+v", own)
	}
}
