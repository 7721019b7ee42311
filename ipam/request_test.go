package ipam

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/ipam/record"
	"github.com/weft-net/weft/ipam/space"
	"github.com/weft-net/weft/kvstore"
	"github.com/weft-net/weft/kvstore/kvtest"
)

func TestPoolsNeverOverlap(t *testing.T) {
	cluster := newMemory()
	h1, h2 := newHost(t, "h1", cluster), newHost(t, "h2", cluster)
	h1.network("ov_net1", "10.1.0.0/16", "")
	h2.networks.add("ov_net1", false, overlay.Subnet{Prefix: netip.MustParsePrefix("10.1.0.0/16")})
	_, err := h2.pool("10.1.0.0/24", "")
	wantError(t, err, `subnet 10.1.0.0/24 overlaps 10.1.0.0/16 of network "ov_net1" (created on host h1): choose another --subnet`)
	_, err = h2.pool("10.0.0.0/8", "")
	wantError(t, err, `subnet 10.0.0.0/8 overlaps 10.1.0.0/16 of network "ov_net1"`)
	h2.mustPool("10.2.0.0/16", "")
	_, err = h2.pool("10.2.0.0/16", "")
	wantError(t, err, `subnet 10.2.0.0/16 overlaps 10.2.0.0/16, a pool made on host h2 (free in two minutes if no network came of it): choose another --subnet`)
}

func TestRequestPoolRefuses(t *testing.T) {
	h := newHost(t, "h1", newMemory())
	for _, test := range []struct{ subnet, ipRange, option, want string }{
		{"10.1.0.5/24", "", "", "subnet 10.1.0.5/24 has bits set behind its length: use 10.1.0.0/24"},
		{"10.1.0.0/24", "10.2.0.0/28", "", "--ip-range 10.2.0.0/28 is not inside --subnet 10.1.0.0/24"},
		{"10.1.0.0/24", "10.1.0.3/28", "", "--ip-range 10.1.0.3/28 has bits set behind its length: use 10.1.0.0/28"},
		{"", "10.1.0.0/28", "", "--ip-range 10.1.0.0/28 needs a --subnet around it"},
		{"224.0.0.0/8", "", "", "subnet 224.0.0.0/8 is not for ordinary hosts"},
		{"fe80::/64", "", "", "subnet fe80::/64 is not for ordinary hosts"},
		{"0.0.0.0/0", "", "", "subnet 0.0.0.0/0 is too large"},
		{"10.1.0.0/24", "", "weft.foo=1", "unknown --ipam-opt weft.foo: weft has only weft.id"},
		{"10.1.0.0/24", "", "weft.id=a b", `--ipam-opt weft.id="a b": not a name`},
	} {
		var options []string
		if test.option != "" {
			options = append(options, test.option)
		}
		_, err := h.pool(test.subnet, test.ipRange, options...)
		wantError(t, err, test.want)
	}
	if _, err := h.pool("10.1.0.0/24", "", "io=iv"); err != nil {
		t.Errorf("another program's option is refused: %v", err)
	}
	_, err := h.RequestPool(context.Background(), PoolRequest{Subnet: netip.MustParsePrefix("10.3.0.0/24"), V6: true})
	wantError(t, err, "subnet 10.3.0.0/24 is not of the address family asked for")
}

func TestAutoPoolsDifferAndAvoidRoutes(t *testing.T) {
	cluster := newMemory()
	h := newHost(t, "h1", cluster)
	h.config.Auto = []space.Auto{{Base: netip.MustParsePrefix("10.128.0.0/21"), Bits: 24}}
	h.config.Routes = func(context.Context) ([]netip.Prefix, error) {
		return []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("10.128.2.64/26")}, nil
	}
	h.config.ULA = func() (netip.Prefix, error) { return netip.MustParsePrefix("fd12:3456:789a::/48"), nil }
	h.open()
	seen := map[space.PoolID]bool{}
	for range 7 {
		id := h.mustPool("", "")
		if seen[id] || id.Subnet.Overlaps(netip.MustParsePrefix("10.128.2.0/24")) {
			t.Fatalf("got %v again or on a route", id)
		}
		seen[id] = true
	}
	_, err := h.pool("", "")
	wantError(t, err, "no free subnet left in")
	for id := range seen {
		if err := h.ReleasePool(context.Background(), id); err != nil {
			t.Fatal(err)
		}
	}
	h.work()
	if got := cluster.keys(record.PoolPrefix); !cmp.Equal(got, []string{record.PoolSeq}) {
		t.Errorf("pools that became no network's are left: %v", got)
	}
	id, err := h.RequestPool(context.Background(), PoolRequest{V6: true})
	if err != nil || id.Subnet.Bits() != 64 || !netip.MustParsePrefix("fd12:3456:789a::/48").Overlaps(id.Subnet) {
		t.Errorf("IPv6 pool is %v, %v", id, err)
	}
}

