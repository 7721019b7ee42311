package ipam

import (
	"net/netip"
	"testing"
	"time"
)

func TestAddressesOfAnEndpointWhoseEndWasMissed(t *testing.T) {
	h := newHost(t, "h1", newMemory())
	id := h.network("n", "10.1.0.0/24", "")
	h.work()
	free := func(addr netip.Addr) bool {
		for _, c := range h.Claims(id.Subnet) {
			if c.Addr == addr {
				return !c.Used
			}
		}
		return true
	}
	gone, owned, again := h.mustAny(id), h.mustAny(id), h.mustAny(id)
	h.networks.own(owned, "container c on host h1")
	h.clock.add(time.Second)
	made := h.clock.Now()
	h.clock.add(time.Second)
	if err := h.ReleaseAddress(t.Context(), id, again); err != nil {
		t.Fatal(err)
	}
	if err := h.named(id, again.String()); err != nil {
		t.Fatal(err)
	}
	if err := h.Missed(t.Context(), []netip.Addr{gone, owned, again, netip.MustParseAddr("192.0.2.1")}, made); err != nil {
		t.Fatal(err)
	}
	if !free(gone) || free(owned) || free(again) {
		t.Errorf("free are: the one that is gone %t, the one that has an owner %t, the one asked for again %t", free(gone), free(owned), free(again))
	}
}
