package ipam

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/sirupsen/logrus"
	"go.uber.org/goleak"

	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/kvstore"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// clock is moved by hand.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Unix(1_700_000_000, 0)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(time.Microsecond) // no two events at one time
	return c.now
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// host is one host of a cluster in a test.
type host struct {
	*Allocator
	t        testing.TB
	name     string
	state    kvstore.Store
	cluster  kvstore.Store
	networks *networks
	clock    *clock
	config   Config
	lost     []string
}

func newHost(t testing.TB, name string, cluster kvstore.Store) *host {
	t.Helper()
	h := &host{t: t, name: name, state: newMemory(), cluster: cluster, networks: newNetworks(), clock: newClock()}
	log := logrus.New()
	log.SetOutput(io.Discard)
	h.config = Config{
		Host: name, Incarnation: "1", Networks: h.networks, Log: log, Now: h.clock.Now,
		doubt: time.Nanosecond,
		Lost:  func(a netip.Addr, by string) { h.lost = append(h.lost, fmt.Sprintf("%v %s", a, by)) },
	}
	h.open()
	return h
}

// open starts weft anew on the host.
func (h *host) open() {
	h.t.Helper()
	h.config.State, h.config.Cluster = h.state, h.cluster
	a, err := Open(context.Background(), h.config)
	if err != nil {
		h.t.Fatal(err)
	}
	h.Allocator = a
}

// work is Run until nothing is left to do.
func (h *host) work() {
	h.t.Helper()
	for range 3 {
		h.clock.add(time.Second)
		if _, err := h.pass(context.Background()); err != nil {
			h.t.Fatalf("%s: %v", h.name, err)
		}
	}
}

func (h *host) pool(subnet, ipRange string, options ...string) (PoolID, error) {
	r := PoolRequest{Options: map[string]string{}}
	if subnet != "" {
		r.Subnet = netip.MustParsePrefix(subnet)
		r.V6 = r.Subnet.Addr().Is6()
	}
	if ipRange != "" {
		r.Range = netip.MustParsePrefix(ipRange)
	}
	for _, o := range options {
		key, value, _ := strings.Cut(o, "=")
		r.Options[key] = value
	}
	return h.RequestPool(context.Background(), r)
}

func (h *host) mustPool(subnet, ipRange string, options ...string) PoolID {
	h.t.Helper()
	id, err := h.pool(subnet, ipRange, options...)
	if err != nil {
		h.t.Fatal(err)
	}
	return id
}

// network makes a network on the host, as Docker and the registry would.
func (h *host) network(id, subnet, ipRange string) PoolID {
	h.t.Helper()
	pool := h.mustPool(subnet, ipRange)
	gateway, err := h.RequestAddress(context.Background(), AddressRequest{Pool: pool, Gateway: true})
	if err != nil {
		h.t.Fatal(err)
	}
	h.networks.add(id, true, overlay.Subnet{Prefix: pool.Subnet, Range: pool.Range, Gateway: gateway.Addr()})
	return pool
}

// mirror makes the copy of a network that another host has made.
func (h *host) mirror(id string, s overlay.Subnet) PoolID {
	h.t.Helper()
	h.networks.add(id, false, s)
	pool := h.mustPool("", "", "weft.id="+id)
	h.networks.add(id, true, s)
	return pool
}

func (h *host) any(id PoolID) (netip.Addr, error) {
	p, err := h.RequestAddress(context.Background(), AddressRequest{Pool: id})
	return p.Addr(), err
}

func (h *host) mustAny(id PoolID) netip.Addr {
	h.t.Helper()
	a, err := h.any(id)
	if err != nil {
		h.t.Fatal(err)
	}
	return a
}

func (h *host) named(id PoolID, addr string) error {
	_, err := h.RequestAddress(context.Background(), AddressRequest{Pool: id, Addr: netip.MustParseAddr(addr), Endpoint: true})
	return err
}

func (h *host) release(id PoolID, a netip.Addr) {
	h.t.Helper()
	if err := h.ReleaseAddress(context.Background(), id, a); err != nil {
		h.t.Fatal(err)
	}
}

