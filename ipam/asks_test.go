package ipam

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weft-net/weft/ipam/record"
	"github.com/weft-net/weft/ipam/space"
	"github.com/weft-net/weft/ipam/stock"
)

// neighbours gives hosts that hear each other and have one network, which the first has
// made. They all run.
func neighbours(t *testing.T, cluster *memory, subnet string, names ...string) (hosts []*host, id space.PoolID) {
	t.Helper()
	for _, name := range names {
		h := newHost(t, name, cluster)
		h.config.Now = time.Now
		h.open()
		h.networks.hosts, h.networks.before = len(names), len(hosts)
		hosts = append(hosts, h)
	}
	id = hosts[0].network("n", subnet, "")
	net, _ := hosts[0].networks.Network("n")
	for _, h := range hosts[1:] {
		h.networks.add("n", false, net.Subnets[0])
		if _, err := h.RequestPool(t.Context(), PoolRequest{V6: id.Subnet.Addr().Is6(), Options: map[string]string{"weft.id": "n"}}); err != nil {
			t.Fatal(err)
		}
		h.networks.add("n", true, net.Subnets[0])
	}
	ctx, cancel := context.WithCancel(context.Background())
	var telling sync.WaitGroup
	t.Cleanup(func() { cancel(); telling.Wait() })
	for _, h := range hosts {
		var others []*host
		for _, other := range hosts {
			if other != h {
				h.networks.hears(other)
				others = append(others, other)
			}
		}
		telling.Go(func() {
			for {
				select {
				case <-ctx.Done():
					return
				case <-h.Changed():
				}
				h.Wake() // as the registry's changes do
				for _, other := range others {
					other.Wake()
				}
			}
		})
		h.start()
	}
	eventually(t, "the first host has its stock", func() bool { return hosts[0].stock(id) > 0 })
	return hosts, id
}

// eventually waits for what Run brings about.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within 20 s", what)
		}
	}
}

// noAsks fails if a host still asks for something.
func noAsks(t *testing.T, id space.PoolID, hosts ...*host) {
	t.Helper()
	for _, h := range hosts {
		if got := h.Asks(id.Subnet); len(got) > 0 {
			t.Errorf("%s still asks for %v", h.name, got)
		}
	}
}

// An address that no container has is given to whoever names it, although another host
// keeps it in stock. That host fills its stock again, with others.
func TestANamedAddressComesFromAnotherHostsStock(t *testing.T) {
	for _, subnet := range []string{"10.1.0.0/16", "10.1.0.0/24", "fd00:1::/64"} {
		t.Run(subnet, func(t *testing.T) {
			hosts, id := neighbours(t, newMemory(), subnet, "h1", "h2", "h3")
			h1, h2 := hosts[0], hosts[1]
			for _, a := range h1.Stock(id.Subnet) {
				if err := h2.named(id, a.String()); err != nil {
					t.Fatal(err)
				}
				if slices.Contains(h1.Stock(id.Subnet), a) {
					t.Errorf("%v is still in h1's stock", a)
				}
			}
			noAsks(t, id, hosts...)
			eventually(t, "h1 has its stock again", func() bool { return h1.stock(id) == h1.Usage()[0].Target && h1.stock(id) > 0 })
		})
	}
}

// The same if it was in use a moment ago.
func TestANamedAddressThatWasInUseAMomentAgo(t *testing.T) {
	hosts, id := neighbours(t, newMemory(), "10.1.0.0/24", "h1", "h2")
	h1, h2 := hosts[0], hosts[1]
	for range 5 {
		if err := h1.named(id, "10.1.0.200"); err != nil {
			t.Fatal(err)
		}
		h1.release(id, netip.MustParseAddr("10.1.0.200"))
		h1, h2 = h2, h1
	}
}

// An address in use is refused at once, and stays in use.
func TestAnAddressInUseIsNotAskedFor(t *testing.T) {
	hosts, id := neighbours(t, newMemory(), "10.1.0.0/24", "h1", "h2")
	a := hosts[0].mustAny(id)
	hosts[0].networks.endpoint(a)
	begin := time.Now()
	wantError(t, hosts[1].named(id, a.String()), fmt.Sprintf("address %v is in use by container c on host h1: choose another", a))
	if took := time.Since(begin); took > spareTime/2 {
		t.Errorf("the refusal took %v", took)
	}
}

