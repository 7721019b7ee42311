package ipam

import (
	"context"
	"net/netip"
	"strings"
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

// hanging is a store that never answers a write.
type hanging struct{ kvstore.Store }

func (hanging) Txn(ctx context.Context, _ ...kvstore.Op) ([]kvstore.Pair, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func TestARefusalNamesTheStoreThatHangs(t *testing.T) {
	cluster := newMemory()
	h := newHost(t, "h1", cluster)
	id := h.network("n", "10.1.0.0/16", "")
	h.work()
	h.cluster = hanging{cluster}
	h.open()
	_, err := h.RequestAddress(context.Background(), AddressRequest{Pool: id, Addr: netip.MustParseAddr("10.1.2.3"), Endpoint: true})
	if err == nil || !strings.Contains(err.Error(), "10.1.2.3") || !strings.Contains(err.Error(), "the store has not answered") {
		t.Errorf("the refusal is %v", err)
	}
}
