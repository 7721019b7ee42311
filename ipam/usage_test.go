package ipam

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weft-net/weft/ipam/claim"
	"github.com/weft-net/weft/ipam/record"
	"github.com/weft-net/weft/ipam/stock"
	"github.com/weft-net/weft/kvstore"
)

func TestUsageAndEventsTellWhoHasWhat(t *testing.T) {
	h := newHost(t, "h1", newMemory())
	events := map[Event]int{}
	h.config.Observe = func(e Event) { events[e]++ }
	h.open()
	id := h.network("n", "10.1.0.0/24", "")
	if usage := h.Usage(); len(usage) != 1 || usage[0].Target != 0 {
		t.Errorf("while Docker makes the network: %+v", usage)
	}
	h.mustAny(id) // before there is a stock
	h.work()
	h.mustAny(id)
	stolen := h.mustAny(id)
	if err := h.named(id, "10.1.0.200"); err != nil {
		t.Fatal(err)
	}
	h.work()
	u := h.Usage()[0]
	want := Usage{
		Subnet: id.Subnet, Network: "n", Name: u.Name, Used: 4, Stock: h.stock(id),
		Size: 254, Free: 254 - 1 - 4 - uint64(h.stock(id)), Target: u.Target, //nolint:gosec // a few
	}
	if diff := cmp.Diff([]Usage{want}, h.Usage(), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" || u.Target < stock.Default {
		t.Errorf("target %d, %s", u.Target, diff)
	}

	op := kvstore.Op{Kind: kvstore.Set, Key: record.AddrKey(id.Subnet, stolen), Value: record.Encode(claim.Holder{Host: "h2", Incarnation: "1", Birth: claim.Birth{Revision: 1}})}
	if _, err := h.cluster.Txn(t.Context(), op); err != nil {
		t.Fatal(err)
	}
	for range 2 { // it is told once
		if err := h.Verify(t.Context(), false); err != nil {
			t.Fatal(err)
		}
	}
	if u := h.Usage()[0]; u.Lost != 1 || u.Used != 3 {
		t.Errorf("after an address was lost: %+v", u)
	}
	if diff := cmp.Diff(map[Event]int{Waited: 1, FromStock: 2, Named: 1, Lost: 1}, events); diff != "" {
		t.Error(diff)
	}
}
