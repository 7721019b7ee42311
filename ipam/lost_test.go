package ipam

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"
	"testing"

	"github.com/weft-net/weft/ipam/claim"
	"github.com/weft-net/weft/ipam/record"
	"github.com/weft-net/weft/ipam/space"
	"github.com/weft-net/weft/kvstore"
)

// While claims wait, an address in stock that another host says it has is handed out
// to nobody, even if it is asked for by name.
func TestDisputedStockIsKept(t *testing.T) {
	cluster, g := newMemory(), &gate{epoch: 1}
	h := g.host(t, "h1", cluster)
	id := h.network("n", "10.1.0.0/24", "")
	h.work()
	stock := h.Claims(id.Subnet)
	a := stock[0].Addr
	h.networks.says("h2", a)
	g.set(errors.New("the store has lost data"))
	wantError(t, h.named(id, a.String()), fmt.Sprintf("address %v is in use or kept in stock on host h2: choose another", a))
	for range stock[1:] {
		if got := h.mustAny(id); got == a {
			t.Fatalf("%v was handed out", a)
		}
	}
	h.networks.says("", a)
	if err := h.named(id, a.String()); err != nil {
		t.Error(err)
	}
}

// steal makes an address that h1 has in use h2's, as a check finds it.
func (h *host) steal(cluster *memory, id space.PoolID, a netip.Addr) {
	h.t.Helper()
	stolen := record.Encode(claim.Holder{Host: "h2", Incarnation: "7", Birth: claim.Birth{Revision: 1}})
	if _, err := cluster.Txn(context.Background(), kvstore.Op{Kind: kvstore.Set, Key: record.AddrKey(id.Subnet, a), Value: stolen}); err != nil {
		h.t.Fatal(err)
	}
	h.clock.add(checkTime)
	h.work()
	if len(h.lost) == 0 {
		h.t.Fatalf("%v is not lost", a)
	}
}

// An address that turned out to be another host's while it was in use does not come
// into stock when nobody uses it any more.
func TestALostAddressIsNotHandedOutAgain(t *testing.T) {
	t.Run("without an endpoint", func(t *testing.T) {
		cluster := newMemory()
		h := newHost(t, "h1", cluster)
		id := h.network("n", "10.1.0.0/24", "")
		h.work()
		a := h.mustAny(id)
		h.networks.own(a, "container c on host h1")
		h.steal(cluster, id, a)
		h.networks.own(a, "")
		for range 4 {
			h.clock.add(orphanLook)
			h.work()
		}
		if got := h.pools[id.Subnet].claims[a].State; got == claim.InUse {
			t.Fatalf("%v is still in use", a)
		}
		wantError(t, h.named(id, a.String()), fmt.Sprintf("address %v is in use or kept in stock on host h2", a))
	})
	t.Run("without its pool", func(t *testing.T) {
		cluster := newMemory()
		var down atomic.Bool
		h := newHost(t, "h1", cutOff(cluster, &down))
		id := h.network("n", "10.1.0.0/24", "")
		network, _ := h.networks.Network("n")
		h.work()
		a := h.mustAny(id)
		h.networks.own(a, "container c on host h1")
		h.steal(cluster, id, a)
		h.networks.own(a, "")
		h.networks.remove("n")
		h.work()
		h.clock.add(goneTime)
		h.work() // the stock is given back
		h.clock.add(leakTime)
		down.Store(true)
		_, _ = h.pass(t.Context())
		h.mirror("n", network.Subnets[0])
		if got, err := h.any(id); err == nil {
			t.Errorf("%v was handed out, and %v is h2's", got, a)
		}
	})
}
