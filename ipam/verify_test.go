package ipam

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weft-net/weft/ipam/record"
	"github.com/weft-net/weft/kvstore"
)

func TestVerifyMakesALostPoolAgain(t *testing.T) {
	ctx := context.Background()
	cluster := newMemory()
	h := newHost(t, "h1", cluster)
	id := h.network("n", "10.1.0.0/16", "")
	h.work()
	used := h.mustAny(id)
	for _, key := range cluster.keys("") {
		if _, err := cluster.Txn(ctx, kvstore.Op{Kind: kvstore.Delete, Key: key}); err != nil {
			t.Fatal(err)
		}
	}
	if err := h.Verify(ctx, false); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{record.PoolKey(id.Subnet), record.AddrKey(id.Subnet, used)} {
		if _, err := cluster.Get(ctx, key); err != nil {
			t.Errorf("after a wiped store: %v", err)
		}
	}
}

// A snapshot brings back pools and claims that were given up since it was taken.
func TestVerifyRemovesWhatASnapshotBroughtBack(t *testing.T) {
	ctx := context.Background()
	cluster := newMemory()
	h, other := newHost(t, "h1", cluster), newHost(t, "h2", cluster)
	id := h.network("n", "10.1.0.0/16", "")
	h.work()
	kept := other.network("o", "10.2.0.0/16", "")
	before, _, err := cluster.List(ctx, "")
	if err != nil {
		t.Fatal(err)
	}
	h.networks.remove("n")
	if err := h.ReleasePool(ctx, id); err != nil {
		t.Fatal(err)
	}
	h.work()
	if _, err := cluster.Get(ctx, record.PoolKey(id.Subnet)); err == nil {
		t.Fatal("the pool was not removed")
	}
	for _, p := range before {
		if _, err := cluster.Txn(ctx, kvstore.Op{Kind: kvstore.Set, Key: p.Key, Value: p.Value}); err != nil {
			t.Fatal(err)
		}
	}
	if err := h.Verify(ctx, false); err != nil {
		t.Fatal(err)
	}
	h.work()
	if got := cluster.keys(record.PoolKey(id.Subnet)); len(got) != 1 {
		t.Fatal("the pool was removed although Docker may have it")
	}
	if err := h.Keep(ctx, nil); err != nil { // Run comes back to it
		t.Fatal(err)
	}
	h.work()
	h.work()
	if diff := cmp.Diff([]string{record.PoolSeq, record.PoolKey(kept.Subnet)}, cluster.keys("")); diff != "" {
		t.Errorf("the cluster has (-want +got):\n%s", diff)
	}
}