// An address that is used without anybody knowing whose it is, as between Docker's request
// for it and the endpoint, is asked for in vain.
func TestAnAddressInUseIsNotGivenUp(t *testing.T) {
	hosts, id := neighbours(t, newMemory(), "10.1.0.0/24", "h1", "h2")
	a := hosts[0].mustAny(id)
	wantError(t, hosts[1].named(id, a.String()), fmt.Sprintf("address %v is in use or kept in stock on host h1: choose another, or free it there", a))
	noAsks(t, id, hosts...)
	if !slices.ContainsFunc(hosts[0].Claims(id.Subnet), func(c Claimed) bool { return c.Addr == a && c.Used }) {
		t.Errorf("%v is not in use any more", a)
	}
	hosts[0].release(id, a)
	if err := hosts[1].named(id, a.String()); err != nil {
		t.Errorf("released: %v", err)
	}
}

// keeper is a host that keeps addresses of its network in stock and does not run, and
// another host that has the network too and does not hear it.
func keeper(t *testing.T) (h1, h2 *host, id space.PoolID) {
	t.Helper()
	cluster := newMemory()
	h1, h2 = newHost(t, "h1", cluster), newHost(t, "h2", cluster)
	id = h1.network("n", "10.1.0.0/24", "")
	h1.work()
	net, _ := h1.networks.Network("n")
	h2.mirror("n", net.Subnets[0])
	return h1, h2, id
}

// Nobody waits for a host that is dead, nor in a pool that is no network's: there is no
// way to ask.
func TestWhoCannotBeAskedIsNotWaitedFor(t *testing.T) {
	h1, h2, id := keeper(t)
	a := h1.Stock(id.Subnet)[0]
	refused := func(what string) {
		t.Helper()
		begin := time.Now()
		wantError(t, h2.named(id, a.String()), fmt.Sprintf("address %v is in use or kept in stock on host h1", a))
		if took := time.Since(begin); took > spareTime/2 {
			t.Errorf("%s: the refusal took %v", what, took)
		}
		noAsks(t, id, h2)
	}
	h2.networks.says("h1", a)
	refused("a dead host")
	h2.networks.says("", a)
	refused("a dead host of which nothing is known")

	h2.networks.hears(h1)
	h2.networks.remove("n")
	refused("no network")
}

// A host that has been asked and cannot give anything back, since the store does not
// answer it, is waited for no longer than a user waits.
func TestAnAskEnds(t *testing.T) {
	h1, h2, id := keeper(t)
	h2.networks.hears(h1) // which does not run
	a := h1.Stock(id.Subnet)[0]

	begin := time.Now()
	wantError(t, h2.named(id, a.String()), fmt.Sprintf("address %v is in use or kept in stock on host h1", a))
	if took := time.Since(begin); took < spareTime/2 {
		t.Errorf("it was given up after %v", took)
	}
	noAsks(t, id, h2)

	// The gate is free meanwhile, and Docker may give up.
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	refused := make(chan error, 1)
	go func() {
		_, err := h2.RequestAddress(ctx, AddressRequest{Pool: id, Addr: a, Endpoint: true})
		refused <- err
	}()
	eventually(t, "h2 asks", func() bool { return slices.Equal(h2.Asks(id.Subnet), []netip.Addr{a}) })
	if got := h1.networks.Asked("n"); len(got) > 0 {
		t.Errorf("who is not heard asks for %v", got)
	}
	free := netip.MustParseAddr("10.1.0.250")
	for slices.Contains(h1.Stock(id.Subnet), free) {
		free = free.Prev()
	}
	if err := h2.named(id, free.String()); err != nil {
		t.Errorf("another address meanwhile: %v", err)
	}
	cancel()
	if err := <-refused; err == nil {
		t.Error("what Docker gave up was granted")
	}
	noAsks(t, id, h2)
}

