package ipam

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weft-net/weft/ipam/record"
	"github.com/weft-net/weft/ipam/space"
	"github.com/weft-net/weft/kvstore"
)

func TestGroupSharesOnePool(t *testing.T) {
	ctx := context.Background()
	cluster := newMemory()
	h1, h2 := newHost(t, "h1", cluster), newHost(t, "h2", cluster)
	id := h1.mustPool("10.1.0.0/24", "", "weft.id=lan")
	if got := h2.mustPool("", "", "weft.id=lan"); got != id {
		t.Fatalf("h2 has %v, h1 %v", got, id)
	}
	if _, err := h1.RequestAddress(ctx, AddressRequest{Pool: id, Gateway: true, Addr: netip.MustParseAddr("10.1.0.1")}); err != nil {
		t.Fatal(err)
	}
	if p, err := h2.RequestAddress(ctx, AddressRequest{Pool: id, Gateway: true}); err != nil || p.String() != "10.1.0.1/24" {
		t.Errorf("h2's gateway is %v, %v", p, err)
	}
	_, err := h2.RequestAddress(ctx, AddressRequest{Pool: id, Gateway: true, Addr: netip.MustParseAddr("10.1.0.2")})
	wantError(t, err, `gateway 10.1.0.2 differs from 10.1.0.1, the gateway of group "lan" (10.1.0.0/24) on its other hosts: leave --gateway out, or give that one`)
	if err := h1.named(id, "10.1.0.5"); err != nil {
		t.Fatal(err)
	}
	wantError(t, h2.named(id, "10.1.0.5"), "address 10.1.0.5 is in use or kept in stock on host h1")
	h1.release(id, netip.MustParseAddr("10.1.0.5"))

	for i, h := range []*host{h1, h2} {
		h.work()
		h.release(id, h.mustAny(id))
		if err := h.ReleasePool(ctx, id); err != nil {
			t.Fatal(err)
		}
		h.work()
		if got := len(cluster.keys(record.PoolKey(id.Subnet))); got != 1-i {
			t.Errorf("after %d of 2 hosts left there are %d records of the pool", i+1, got)
		}
	}
	if got := cluster.keys(record.AddrPrefix); got != nil {
		t.Errorf("left: %v", got)
	}
}

// Another network of a group that this host takes part in needs no store, whatever
// that is at.
func TestGroupOfThisHostNeedsNoCluster(t *testing.T) {
	cluster, g := newMemory(), &gate{epoch: 1}
	var down atomic.Bool
	h := newHost(t, "h1", cutOff(cluster, &down))
	h.permits.admit, h.permits.changes = g.admit, g.changes
	h.open()
	id := h.mustPool("10.1.0.0/24", "", "weft.id=lan")
	down.Store(true)
	g.set(errors.New("the store does not answer"))
	began := time.Now()
	if got := h.mustPool("", "", "weft.id=lan"); got != id {
		t.Errorf("got %v, want %v", got, id)
	}
	if took := time.Since(began); took > kvstore.Patience/2 {
		t.Errorf("it took %v", took)
	}
}

func TestGroupIsMadeOnce(t *testing.T) {
	cluster := newMemory()
	ids := make([]space.PoolID, 8)
	var wg sync.WaitGroup
	for i := range ids {
		h := newHost(t, fmt.Sprintf("h%d", i), cluster)
		wg.Go(func() {
			var err error
			if ids[i], err = h.pool("", "", "weft.id=lan"); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if len(slices.Compact(ids)) != 1 {
		t.Errorf("hosts have different pools: %v", ids)
	}
}
