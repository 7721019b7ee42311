package ipam

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weft-net/weft/ipam/record"
)

func TestAddressWithoutAnEndpointIsFreed(t *testing.T) {
	h := newHost(t, "h1", newMemory())
	id := h.network("n", "10.1.0.0/24", "")
	h.work()
	kept, orphan := h.mustAny(id), h.mustAny(id)
	h.networks.own(kept, "container c on host h1")
	for passed := time.Duration(0); passed <= orphanTime+2*orphanLook; passed += lookTime {
		h.clock.add(lookTime)
		h.work()
	}
	used := h.Claims(id.Subnet)
	used = slices.DeleteFunc(used, func(c Claimed) bool { return !c.Used })
	if len(used) != 1 || used[0].Addr != kept {
		t.Errorf("in use are %v, want only %v, not %v", used, kept, orphan)
	}
}

func TestAddressWithoutAnEndpointIsGivenBackSoonAfterItsNetwork(t *testing.T) {
	cluster := newMemory()
	h := newHost(t, "h1", cluster)
	id := h.network("n", "10.1.0.0/24", "")
	h.work()
	kept, _ := h.mustAny(id), h.mustAny(id)
	h.networks.own(kept, "container c on host h1")
	h.networks.remove("n")
	for passed := time.Duration(0); passed <= orphanTime+2*lookTime; passed += lookTime {
		h.clock.add(lookTime)
		h.work()
	}
	if diff := cmp.Diff([]string{record.AddrKey(id.Subnet, kept)}, cluster.keys(record.AddrPrefix)); diff != "" {
		t.Errorf("the cluster has (-want +got):\n%s", diff)
	}
}
