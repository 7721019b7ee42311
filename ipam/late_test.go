package ipam

import (
	"context"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weft-net/weft/kvstore"
)

// lateHost has a Cluster store whose next transaction fails, and is carried out
// when the test says so.
func lateHost(t *testing.T) (h *host, cluster *memory, f *flaky, cut func()) {
	cluster = newMemory()
	cuts := 0
	f = &flaky{Store: cluster}
	f.next = func() fault {
		if cuts > 0 {
			cuts--
			return late
		}
		return none
	}
	h = newHost(t, "h1", &readable{f})
	return h, cluster, f, func() { cuts = 1 }
}

// readable fails transactions only.
type readable struct{ *flaky }

func (r *readable) Get(ctx context.Context, key string) (kvstore.Pair, error) {
	return r.Store.Get(ctx, key)
}

func (r *readable) List(ctx context.Context, prefix string) ([]kvstore.Pair, uint64, error) {
	return r.Store.List(ctx, prefix)
}

func TestLateCreationOfAPoolIsFenced(t *testing.T) {
	h, cluster, f, cut := lateHost(t)
	cut()
	if _, err := h.pool("10.1.0.0/24", ""); err == nil {
		t.Fatal("the store was cut off, but the pool was made")
	}
	h.work()
	f.flush()
	if diff := cmp.Diff([]string{poolSeq}, cluster.keys("")); diff != "" {
		t.Errorf("the cluster has (-want +got):\n%s", diff)
	}
}

func TestLateRemovalMissesAPoolMadeAgain(t *testing.T) {
	h, cluster, f, cut := lateHost(t)
	id := h.mustPool("10.1.0.0/24", "")
	if err := h.ReleasePool(context.Background(), id); err != nil {
		t.Fatal(err)
	}
	cut()
	if _, err := h.pass(context.Background()); err == nil {
		t.Fatal("the store was cut off, but the pool was removed")
	}
	h.mustPool("10.1.0.0/24", "")
	f.flush()
	if got := cluster.keys(poolKey(id.Subnet)); len(got) != 1 {
		t.Error("the pool is gone")
	}
}

func TestLateDeleteMissesAnAddressClaimedAgain(t *testing.T) {
	h, cluster, f, cut := lateHost(t)
	id := h.network("n", "10.1.0.0/24", "10.1.0.128/25")
	h.work()
	if err := h.named(id, "10.1.0.5"); err != nil {
		t.Fatal(err)
	}
	h.release(id, id.Subnet.Addr().Next().Next().Next().Next().Next())
	cut()
	if _, err := h.pass(context.Background()); err == nil {
		t.Fatal("the store was cut off, but the address was given back")
	}
	if err := h.named(id, "10.1.0.5"); err != nil {
		t.Fatal(err)
	}
	f.flush()
	if got := cluster.keys(addrPrefix + slot(id.Subnet) + "/10.1.0.5"); len(got) != 1 {
		t.Error("the address is nobody's although it is in use")
	}
}

// replaced answers one listing from the past.
type replaced struct {
	kvstore.Store
	past []kvstore.Pair
}

func (r *replaced) List(ctx context.Context, prefix string) ([]kvstore.Pair, uint64, error) {
	if past := r.past; past != nil && strings.HasPrefix(prefix, addrPrefix) {
		r.past = nil
		return past, 1, nil
	}
	return r.Store.List(ctx, prefix)
}

func TestReadFromAReplacedLeaderAdoptsNothing(t *testing.T) {
	cluster := newMemory()
	store := &replaced{Store: cluster}
	h := newHost(t, "h1", store)
	id := h.network("n", "10.1.0.0/16", "")
	h.work()
	if err := h.named(id, "10.1.0.5"); err != nil {
		t.Fatal(err)
	}
	past, _, _ := cluster.List(context.Background(), addrPrefix)
	h.release(id, netip.MustParseAddr("10.1.0.5"))
	h.work() // it is given back
	store.past = past
	h.clock.add(checkTime)
	h.work()
	for _, c := range h.Claims(id.Subnet) {
		if c.Addr.String() == "10.1.0.5" {
			t.Error("took an address that it had given back")
		}
	}
}