func (h *host) stock(id PoolID) int {
	n := 0
	for _, c := range h.Claims(id.Subnet) {
		if !c.Used {
			n++
		}
	}
	return n
}

// wantError fails unless err is the sentence.
func wantError(t *testing.T, err error, sentence string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), sentence) {
		t.Errorf("got error\n\t%v\nwant\n\t%s", err, sentence)
	}
}

func TestStartFromStockNeedsNoCluster(t *testing.T) {
	cluster := newMemory()
	var down bool
	f := &flaky{Store: cluster, next: func() fault {
		if down {
			return before
		}
		return none
	}}
	h := newHost(t, "h1", f)
	id := h.network("n", "10.1.0.0/16", "")
	h.work()
	if got := h.stock(id); got != largeStock {
		t.Fatalf("stock is %d, want %d", got, largeStock)
	}
	down = true
	seen := set{}
	for range largeStock {
		a := h.mustAny(id)
		if seen.has(a) {
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
	down = false
	h.work()
	if h.stock(id) == 0 {
		t.Error("stock is not filled after the store came back")
	}
}

func TestMirroredNetworkNeedsNoCluster(t *testing.T) {
	h := newHost(t, "h2", &flaky{Store: newMemory(), next: func() fault { return before }})
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
	wantError(t, err, `gateway 10.1.0.1 differs from 10.1.0.9, the gateway of network "n" (10.1.0.0/16) on its other hosts`)
}

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
	wantError(t, err, `subnet 10.2.0.0/16 overlaps 10.2.0.0/16, a pool made on host h2: choose another --subnet`)
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
	h.config.Auto = []Auto{{Base: netip.MustParsePrefix("10.128.0.0/21"), Bits: 24}}
	h.config.Routes = func(context.Context) ([]netip.Prefix, error) {
		return []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("10.128.2.64/26")}, nil
	}
	h.config.ULA = func() (netip.Prefix, error) { return netip.MustParsePrefix("fd12:3456:789a::/48"), nil }
	h.open()
	seen := map[PoolID]bool{}
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
	if got := cluster.keys(poolPrefix); !cmp.Equal(got, []string{poolSeq}) {
		t.Errorf("pools that became no network's are left: %v", got)
	}
	id, err := h.RequestPool(context.Background(), PoolRequest{V6: true})
	if err != nil || id.Subnet.Bits() != 64 || !netip.MustParsePrefix("fd12:3456:789a::/48").Overlaps(id.Subnet) {
		t.Errorf("IPv6 pool is %v, %v", id, err)
	}
}

func TestAddressesOfTheNetworkItself(t *testing.T) {
	for _, test := range []struct{ subnet, gateway, aux string }{
		{"10.1.0.0/24", "10.1.0.1", "10.1.0.7"},
		{"fd00:1::/64", "fd00:1::1", "fd00:1::7"},
		{"10.2.0.0/31", "10.2.0.0", ""},
		{"10.3.0.0/32", "10.3.0.0", ""},
		{"fd00:2::/127", "fd00:2::", ""},
	} {
		t.Run(test.subnet, func(t *testing.T) {
			ctx := context.Background()
			cluster := newMemory()
			h := newHost(t, "h1", cluster)
			id := h.mustPool(test.subnet, "")
			for range 2 {
				p, err := h.RequestAddress(ctx, AddressRequest{Pool: id, Gateway: true})
				if err != nil || p.Addr().String() != test.gateway || p.Bits() != id.Subnet.Bits() {
					t.Fatalf("gateway is %v, %v, want %s", p, err, test.gateway)
				}
				if test.aux == "" {
					continue
				}
				aux := netip.MustParseAddr(test.aux)
				if _, err := h.RequestAddress(ctx, AddressRequest{Pool: id, Addr: aux}); err != nil {
					t.Fatal(err)
				}
			}
			h.networks.add("n", true, overlay.Subnet{Prefix: id.Subnet, Gateway: netip.MustParseAddr(test.gateway)})
			if got := cluster.keys(addrPrefix); got != nil {
				t.Errorf("claimed %v for the network itself", got)
			}
			wantError(t, h.named(id, test.gateway), fmt.Sprintf("address %s is the gateway of network %q (%s): choose another", test.gateway, "n", test.subnet))
			if test.aux != "" {
				wantError(t, h.named(id, test.aux), fmt.Sprintf("address %s is an aux address of network", test.aux))
			}
			h.work()
			for _, c := range h.Claims(id.Subnet) {
				if s := c.Addr.String(); s == test.gateway || s == test.aux {
					t.Errorf("%s is in stock", s)
				}
			}
		})
	}
}

