package dataplane_test

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/weft-net/weft/driver/overlay"
)

// What a fresh instance reads of the kernel tells who a network is, which ports it
// has, and where its other addresses are.
func TestRemains(t *testing.T) {
	h := newHosts(t, 2)[0]
	spread(t, []*host{h}, true)
	n := &h.cfg.Networks[0]
	n.Flood = []netip.Addr{vtep(2)}
	n.Remotes = append(n.Remotes, remote(port(n.ID, "stock", "10.9.0.9/24"), vtep(3)))
	h.set()
	h.restart()
	got, err := h.dp.Remains()
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 1 || got[0].ID != n.ID || got[0].VNI != n.VNI || !slices.Equal(got[0].Peers, []netip.Addr{vtep(2), vtep(3)}) ||
		!slices.Equal(got[0].Ports, []string{overlay.PortLink(n.Ports[0].Endpoint)}) {
		t.Errorf("%+v remains of %+v", got, n)
	}
}