// Two hosts that ask for the same address do not both get it.
func TestAnAskedAddressGoesToOne(t *testing.T) {
	cluster := newMemory()
	hosts, id := neighbours(t, cluster, "10.1.0.0/24", "h1", "h2", "h3", "h4")
	for range 3 {
		eventually(t, "h1 has stock", func() bool { return hosts[0].stock(id) > 0 })
		a := hosts[0].Stock(id.Subnet)[0]
		errs := make([]error, 3)
		var all sync.WaitGroup
		for i, h := range hosts[1:] {
			all.Go(func() {
				if errs[i] = h.named(id, a.String()); errs[i] == nil {
					h.networks.endpoint(a)
				}
			})
		}
		all.Wait()
		had := 0
		for i, h := range hosts[1:] {
			if errs[i] == nil {
				had++
				h.networks.removeEndpoint(a)
				h.release(id, a)
			} else if !strings.Contains(errs[i].Error(), "is in use") {
				t.Error(errs[i])
			}
		}
		if had != 1 {
			t.Errorf("%d of 3 hosts got %v: %v", had, a, errs)
		}
		noAsks(t, id, hosts...)
	}
}

// What another host asks for may be anything. Only what is in stock is given back, and
// what is asked for is not drawn.
func TestStrangeAsks(t *testing.T) {
	cluster := newMemory()
	h := newHost(t, "h1", cluster)
	id := h.network("n", "10.1.0.0/24", "")
	h.work()
	used := h.mustAny(id)
	h.work()
	before := h.Claims(id.Subnet)
	var strange []netip.Addr
	for i := range 100 {
		strange = append(strange, netip.MustParseAddr(fmt.Sprintf("10.2.0.%d", i)), netip.MustParseAddr(fmt.Sprintf("fd00::%d", i)))
	}
	strange = append(strange, netip.Addr{}, netip.MustParseAddr("10.1.0.0"), netip.MustParseAddr("10.1.0.1"),
		netip.MustParseAddr("10.1.0.255"), netip.MustParseAddr("::ffff:10.1.0.2"), netip.MustParseAddr("fe80::1%eth0"), used)
	h.networks.ask(strange...)
	h.work()
	if after := h.Claims(id.Subnet); !slices.Equal(before, after) {
		t.Errorf("had %v, and has %v", before, after)
	}

	// All that is free but one.
	last := netip.MustParseAddr("10.1.0.77")
	if err := h.named(id, last.String()); err != nil {
		t.Fatal(err)
	}
	var all []netip.Addr
	for i := range space.Usable(id.Subnet).Size() {
		if a := space.Usable(id.Subnet).At(i); a != last {
			all = append(all, a)
		}
	}
	h.networks.ask(all...)
	h.release(id, last)
	h.work()
	if got := h.Stock(id.Subnet); len(got) > 0 && !slices.Equal(got, []netip.Addr{last}) {
		t.Errorf("in stock is %v", got)
	}
	if got := h.mustAny(id); got != last {
		t.Errorf("%v is handed out, which another host asks for", got)
	}
	if got := len(cluster.keys(record.AddrPrefix)); got != 2 {
		t.Errorf("%d addresses are claimed, want those in use", got)
	}
	h.networks.ask()
	h.work()
	if got := h.stock(id); got != stock.Default {
		t.Errorf("%d in stock when nobody asks any more", got)
	}
}

// Hosts that all name addresses of each other's stock, and start other containers
// meanwhile, never share one.
func TestManyAsk(t *testing.T) {
	cluster := newMemory()
	hosts, id := neighbours(t, cluster, "10.1.0.0/24", "h1", "h2", "h3")
	var mu sync.Mutex
	of := map[netip.Addr]string{}
	use := func(h *host, a netip.Addr) {
		mu.Lock()
		if by := of[a]; by != "" {
			t.Errorf("%s and %s have %v", by, h.name, a)
		}
		of[a] = h.name
		mu.Unlock()
		h.networks.endpoint(a)
	}
	free := func(h *host, a netip.Addr) {
		h.networks.removeEndpoint(a)
		mu.Lock()
		delete(of, a)
		mu.Unlock()
		h.release(id, a)
	}
	var all sync.WaitGroup
	for i, h := range hosts {
		other := hosts[(i+1)%len(hosts)]
		all.Go(func() {
			for range 10 {
				if kept := other.Stock(id.Subnet); len(kept) > 0 && h.named(id, kept[0].String()) == nil {
					use(h, kept[0])
					free(h, kept[0])
				}
			}
		})
		all.Go(func() {
			for range 200 {
				if a, err := h.any(id); err == nil {
					use(h, a)
					free(h, a)
				} else {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	noAsks(t, id, hosts...)
}
