package ipam

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/ipam/claim"
	"github.com/weft-net/weft/ipam/record"
	"github.com/weft-net/weft/ipam/space"
	"github.com/weft-net/weft/ipam/stock"
	"github.com/weft-net/weft/kvstore"
)

func TestStartFromStockNeedsNoCluster(t *testing.T) {
	cluster := newMemory()
	var down atomic.Bool
	h := newHost(t, "h1", cutOff(cluster, &down))
	id := h.network("n", "10.1.0.0/16", "")
	h.work()
	if got := h.stock(id); got != stock.Default {
		t.Fatalf("stock is %d, want %d", got, stock.Default)
	}
	down.Store(true)
	seen := space.Set{}
	for range stock.Default {
		a := h.mustAny(id)
		if seen.Has(a) {
			t.Fatalf("%v handed out twice", a)
		}
		seen[a] = struct{}{}
	}
	_, err := h.any(id)
	wantError(t, err, `no address left in stock for network "n" (10.1.0.0/16) on this host and the store is unavailable: `)
	for a := range seen {
		h.release(id, a)
		break
	}
	h.mustAny(id)
	if _, err := h.pass(context.Background()); !errors.Is(err, kvstore.ErrUnavailable) {
		t.Errorf("got %v, want an unavailable store", err)
	}
	down.Store(false)
	h.work()
	if h.stock(id) == 0 {
		t.Error("stock is not filled after the store came back")
	}
}

func TestMirroredNetworkNeedsNoCluster(t *testing.T) {
	var down atomic.Bool
	down.Store(true)
	h := newHost(t, "h2", cutOff(newMemory(), &down))
	s := overlay.Subnet{
		Prefix: netip.MustParsePrefix("10.1.0.0/16"), Gateway: netip.MustParseAddr("10.1.0.9"),
		Range: netip.MustParsePrefix("10.1.8.0/24"), Aux: map[string]netip.Addr{"r": netip.MustParseAddr("10.1.8.5")},
	}
	h.networks.add("n", false, s)
	id := h.mustPool("", "", "weft.id=n")
	if want := "10.1.0.0/16,10.1.8.0/24"; id.String() != want {
		t.Errorf("pool is %v, want %s", id, want)
	}
	for range 2 {
		p, err := h.RequestAddress(context.Background(), AddressRequest{Pool: id, Addr: s.Gateway, Gateway: true})
		if want := "10.1.0.9/16"; err != nil || p.String() != want {
			t.Errorf("gateway is %v, %v, want %s", p, err, want)
		}
		p, err = h.RequestAddress(context.Background(), AddressRequest{Pool: id, Addr: s.Aux["r"]})
		if want := "10.1.8.5/16"; err != nil || p.String() != want {
			t.Errorf("aux address is %v, %v, want %s", p, err, want)
		}
	}
	_, err := h.RequestAddress(context.Background(), AddressRequest{Pool: id, Addr: netip.MustParseAddr("10.1.0.1"), Gateway: true})
	wantError(t, err, `gateway 10.1.0.1 differs from 10.1.0.9, the gateway of network "n" (10.1.0.0/16) on its other hosts: leave --gateway out, or give that one`)
}

func TestTinyPoolIsUsedUpByTwoHosts(t *testing.T) {
	cluster := newMemory()
	h1, h2 := newHost(t, "h1", cluster), newHost(t, "h2", cluster)
	h1.networks.hosts, h2.networks.hosts = 2, 2
	id := h1.network("x", "10.1.0.0/29", "")
	h2.mirror("x", overlay.Subnet{Prefix: id.Subnet, Gateway: netip.MustParseAddr("10.1.0.1")})
	for round := range 4 {
		var at [2][]netip.Addr
		for i := range 5 {
			h1.work()
			h2.work()
			h := []*host{h1, h2}[(i+round)%2]
			at[(i+round)%2] = append(at[(i+round)%2], h.mustAny(id))
		}
		_, err := h2.any(id)
		wantError(t, err, `network "x" (10.1.0.0/29) has no free address`)
		for i, h := range []*host{h1, h2} {
			for _, a := range at[i] {
				h.release(id, a)
			}
			h.work()
		}
	}
}

func TestStockReturnsToTheOthers(t *testing.T) {
	cluster := newMemory()
	h := newHost(t, "h1", cluster)
	id := h.network("n", "10.1.0.0/16", "")
	var used []netip.Addr
	for range 100 {
		used = append(used, h.mustAny(id))
		h.work()
	}
	for _, a := range used {
		h.release(id, a)
	}
	h.work()
	if got := h.stock(id); got > 4*stock.Default {
		t.Errorf("stock is %d after all were released", got)
	}
	h.clock.add(stock.LookBack)
	h.work()
	if got := len(cluster.keys(record.AddrPrefix)); got > 2*stock.Default || got != h.stock(id) {
		t.Errorf("%d claimed and %d in stock, long after", got, h.stock(id))
	}
}

func TestReleasedAddressIsUsedAgainLast(t *testing.T) {
	h := newHost(t, "h1", newMemory())
	id := h.network("n", "10.1.0.0/16", "")
	h.work()
	first := h.mustAny(id)
	h.release(id, first)
	for range stock.Default - 1 {
		if got := h.mustAny(id); got == first {
			t.Fatalf("%v came back at once", got)
		}
	}
}