func TestManyHostsMakePoolsAtOnce(t *testing.T) {
	cluster := newMemory()
	var mu sync.Mutex
	var got []netip.Prefix
	var wg sync.WaitGroup
	for i := range 8 {
		h := newHost(t, fmt.Sprintf("h%d", i), cluster)
		h.config.Auto = []space.Auto{{Base: netip.MustParsePrefix("10.128.0.0/18"), Bits: 24}}
		h.open()
		wg.Go(func() {
			for range 4 {
				id, err := h.pool("", "")
				mu.Lock()
				if other, ok := space.Overlapping(got, id.Subnet); err != nil || ok {
					t.Errorf("got %v, %v, which overlaps %v", id, err, other)
				}
				got = append(got, id.Subnet)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
}

// A mirrored network's pool is known by its subnet while Docker is being asked
// for the network, and refused as taken at any other time.
func TestPoolOfAMirroredNetwork(t *testing.T) {
	s := newMemory()
	h1, h2 := newHost(t, "h1", s), newHost(t, "h2", s)
	id := h1.network("n", "10.1.0.0/16", "10.1.1.0/24")
	h2.networks.add("n", false, overlay.Subnet{Prefix: id.Subnet, Range: id.Range})
	if _, err := h2.pool("10.1.0.0/16", "10.1.1.0/24", ""); err == nil || !strings.Contains(err.Error(), "overlaps 10.1.0.0/16 of network") {
		t.Errorf("before: %v", err)
	}
	h2.networks.mirroring = "n"
	if got := h2.mustPool("10.1.0.0/16", "10.1.1.0/24", ""); got != id {
		t.Errorf("got %v, want %v", got, id)
	}
}

func TestFailedCreationOfACopyLeavesTheNetworkAlone(t *testing.T) {
	h := newHost(t, "h1", newMemory())
	id := h.network("n", "10.1.0.0/16", "")
	h.work()
	again := h.mustPool("", "", "weft.id=n")
	for range 3 {
		if err := h.ReleasePool(context.Background(), again); err != nil {
			t.Fatal(err)
		}
	}
	h.clock.add(time.Hour)
	h.work()
	if h.stock(id) == 0 {
		t.Error("the network lost its stock")
	}
	h.open()
	h.work()
	h.mustAny(id)
}

// Hosts that make networks all the time hold a request up and do not make it fail.
func TestAPoolIsMadeWhileOthersKeepMakingThem(t *testing.T) {
	cluster := newMemory()
	rival := func(until time.Time) kvstore.Store {
		return kvtest.Before(cluster, func(context.Context, kvtest.Request) error {
			if time.Now().Before(until) {
				made := kvstore.Op{Kind: kvstore.Set, Key: record.PoolSeq, Value: []byte(time.Now().String())}
				if _, err := cluster.Txn(context.Background(), made); err != nil {
					t.Error(err)
				}
			}
			return nil
		})
	}
	h := newHost(t, "h1", rival(time.Now().Add(300*time.Millisecond)))
	h.config.Auto = []space.Auto{{Base: netip.MustParsePrefix("10.128.0.0/16"), Bits: 24}}
	h.open()
	h.mustPool("", "")
	h = newHost(t, "h2", rival(time.Now().Add(300*time.Millisecond)))
	h.mustPool("10.1.0.0/16", "")
}
