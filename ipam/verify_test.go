package ipam

import (
	"context"
	"testing"

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
	if err := h.Verify(ctx); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{poolKey(id.Subnet), addrKey(id.Subnet, used)} {
		if _, err := cluster.Get(ctx, key); err != nil {
			t.Errorf("after a wiped store: %v", err)
		}
	}
}