func TestNetworkRemovedLeavesNothing(t *testing.T) {
	ctx := context.Background()
	cluster := newMemory()
	h1, h2 := newHost(t, "h1", cluster), newHost(t, "h2", cluster)
	id := h1.network("n", "10.1.0.0/16", "")
	h2.mirror("n", overlay.Subnet{Prefix: id.Subnet, Gateway: netip.MustParseAddr("10.1.0.1")})
	for _, h := range []*host{h1, h2} {
		h.work()
		h.release(id, h.mustAny(id))
	}
	// Docker: pool first, network last.
	if err := h1.ReleasePool(ctx, id); err != nil {
		t.Fatal(err)
	}
	h1.work()
	if h1.stock(id) == 0 {
		t.Error("stock is gone while the network is still here")
	}
	ops, err := h1.PoolOps(ctx, []netip.Prefix{id.Subnet, netip.MustParsePrefix("10.9.0.0/16")})
	if err != nil || len(ops) != 1 {
		t.Fatalf("got %v, %v", ops, err)
	}
	if _, err := cluster.Txn(ctx, ops...); err != nil {
		t.Fatal(err)
	}
	for _, h := range []*host{h1, h2} {
		h.networks.remove("n")
		h.work()
	}
	h2.clock.add(goneTime) // h2's Docker lost the network without a word
	h2.work()
	for _, s := range []*memory{cluster, h1.state.(*memory), h2.state.(*memory)} {
		if got := s.keys(""); len(got) > 1 {
			t.Errorf("left: %v", got)
		}
	}
}

func TestWipedClusterIsFilledAgain(t *testing.T) {
	cluster := newMemory()
	h := newHost(t, "h1", cluster)
	id := h.network("n", "10.1.0.0/16", "")
	h.work()
	kept, stolen := h.mustAny(id), h.mustAny(id)
	h.networks.own(kept, "container c on host h1")
	h.networks.own(stolen, "container d on host h1")
	cluster.pairs = map[string]kvstore.Pair{}
	_, err := cluster.Txn(context.Background(), kvstore.Op{
		Kind: kvstore.Set, Key: record.AddrKey(id.Subnet, stolen), Value: record.Encode(claim.Holder{Host: "h2", Incarnation: "7", Birth: claim.Birth{Revision: 1}}),
	})
	if err != nil {
		t.Fatal(err)
	}
	h.clock.add(checkTime)
	h.work()
	if got := cluster.keys(record.PoolKey(id.Subnet)); len(got) != 1 {
		t.Errorf("the pool's record is missing: %v", cluster.keys(""))
	}
	if _, err := cluster.Get(context.Background(), record.AddrKey(id.Subnet, kept)); err != nil {
		t.Errorf("an address in use was not claimed again: %v", err)
	}
	if diff := cmp.Diff([]string{fmt.Sprintf("%v h2", stolen)}, h.lost); diff != "" {
		t.Errorf("lost addresses (-want +got):\n%s", diff)
	}
	h.release(id, stolen)
	for range 50 {
		if got := h.mustAny(id); got == stolen {
			t.Fatal("h2's address was handed out")
		}
		h.work()
	}
}

func TestAddressesOfALostStateAreLeftAlone(t *testing.T) {
	cluster := newMemory()
	h := newHost(t, "h1", cluster)
	id := h.network("n", "10.1.0.0/24", "")
	h.work()
	running, other := h.mustAny(id), h.mustAny(id)
	before := len(cluster.keys(record.AddrPrefix))

	h.state, h.config.Incarnation = newMemory(), "2"
	h.open()
	h.mustPool("", "", "weft.id=n")
	h.work()
	for range 100 {
		if a := h.mustAny(id); a == running || a == other {
			t.Fatalf("%v handed out twice", a)
		}
	}
	// Docker still has it, and says so.
	if err := h.named(id, running.String()); err != nil {
		t.Fatal(err)
	}
	h.networks.own(running, "container c on host h1")
	h.clock.add(strandedTime)
	h.work()
	h.clock.add(checkTime)
	h.work()
	if _, err := cluster.Get(context.Background(), record.AddrKey(id.Subnet, other)); !errors.Is(err, kvstore.ErrNotFound) {
		t.Errorf("of %d old addresses, one that nobody uses is still claimed: %v", before, err)
	}
	if _, err := cluster.Get(context.Background(), record.AddrKey(id.Subnet, running)); err != nil {
		t.Errorf("the one in use is gone: %v", err)
	}
}

// Whoever lets go of a pool that was removed leaves the one alone that was made
// of the same subnet since.
func TestAPoolThatWasMadeAgainStays(t *testing.T) {
	h := newHost(t, "h1", newMemory())
	subnet := netip.MustParsePrefix("10.1.0.0/16")
	old, leave, err := h.enter(t.Context(), subnet)
	if err != nil {
		t.Fatal(err)
	}
	h.mu.Lock()
	old.gone = true // as remove leaves it
	delete(h.pools, subnet)
	again := h.poolLocked(subnet)
	h.mu.Unlock()
	leave()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.pools[subnet] != again {
		t.Error("the pool that was made again is forgotten")
	}
}