func TestGatewayIsChosenWhileMaking(t *testing.T) {
	ctx := context.Background()
	h := newHost(t, "h1", newMemory())
	id := h.mustPool("10.1.0.0/24", "")
	for gateway, want := range map[string]string{
		"10.1.0.0":   "gateway 10.1.0.0 cannot be a host's address in subnet 10.1.0.0/24",
		"10.1.0.255": "gateway 10.1.0.255 cannot be a host's address in subnet 10.1.0.0/24",
		"10.2.0.1":   "address 10.2.0.1 is not inside subnet 10.1.0.0/24",
	} {
		_, err := h.RequestAddress(ctx, AddressRequest{Pool: id, Addr: netip.MustParseAddr(gateway), Gateway: true})
		wantError(t, err, want)
	}
	p, err := h.RequestAddress(ctx, AddressRequest{Pool: id, Addr: netip.MustParseAddr("10.1.0.254"), Gateway: true})
	if err != nil || p.String() != "10.1.0.254/24" {
		t.Errorf("gateway is %v, %v", p, err)
	}
}

func TestNamedAddresses(t *testing.T) {
	cluster := newMemory()
	h1, h2 := newHost(t, "h1", cluster), newHost(t, "h2", cluster)
	id := h1.network("n", "10.1.0.0/24", "10.1.0.128/25")
	h2.mirror("n", overlay.Subnet{Prefix: id.Subnet, Range: id.Range, Gateway: netip.MustParseAddr("10.1.0.1")})

	for addr, want := range map[string]string{
		"10.1.0.0":   `address 10.1.0.0 is the network address of network "n" (10.1.0.0/24): choose another`,
		"10.1.0.255": `address 10.1.0.255 is the broadcast address of network "n" (10.1.0.0/24): choose another`,
		"10.1.1.5":   `address 10.1.1.5 is not inside subnet 10.1.0.0/24`,
	} {
		wantError(t, h1.named(id, addr), want)
	}
	if err := h1.named(id, "10.1.0.5"); err != nil {
		t.Fatal(err)
	}
	wantError(t, h1.named(id, "10.1.0.5"), "address 10.1.0.5 is in use on this host")
	wantError(t, h2.named(id, "10.1.0.5"), "address 10.1.0.5 is in use or kept in stock on host h1")
	h2.networks.owners[netip.MustParseAddr("10.1.0.5")] = `container "web" on host h1`
	wantError(t, h2.named(id, "10.1.0.5"), `address 10.1.0.5 is in use by container "web" on host h1`)

	// It moves: h1's container stops, h2's starts, and so on.
	for range 3 {
		h1.release(id, netip.MustParseAddr("10.1.0.5"))
		h1.work()
		if err := h2.named(id, "10.1.0.5"); err != nil {
			t.Fatal(err)
		}
		h1, h2 = h2, h1
	}
	// It restarts in place before it was given back.
	h1.release(id, netip.MustParseAddr("10.1.0.5"))
	if err := h1.named(id, "10.1.0.5"); err != nil {
		t.Fatal(err)
	}
}

func TestRangeIsForAddressesThatNobodyNames(t *testing.T) {
	h := newHost(t, "h1", newMemory())
	id := h.network("n", "10.1.0.0/16", "10.1.8.0/29")
	var got []string
	for {
		a, err := h.any(id)
		if err != nil {
			wantError(t, err, `network "n" (10.1.0.0/16) has no free address in its --ip-range 10.1.8.0/29: of 8, 8 are in use on this host`)
			break
		}
		got = append(got, a.String())
	}
	slices.Sort(got)
	want := []string{"10.1.8.0", "10.1.8.1", "10.1.8.2", "10.1.8.3", "10.1.8.4", "10.1.8.5", "10.1.8.6", "10.1.8.7"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("addresses (-want +got):\n%s", diff)
	}
	if err := h.named(id, "10.1.9.9"); err != nil {
		t.Errorf("an address outside the range, by name: %v", err)
	}
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
	if got := h.stock(id); got > 2*maxStock {
		t.Errorf("stock is %d after all were released", got)
	}
	h.clock.add(lookBack)
	h.work()
	if got := len(cluster.keys(addrPrefix)); got > 2*largeStock || got != h.stock(id) {
		t.Errorf("%d claimed and %d in stock, long after", got, h.stock(id))
	}
}

