package endpoints_test

import (
	"net/netip"
	"testing"

	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/registry/endpoints"
	"github.com/weft-net/weft/kvstore"
)

// What an endpoint still has in each phase: one that Docker takes out of its sandbox keeps
// its address and gives its MAC address free, and one that is lost has neither.
func TestPhases(t *testing.T) {
	addr, mac := netip.MustParseAddr("10.1.0.2"), overlay.MACOf("n", netip.MustParseAddr("10.1.0.2"))
	for phase, want := range map[overlay.Phase]struct{ addr, mac, joined bool }{
		overlay.Created: {true, true, false},
		overlay.Joined:  {true, true, true},
		overlay.Left:    {true, false, false},
		overlay.Lost:    {false, false, false},
	} {
		all := endpoints.New()
		all.Put(overlay.Endpoint{ID: "e", Network: "n", Addrs: []netip.Addr{addr}, MAC: mac, Phase: phase})
		if got := all.Uses(addr); got != want.addr {
			t.Errorf("%v: it has its address: %t", phase, got)
		}
		if _, got := all.WithMAC(overlay.Endpoint{ID: "new", Network: "n", MAC: mac}); got != want.mac {
			t.Errorf("%v: it has its MAC address: %t", phase, got)
		}
		if _, got := all.WithMAC(overlay.Endpoint{ID: "new", Network: "another", MAC: mac}); got {
			t.Errorf("%v: it has its MAC address in another network", phase)
		}
		if got := all.Joined(); got != want.joined {
			t.Errorf("%v: a container has it: %t", phase, got)
		}
		if !all.In("n") || all.In("another") {
			t.Errorf("%v: it is not in its network, or in another one", phase)
		}
	}
}

// With its network an endpoint goes, in memory and in state; those of other networks stay.
func TestDeleteIn(t *testing.T) {
	all := endpoints.New()
	for id, network := range map[string]string{"e1": "a", "e2": "b"} {
		all.Put(overlay.Endpoint{ID: id, Network: network})
	}
	ops := all.DeletesIn("a")
	if len(ops) != 1 || ops[0].Kind != kvstore.Delete || ops[0].Key != "endpoint/e1" {
		t.Errorf("state forgets by %v", ops)
	}
	all.DeleteIn("a")
	if _, known := all.Get("e1"); known || all.In("a") {
		t.Error("e1 is still there")
	}
	if _, known := all.Get("e2"); !known || all.Count() != 1 {
		t.Error("e2 has gone too")
	}
}
