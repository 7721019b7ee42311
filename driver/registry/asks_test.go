package registry_test

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/registry/registrytest"
	"github.com/weft-net/weft/ipam"
)

// asking is an IPAM side that asks for addresses.
type asking struct {
	registrytest.NoAddresses
	of atomic.Pointer[[]netip.Addr]
}

func (a *asking) Asks(p netip.Prefix) []netip.Addr {
	var out []netip.Addr
	for _, addr := range *a.of.Load() {
		if p.Contains(addr) {
			out = append(out, addr)
		}
	}
	return out
}

func some(format string, from, to int) (out []netip.Addr) {
	for i := from; i < to; i++ {
		out = append(out, netip.MustParseAddr(fmt.Sprintf(format, i)))
	}
	return out
}

// What a host asks for is known to the others as long as it asks and lives. However much
// it asks for at a time, it is heard with a few, which are the same for all.
func TestAsksReachOtherHosts(t *testing.T) {
	cluster := registrytest.OpenStore(t, "cluster.db")
	h1, h2 := newMachine(t, "h1", cluster), newMachine(t, "h2", cluster)
	n := h1.create("d1", overlay.Network{Subnets: []overlay.Subnet{{Prefix: subnetA}, {Prefix: subnetB}}})
	eventually(t, "h2 sees the network", func() bool { return h2.sees(n.ID) })
	h2.create("d2", overlay.Network{ID: n.ID, Subnets: n.Subnets})
	eventually(t, "h2 sees h1", func() bool { return h2.attachedPeer(n.ID, "h1") && h2.Claims().Lives("h1") })
	if h2.Claims().Lives("h2") || h2.Claims().Lives("nobody") {
		t.Error("another host is this one, or none")
	}

	side := &asking{}
	ask := func(what string, wanted []netip.Addr, asks ...netip.Addr) {
		t.Helper()
		side.of.Store(&asks)
		h1.SetAddresses(side)
		h1.AddressesChanged()
		eventually(t, what, func() bool { return slices.Equal(h2.Claims().Asked(n.ID), wanted) })
		if told, _ := h2.Direct().PeerAttachment("h1", n.ID); !slices.Equal(told.Asks, wanted) {
			t.Errorf("%s: h2 is told %v", what, told.Asks)
		}
		if got := h1.Claims().Asked(n.ID); len(got) > 0 {
			t.Errorf("%s: h1 is asked for %v", what, got)
		}
	}
	ask("one", some("10.1.0.%d", 9, 10), some("10.1.0.%d", 9, 10)...)
	ask("others", some("10.1.0.%d", 10, 12), some("10.1.0.%d", 10, 12)...)
	ask("in both subnets", append(some("10.1.0.%d", 10, 11), some("10.2.0.%d", 3, 4)...), append(some("10.2.0.%d", 3, 4), some("10.1.0.%d", 10, 11)...)...)
	ask("many", some("10.1.0.%d", 20, 20+overlay.MostAsks), append(some("10.1.0.%d", 20, 60), some("10.2.0.%d", 20, 60)...)...)
	ask("none", nil)

	at, _ := h2.Direct().PeerAttachment("h1", n.ID)
	before := at.Seq
	at.Asks = append([]netip.Addr{{}}, slices.Repeat(some("fe80::%d", 1, 5), 2500)...)
	at.Seq++
	h2.do("take a strange document", h2.Direct().Receive(t.Context(), at, before))
	if got := h2.Claims().Asked(n.ID); len(got) != overlay.MostAsks {
		t.Errorf("of %d asks, h2 takes %d", len(at.Asks), len(got))
	}
	h1.stop()
	eventually(t, "h2 does not hear who is gone", func() bool { return h2.Claims().Asked(n.ID) == nil && !h2.Claims().Lives("h1") })
}

// allocates runs the machine's own IPAM side, as a daemon does.
func (m *machine) allocates() {
	ctx, cancel := context.WithCancel(context.Background())
	var parts sync.WaitGroup
	m.t.Cleanup(func() { cancel(); parts.Wait() })
	parts.Go(func() { _ = m.addrs.Run(ctx) })
	changes, stop := m.Changes()
	parts.Go(func() {
		defer stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-m.addrs.Changed():
				m.AddressesChanged()
			case <-changes:
				m.addrs.Wake()
			}
		}
	})
}

// A host whose IPAM side keeps an address ahead of use gives it up to the one whose user
// names it, although they only have the store between them.
func TestAnAddressInStockIsHadByName(t *testing.T) {
	cluster := registrytest.OpenStore(t, "cluster.db")
	hosts := make([]*machine, 3)
	for i := range hosts {
		name := fmt.Sprintf("h%d", i+1)
		hosts[i] = &machine{t: t, name: name, state: registrytest.OpenStore(t, name+".db"), real: true}
		hosts[i].start(cluster)
		t.Cleanup(func() { hosts[i].stop() })
		hosts[i].do("rebuild", hosts[i].Rebuilt(t.Context()))
		eventually(t, name+" may claim", hosts[i].mayClaim)
		hosts[i].allocates()
	}
	pool, err := hosts[0].addrs.RequestPool(t.Context(), ipam.PoolRequest{Subnet: subnetA})
	hosts[0].do("pool", err)
	gateway, err := hosts[0].addrs.RequestAddress(t.Context(), ipam.AddressRequest{Pool: pool, Gateway: true})
	hosts[0].do("gateway", err)
	n := hosts[0].create("d1", overlay.Network{Subnets: []overlay.Subnet{{Prefix: subnetA, Gateway: gateway.Addr()}}})
	for _, h := range hosts[1:] {
		eventually(t, h.name+" sees the network", func() bool { return h.sees(n.ID) })
		_, err := h.addrs.RequestPool(t.Context(), ipam.PoolRequest{Options: map[string]string{"weft.id": n.ID}})
		h.do("pool", err)
		h.create("d"+h.name, overlay.Network{ID: n.ID, Subnets: n.Subnets})
	}
	for i, h := range hosts {
		other := hosts[(i+1)%len(hosts)]
		eventually(t, h.name+" hears "+other.name, func() bool { return h.Claims().Lives(other.name) && h.attachedPeer(n.ID, other.name) })
		eventually(t, other.name+" has stock", func() bool { return len(other.addrs.Stock(subnetA)) > 0 })
		a := other.addrs.Stock(subnetA)[0]
		if _, err := h.addrs.RequestAddress(t.Context(), ipam.AddressRequest{Pool: pool, Addr: a, Endpoint: true}); err != nil {
			t.Errorf("%s from %s: %v", h.name, other.name, err)
		}
	}
	eventually(t, "nobody asks any more", func() bool {
		for _, h := range hosts {
			if len(h.Claims().Asked(n.ID)) > 0 {
				return false
			}
		}
		return true
	})
}
