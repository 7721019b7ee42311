package ipam

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weft-net/weft/ipam/record"
	"github.com/weft-net/weft/ipam/space"
	"github.com/weft-net/weft/kvstore"
	"github.com/weft-net/weft/kvstore/kvtest"
)

// lateHost has a Cluster store whose next transaction fails, and is carried out
// when the test says so.
func lateHost(t *testing.T) (h *host, cluster *memory, f *flaky, cut func()) {
	cluster = newMemory()
	cuts := 0
	f = &flaky{}
	h = newHost(t, "h1", f.store(cluster, func(r kvtest.Request) fault {
		if r.Method == kvtest.Txn && cuts > 0 {
			cuts--
			return late
		}
		return none
	}))
	return h, cluster, f, func() { cuts = 1 }
}

func TestLateCreationOfAPoolIsFenced(t *testing.T) {
	h, cluster, f, cut := lateHost(t)
	cut()
	if _, err := h.pool("10.1.0.0/24", ""); err == nil {
		t.Fatal("the store was cut off, but the pool was made")
	}
	h.work()
	f.flush()
	if diff := cmp.Diff([]string{record.PoolSeq}, cluster.keys("")); diff != "" {
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
	if got := cluster.keys(record.PoolKey(id.Subnet)); len(got) != 1 {
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
	if got := cluster.keys(record.AddrPrefix + record.Slot(id.Subnet) + "/10.1.0.5"); len(got) != 1 {
		t.Error("the address is nobody's although it is in use")
	}
}

// replaced answers some readings of addresses from the past, as a store does that
// is just replaying its log, or has been replaced.
type replaced struct {
	kvstore.Store
	past  []kvstore.Pair
	times int
}

func (r *replaced) List(ctx context.Context, prefix string) ([]kvstore.Pair, uint64, error) {
	if r.times > 0 && strings.HasPrefix(prefix, record.AddrPrefix) {
		r.times--
		return r.past, 1, nil
	}
	return r.Store.List(ctx, prefix)
}

func (r *replaced) Get(ctx context.Context, key string) (kvstore.Pair, error) {
	if r.times == 0 || !strings.HasPrefix(key, record.AddrPrefix) {
		return r.Store.Get(ctx, key)
	}
	r.times--
	for _, p := range r.past {
		if p.Key == key {
			return p, nil
		}
	}
	return kvstore.Pair{}, kvstore.ErrNotFound
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
	past, _, _ := cluster.List(context.Background(), record.AddrPrefix)
	h.release(id, netip.MustParseAddr("10.1.0.5"))
	h.work() // it is given back
	store.past, store.times = past, 1
	h.clock.add(checkTime)
	h.work()
	for _, c := range h.Claims(id.Subnet) {
		if c.Addr.String() == "10.1.0.5" {
			t.Error("took an address that it had given back")
		}
	}
}

// Nobody gets an address because a reading shows that it was this host's.
func TestReadFromThePastGivesNothing(t *testing.T) {
	h1, store, id, a, _ := passedOn(t)
	past, _, _ := store.Store.List(t.Context(), record.AddrPrefix)
	h1.release(id, a)
	h1.work()
	h3 := newHost(t, "h3", store.Store)
	network, _ := h1.networks.Network("n")
	if err := h3.named(h3.mirror("n", network.Subnets[0]), a.String()); err != nil {
		t.Fatal(err)
	}
	store.past, store.times = past, 1
	if err := h1.named(id, a.String()); err == nil || !strings.Contains(err.Error(), "h3") {
		t.Errorf("two hosts have %v: %v", a, err)
	}
}

// passedOn is an address that h2 had and that h1 has, with what could be read
// while it was h2's.
func passedOn(t *testing.T) (h1 *host, store *replaced, id space.PoolID, a netip.Addr, past []kvstore.Pair) {
	cluster := newMemory()
	store = &replaced{Store: cluster}
	h1, h2 := newHost(t, "h1", store), newHost(t, "h2", cluster)
	id = h1.network("n", "10.1.0.0/16", "")
	network, _ := h1.networks.Network("n")
	id2 := h2.mirror("n", network.Subnets[0])
	h1.work()
	a = netip.MustParseAddr("10.1.0.5")
	if err := h2.named(id2, a.String()); err != nil {
		t.Fatal(err)
	}
	past, _, _ = cluster.List(context.Background(), record.AddrPrefix)
	h2.release(id2, a)
	h2.work() // it is given back
	if err := h1.named(id, a.String()); err != nil {
		t.Fatal(err)
	}
	return h1, store, id, a, past
}

// A container keeps its address although a Consul that has just started shows
// whose it was before.
func TestReadFromThePastLosesNothing(t *testing.T) {
	h, store, id, a, past := passedOn(t)
	h.networks.endpoint(a)
	store.past, store.times = past, 1
	h.clock.add(checkTime)
	h.work()
	if store.times > 0 {
		t.Fatal("nothing was read")
	}
	if len(h.lost) > 0 {
		t.Errorf("lost %v", h.lost)
	}
	i := slices.IndexFunc(h.Claims(id.Subnet), func(c Claimed) bool { return c.Addr == a && c.Used })
	if i < 0 {
		t.Errorf("of %v, which is in use, nothing is known any more", a)
	}
}

// An address that is given back is not forgotten while it is this host's: a delete
// under way would take it from a container that gets it then.
func TestReadFromThePastForgetsNothing(t *testing.T) {
	for _, what := range []string{"another host's", "nobody's"} {
		t.Run(what, func(t *testing.T) {
			h, store, id, a, past := passedOn(t)
			h.release(id, a)
			if store.times = 2; what == "another host's" {
				store.past = past
			}
			for range 3 {
				_, _ = h.pass(context.Background())
				_, err := store.Store.Get(context.Background(), record.AddrKey(id.Subnet, a))
				if h.pools[id.Subnet].claims[a].State == "" && err == nil {
					t.Fatalf("%v is this host's, who has forgotten it", a)
				}
			}
			if _, err := store.Store.Get(context.Background(), record.AddrKey(id.Subnet, a)); err == nil || store.times > 0 {
				t.Errorf("%v was not given back", a)
			}
		})
	}
}
