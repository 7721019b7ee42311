package ipam

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sirupsen/logrus/hooks/test"

	"github.com/weft-net/weft/ipam/claim"
	"github.com/weft-net/weft/ipam/record"
	"github.com/weft-net/weft/ipam/space"
	"github.com/weft-net/weft/ipam/stock"
	"github.com/weft-net/weft/kvstore"
	"github.com/weft-net/weft/kvstore/kvtest"
)

// holds gives who has the address according to the cluster.
func holds(t *testing.T, cluster kvstore.Store, id space.PoolID, a netip.Addr) claim.Holder {
	t.Helper()
	pair, err := cluster.Get(context.Background(), record.AddrKey(id.Subnet, a))
	if errors.Is(err, kvstore.ErrNotFound) {
		return claim.Holder{}
	}
	if err != nil {
		t.Fatal(err)
	}
	h, err := record.DecodeHolder(pair)
	if err != nil {
		t.Fatal(err)
	}
	h.Birth = claim.Birth{} // TestBirths' business
	return h
}

// A host that has lost its State takes over the addresses that its containers
// have: those that the cluster has of it, those that the cluster has lost, and
// loses those that are another host's by now. What nobody uses comes free.
func TestLostStateIsMadeFromEndpoints(t *testing.T) {
	cluster, g := newMemory(), &gate{epoch: 1}
	h := g.host(t, "h1", cluster)
	id := h.network("n", "10.1.0.0/24", "")
	h.work()
	running, forgotten, stolen, ended := h.mustAny(id), h.mustAny(id), h.mustAny(id), h.mustAny(id)
	other := g.host(t, "h2", cluster)
	network, _ := h.networks.Network("n")
	otherID := other.mirror("n", network.Subnets[0])
	for _, a := range []netip.Addr{forgotten, stolen} {
		if _, err := cluster.Txn(context.Background(), kvstore.Op{Kind: kvstore.Delete, Key: record.AddrKey(id.Subnet, a)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := other.named(otherID, stolen.String()); err != nil {
		t.Fatal(err)
	}

	h.state, h.config.Incarnation = newMemory(), "2"
	h.networks.rebuild(true)
	h.open()
	h.work()
	for range 4 { // for as long as Docker is away, nothing is taken for nobody's
		h.clock.add(strandedTime)
		h.work()
	}
	for _, a := range []netip.Addr{running, ended} {
		if got := holds(t, cluster, id, a); !reflect.DeepEqual(got, claim.Holder{Host: "h1", Incarnation: "1"}) {
			t.Errorf("before this host knows its containers, %v is %+v's", a, got)
		}
	}

	for _, a := range []netip.Addr{running, forgotten, stolen} {
		h.networks.endpoint(a)
	}
	h.networks.rebuild(false)
	h.work()
	for _, a := range []netip.Addr{running, forgotten} {
		if got := holds(t, cluster, id, a); !reflect.DeepEqual(got, claim.Holder{Host: "h1", Incarnation: "2"}) {
			t.Errorf("%v is %+v's", a, got)
		}
	}
	if want := []string{fmt.Sprintf("%v h2", stolen)}; len(h.lost) == 0 || h.lost[0] != want[0] {
		t.Errorf("lost are %q, want %q", h.lost, want)
	}
	for range 100 {
		if a := h.mustAny(id); slices.Contains([]netip.Addr{running, forgotten, stolen, ended}, a) {
			t.Fatalf("%v was handed out again", a)
		}
	}
	for range 3 {
		h.clock.add(strandedTime)
		h.work()
	}
	if got := holds(t, cluster, id, ended); got.Incarnation == "1" {
		t.Errorf("%v, which nobody uses, is still %+v's", ended, got)
	}
	if got := holds(t, cluster, id, running); !reflect.DeepEqual(got, claim.Holder{Host: "h1", Incarnation: "2"}) {
		t.Errorf("%v, which is in use, is %+v's", running, got)
	}
	// It comes and goes like any other.
	h.networks.own(running, "")
	h.release(id, running)
	if h.stock(id) == 0 {
		t.Error("a released address is not in stock")
	}
}

// What a host had in stock before it lost its State comes free with the pool, even
// if that goes soon.
func TestStrandedStockGoesWithItsPool(t *testing.T) {
	cluster := newMemory()
	h := newHost(t, "h1", cluster)
	id := h.network("n", "10.1.0.0/24", "")
	h.work()
	if h.stock(id) == 0 {
		t.Fatal("there is no stock")
	}
	h.state, h.config.Incarnation = newMemory(), "2"
	h.networks.rebuild(true)
	h.open()
	h.work()
	h.networks.rebuild(false)
	h.work()
	h.networks.remove("n")
	if err := h.ReleasePool(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	h.work()
	pairs, _, err := cluster.List(t.Context(), record.AddrPrefix)
	if err != nil || len(pairs) > 0 {
		t.Errorf("these addresses are left: %+v (%v)", pairs, err)
	}
}

// What a host has taken over is its own in the present incarnation, though it may not
// write that at first and the container has ended by then.
func TestWhatIsTakenOverAndReleasedIsItsOwn(t *testing.T) {
	cluster, g := newMemory(), &gate{epoch: 1}
	h := g.host(t, "h1", cluster)
	id := h.network("n", "10.1.0.0/24", "")
	h.work()
	a := h.mustAny(id)
	h.state, h.config.Incarnation = newMemory(), "2"
	h.networks.endpoint(a)
	g.set(errors.New("the store has lost data"))
	h.open()
	h.work()
	h.networks.removeEndpoint(a)
	h.release(id, a)
	g.set(nil)
	h.clock.add(checkTime)
	h.work()
	if got := holds(t, cluster, id, a); !reflect.DeepEqual(got, claim.Holder{Host: "h1", Incarnation: "2"}) || h.stock(id) == 0 {
		t.Errorf("%v is %+v's, and %d are in stock", a, got, h.stock(id))
	}
}

// It does too if the network was removed before the host knew of it again; an
// address that a container has all the same does not.
func TestStrandedStockOfANetworkThatIsGone(t *testing.T) {
	cluster := newMemory()
	h := newHost(t, "h1", cluster)
	id := h.network("n", "10.1.0.0/24", "")
	h.work()
	running := h.mustAny(id)
	h.state, h.config.Incarnation = newMemory(), "2"
	h.networks.remove("n")
	if _, err := cluster.Txn(t.Context(), kvstore.Op{Kind: kvstore.Delete, Key: record.PoolKey(id.Subnet)}); err != nil {
		t.Fatal(err)
	}
	h.networks.rebuild(true)
	h.open()
	h.work()
	before, _, err := cluster.List(t.Context(), record.AddrPrefix)
	if err != nil || len(before) < 2 {
		t.Fatalf("before this host knows its containers, these addresses are left: %+v (%v)", before, err)
	}
	h.networks.own(running, "it")
	h.networks.rebuild(false)
	h.work()
	after, _, err := cluster.List(t.Context(), record.AddrPrefix)
	if err != nil || len(after) != 1 || after[0].Key != record.AddrKey(id.Subnet, running) {
		t.Errorf("these addresses are left: %+v (%v)", after, err)
	}
}

// What a host takes over while all records are lost is older than what another
// host claims afterwards.
func TestWhatIsTakenOverInALossIsOlder(t *testing.T) {
	cluster, g := newMemory(), &gate{epoch: 2}
	h1, h2 := g.host(t, "h1", cluster), g.host(t, "h2", cluster)
	id := h1.network("n", "10.1.0.0/24", "")
	network, _ := h1.networks.Network("n")
	id2 := h2.mirror("n", network.Subnets[0])
	a := netip.MustParseAddr("10.1.0.5")
	if err := h2.named(id2, a.String()); err != nil { // it settled first, and knew nothing of h1
		t.Fatal(err)
	}
	g.set(errors.New("the store has lost data"))
	h1.networks.endpoint(a)
	h1.work()
	g.set(nil)
	h1.clock.add(checkTime)
	h1.work()
	if err := h2.Verify(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	if got := holds(t, cluster, id, a); got.Host != "h1" || len(h1.lost) > 0 || len(h2.lost) != 1 {
		t.Errorf("%v is %s's, h1 lost %v, h2 lost %v", a, got.Host, h1.lost, h2.lost)
	}
}

// With clocks that jump by a day while weft is away, what is in use stays so,
// stock is kept, and what nobody uses comes free in its time.
func TestClockJumps(t *testing.T) {
	for _, jump := range []time.Duration{-24 * time.Hour, 24 * time.Hour} {
		t.Run(jump.String(), func(t *testing.T) {
			cluster := newMemory()
			h := newHost(t, "h1", cluster)
			id := h.network("n", "10.1.0.0/24", "")
			h.work()
			used, orphan := h.mustAny(id), h.mustAny(id)
			h.networks.endpoint(used)
			h.clock.add(jump)
			h.open()
			h.work()
			if n := h.stock(id); n < stock.Default/2 {
				t.Errorf("only %d are in stock", n)
			}
			fresh := h.mustAny(id) // handed out just now, its endpoint is still to come
			h.work()
			inUse := func() []netip.Addr {
				var out []netip.Addr
				for _, c := range h.Claims(id.Subnet) {
					if c.Used {
						out = append(out, c.Addr)
					}
				}
				return out
			}
			if got := inUse(); len(got) != 3 {
				t.Errorf("in use are %v, want %v, %v and %v", got, used, orphan, fresh)
			}
			for range 3 {
				h.clock.add(checkTime)
				h.work()
			}
			if got := inUse(); len(got) != 1 || got[0] != used {
				t.Errorf("in use are %v at last, want %v", got, used)
			}
			if n := h.stock(id); n < stock.Default/2 || n > 4*stock.Default {
				t.Errorf("%d are in stock", n)
			}
		})
	}
}

var errFull = errors.New("no space left on device")

// onDisk is a State on a disk that may be full.
func onDisk(state kvstore.Store, full *atomic.Bool) kvstore.Store {
	return kvtest.Before(state, func(_ context.Context, r kvtest.Request) error {
		if r.Method == kvtest.Txn && full.Load() {
			return errFull
		}
		return nil
	})
}

// On a full disk nothing is handed out or taken back, however often Docker
// asks, the cluster's addresses are not used up by trying, and it heals.
func TestFullDisk(t *testing.T) {
	cluster := newMemory()
	h := newHost(t, "h1", cluster)
	var full atomic.Bool
	h.state = onDisk(h.state, &full)
	h.open()
	id := h.network("n", "10.1.0.0/16", "10.1.1.0/24")
	h.work()
	used := h.mustAny(id)
	h.networks.endpoint(used)
	h.work()
	before := h.Claims(id.Subnet)
	claimed := len(cluster.keys(record.AddrPrefix))

	full.Store(true)
	for range 50 {
		if a, err := h.any(id); !errors.Is(err, errFull) {
			t.Fatalf("any address: %v, %v", a, err)
		}
		if err := h.named(id, "10.1.0.200"); !errors.Is(err, errFull) {
			t.Fatalf("a named address: %v", err)
		}
		_, _ = h.pass(context.Background())
	}
	h.networks.removeEndpoint(used)
	if err := h.ReleaseAddress(context.Background(), id, used); !errors.Is(err, errFull) {
		t.Errorf("release: %v", err)
	}
	if after := h.Claims(id.Subnet); !slices.Equal(after, before) {
		t.Errorf("what could not be recorded has happened:\n%v\n%v", before, after)
	}
	if n := len(cluster.keys(record.AddrPrefix)); n > claimed+2*stock.Default+1 {
		t.Errorf("%d addresses were claimed before, %d now", claimed, n)
	}

	full.Store(false)
	h.work()
	if a := h.mustAny(id); a == used {
		t.Errorf("%v was handed out twice", a)
	}
	h.release(id, used)
	for range 3 {
		h.clock.add(checkTime)
		h.work()
	}
	if n := len(cluster.keys(record.AddrPrefix)); n > claimed+2*stock.Default {
		t.Errorf("%d addresses were claimed before, %d now that all is well", claimed, n)
	}
}

// With an empty stock too, a full disk costs the cluster no more than one claim.
func TestFullDiskWithoutStock(t *testing.T) {
	cluster := newMemory()
	h := newHost(t, "h1", cluster)
	var full atomic.Bool
	h.state = onDisk(h.state, &full)
	h.open()
	id := h.network("n", "10.1.0.0/24", "")
	full.Store(true)
	for range 50 {
		if a, err := h.any(id); !errors.Is(err, errFull) {
			t.Fatalf("any address: %v, %v", a, err)
		}
	}
	if n := len(cluster.keys(record.AddrPrefix)); n > 2*stock.Default {
		t.Errorf("%d addresses were claimed", n)
	}
	full.Store(false)
	h.mustAny(id)
}

// With its State lost and the new one's disk full, a host does not know a pool that
// it is asked about; it does not remove it for that.
func TestFullDiskRemovesNoPool(t *testing.T) {
	cluster := newMemory()
	h := newHost(t, "h1", cluster)
	id := h.mustPool("10.1.0.0/24", "", "weft.id=lan")
	var full atomic.Bool
	full.Store(true)
	h.state, h.config.Incarnation = onDisk(newMemory(), &full), "2"
	h.open()
	if a, err := h.any(id); !errors.Is(err, errFull) {
		t.Fatalf("any address: %v, %v", a, err)
	}
	h.work()
	if got := cluster.keys(record.PoolKey(id.Subnet)); len(got) != 1 {
		t.Error("the pool is gone")
	}
}

// A pool that Docker has and that nobody has a record of is told of, once, and
// not while this host does not know what it has.
func TestUnknownPoolIsToldOf(t *testing.T) {
	h := newHost(t, "h1", newMemory())
	log, said := test.NewNullLogger()
	h.config.Log = log
	h.open()
	known := h.network("n", "10.1.0.0/24", "")
	unknown := netip.MustParsePrefix("10.9.0.0/24")
	keep := func(subnets ...netip.Prefix) int {
		t.Helper()
		said.Reset()
		for range 5 {
			h.clock.add(detachTime / 2)
			if err := h.Keep(t.Context(), subnets); err != nil {
				t.Fatal(err)
			}
		}
		return len(said.AllEntries())
	}
	h.networks.rebuild(true)
	if n := keep(known.Subnet, unknown); n != 0 {
		t.Errorf("it was told of %d times while records may come back", n)
	}
	h.networks.rebuild(false)
	if n := keep(known.Subnet, unknown); n != 1 {
		t.Errorf("it was told of %d times", n)
	}
	if n := keep(known.Subnet, unknown) + keep(known.Subnet); n != 0 {
		t.Errorf("it was told of %d times more", n)
	}
}
