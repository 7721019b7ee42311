package spoilt

import (
	"context"
	"net/netip"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/sirupsen/logrus/hooks/test"

	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/registry"
	"github.com/weft-net/weft/driver/skipped"
	"github.com/weft-net/weft/ipam"
	"github.com/weft-net/weft/ipam/space"
	"github.com/weft-net/weft/ipam/stock"
	"github.com/weft-net/weft/kvstore"
	"github.com/weft-net/weft/kvstore/bolt"
)

// Host is a new host of the cluster.
type Host struct {
	*registry.Registry
	Addresses *ipam.Allocator
	Skipped   *skipped.List
	t         testing.TB
}

// Join runs a new host until the test's end.
func Join(t testing.TB, name string, store kvstore.Store) *Host {
	t.Helper()
	log, _ := test.NewNullLogger()
	state, err := bolt.Open(filepath.Join(t.TempDir(), name+".db"))
	if err != nil {
		t.Fatal(err)
	}
	h := &Host{t: t, Skipped: &skipped.List{}}
	vtep := netip.AddrFrom4([4]byte{192, 0, 2, name[len(name)-1]})
	h.Registry, err = registry.Open(t.Context(), registry.Config{
		Self:    overlay.Host{Name: name, VTEP: vtep, Port: 4789, MTU: 1500},
		Cluster: store, State: state, Log: log, Skipped: h.Skipped,
	})
	if err != nil {
		t.Fatal(err)
	}
	h.Addresses, err = ipam.Open(t.Context(), ipam.Config{
		Host: name, Incarnation: h.Self().Incarnation, Cluster: store, State: state, Networks: h.Claims(), Skipped: h.Skipped,
		Permits: h.Claims(), Log: log, Stock: stock.Default,
	})
	if err != nil {
		t.Fatal(err)
	}
	h.SetAddresses(h.Addresses)
	ctx, end := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 2)
	go func() { ended <- h.Run(ctx) }()
	go func() { ended <- h.Addresses.Run(ctx) }()
	t.Cleanup(func() {
		end()
		for range 2 {
			if err := <-ended; err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		_ = state.Close()
	})
	if err := h.Rebuilt(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := h.Addresses.Keep(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	return h
}

// Check joins two hosts to the cluster in the store, and checks that they know all
// that is whole in it, and that all goes on between them.
func (c *Cluster) Check(t testing.TB, store kvstore.Store) {
	t.Helper()
	one, two := Join(t, "new1", store), Join(t, "new2", store)
	for _, h := range []*Host{one, two} {
		h.within("it may claim", func() bool { _, _, err := h.Claims().Admit(); return err == nil })
		h.within("it has its lease", func() bool {
			p, err := store.Get(t.Context(), "host/"+h.Self().Name+"/live")
			return err == nil && p.Held
		})
		h.within("it knows all that is whole", func() bool { return len(c.missing(h)) == 0 })
	}
	subnet := netip.MustParsePrefix("10.200.0.0/24")
	one.must("pool")(one.Addresses.RequestPool(t.Context(), ipam.PoolRequest{Subnet: subnet}))
	n := one.create("d1", overlay.Network{Subnets: []overlay.Subnet{{Prefix: subnet}}})
	if err := one.Name(t.Context(), n.ID, registry.Naming{Name: "fresh"}); err != nil {
		t.Errorf("name: %v", err)
	}
	two.within("it sees a new network", func() bool { got, ok := two.Network("fresh"); return ok && got.ID == n.ID })
	one.start("e1", n)
	two.within("it sees its container", func() bool { return two.has("new1", n.ID, "e1") })
	for _, n := range c.networks { // the claims of others stand, those too that cannot be read
		if c.whole["net/"+n.ID] {
			one.must("pool")(one.Addresses.RequestPool(t.Context(), ipam.PoolRequest{Options: map[string]string{"weft.id": n.ID}}))
			one.create("d-"+n.ID, overlay.Network{ID: n.ID, Subnets: n.Subnets})
			one.start("e-"+n.ID, n)
			two.within("it sees a container in a network of before", func() bool { return two.has("new1", n.ID, "e-"+n.ID) })
		}
	}
}

// missing gives what is whole and the host does not know.
func (c *Cluster) missing(h *Host) []string {
	var out []string
	for _, n := range c.networks {
		if _, ok := h.Network(n.ID); !ok && c.whole["net/"+n.ID] {
			out = append(out, "network "+n.ID)
		}
	}
	known := h.HostStates()
	for _, name := range c.hosts {
		if !c.whole["host/"+name+"/doc"] {
			continue
		}
		if !slices.ContainsFunc(known, func(s registry.HostState) bool { return s.Name == name }) {
			out = append(out, "host "+name)
		}
		for _, n := range c.networks {
			id := c.endpoints[[2]string{name, n.ID}]
			if c.whole["at/"+name+"/"+n.ID] && id != "" && !h.has(name, n.ID, id) {
				out = append(out, "endpoint "+id)
			}
		}
	}
	return out
}

func (h *Host) has(host, network, id string) bool {
	at, _ := h.Direct().PeerAttachment(host, network)
	return slices.ContainsFunc(at.Endpoints, func(e overlay.PeerEndpoint) bool { return e.ID == id })
}

func (h *Host) must(what string) func(any, error) {
	h.t.Helper()
	return func(_ any, err error) {
		h.t.Helper()
		if err != nil {
			h.t.Fatalf("%s: %v", what, err)
		}
	}
}

func (h *Host) create(docker string, n overlay.Network) overlay.Network {
	h.t.Helper()
	got, err := h.Create(h.t.Context(), docker, n)
	if err != nil {
		h.t.Fatalf("create: %v", err)
	}
	return got
}

// start is what Docker does for a container.
func (h *Host) start(id string, n overlay.Network) {
	h.t.Helper()
	got, err := h.Addresses.RequestAddress(h.t.Context(), ipam.AddressRequest{Pool: space.PoolID{Subnet: n.Subnets[0].Prefix}, Endpoint: true})
	if err != nil {
		h.t.Fatalf("address: %v", err)
	}
	e := overlay.Endpoint{ID: id, Network: n.ID, Addrs: []netip.Addr{got.Addr()}, MAC: overlay.MACOf(n.ID, got.Addr())}
	if err := h.CreateEndpoint(h.t.Context(), e); err != nil {
		h.t.Fatalf("endpoint: %v", err)
	}
	h.must("join")(h.Join(h.t.Context(), id, "/run/"+id))
	overlay.Plan(h.Snapshot())
}

// within waits for what other goroutines bring about.
func (h *Host) within(what string, ok func() bool) {
	h.t.Helper()
	const most = 30 * time.Second
	for end := time.Now().Add(most); !ok(); {
		if time.Now().After(end) {
			h.t.Fatalf("%s: not within %v: %s; passed over: %s", h.Self().Name, most, what, skipped.Names(h.Skipped.Records()))
		}
		<-time.After(2 * time.Millisecond)
	}
}