func TestReleasedAddressIsUsedAgainLast(t *testing.T) {
	h := newHost(t, "h1", newMemory())
	id := h.network("n", "10.1.0.0/16", "")
	h.work()
	first := h.mustAny(id)
	h.release(id, first)
	for range largeStock - 1 {
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
	wantError(t, err, `gateway 10.1.0.2 differs from 10.1.0.1, the gateway of group "lan" (10.1.0.0/24) on its other hosts`)
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
		if got := len(cluster.keys(poolKey(id.Subnet))); got != 1-i {
			t.Errorf("after %d of 2 hosts left there are %d records of the pool", i+1, got)
		}
	}
	if got := cluster.keys(addrPrefix); got != nil {
		t.Errorf("left: %v", got)
	}
}

func TestGroupIsMadeOnce(t *testing.T) {
	cluster := newMemory()
	ids := make([]PoolID, 8)
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

func TestManyHostsMakePoolsAtOnce(t *testing.T) {
	cluster := newMemory()
	var mu sync.Mutex
	var got []netip.Prefix
	var wg sync.WaitGroup
	for i := range 8 {
		h := newHost(t, fmt.Sprintf("h%d", i), cluster)
		h.config.Auto = []Auto{{Base: netip.MustParsePrefix("10.128.0.0/18"), Bits: 24}}
		h.open()
		wg.Go(func() {
			for range 4 {
				id, err := h.pool("", "")
				mu.Lock()
				if other, ok := overlapping(got, id.Subnet); err != nil || ok {
					t.Errorf("got %v, %v, which overlaps %v", id, err, other)
				}
				got = append(got, id.Subnet)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
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
		Kind: kvstore.Set, Key: addrKey(id.Subnet, stolen), Value: encode(holder{Host: "h2", Incarnation: "7"}),
	})
	if err != nil {
		t.Fatal(err)
	}
	h.clock.add(checkTime)
	h.work()
	if got := cluster.keys(poolKey(id.Subnet)); len(got) != 1 {
		t.Errorf("the pool's record is missing: %v", cluster.keys(""))
	}
	if _, err := cluster.Get(context.Background(), addrKey(id.Subnet, kept)); err != nil {
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

func TestAddressWithoutAnEndpointIsFreed(t *testing.T) {
	h := newHost(t, "h1", newMemory())
	id := h.network("n", "10.1.0.0/24", "")
	h.work()
	kept, orphan := h.mustAny(id), h.mustAny(id)
	h.networks.own(kept, "container c on host h1")
	for range 3 {
		h.clock.add(checkTime)
		h.work()
	}
	used := h.Claims(id.Subnet)
	used = slices.DeleteFunc(used, func(c Claimed) bool { return !c.Used })
	if len(used) != 1 || used[0].Addr != kept {
		t.Errorf("in use are %v, want only %v, not %v", used, kept, orphan)
	}
}

func TestAddressesOfALostStateAreLeftAlone(t *testing.T) {
	cluster := newMemory()
	h := newHost(t, "h1", cluster)
	id := h.network("n", "10.1.0.0/24", "")
	h.work()
	running, other := h.mustAny(id), h.mustAny(id)
	before := len(cluster.keys(addrPrefix))

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
	if _, err := cluster.Get(context.Background(), addrKey(id.Subnet, other)); !errors.Is(err, kvstore.ErrNotFound) {
		t.Errorf("of %d old addresses, one that nobody uses is still claimed: %v", before, err)
	}
	if _, err := cluster.Get(context.Background(), addrKey(id.Subnet, running)); err != nil {
		t.Errorf("the one in use is gone: %v", err)
	}
}
