package registry_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sirupsen/logrus/hooks/test"
	"go.uber.org/goleak"

	"github.com/weft-net/weft/driver/arrival"
	"github.com/weft-net/weft/driver/identity"
	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/registry"
	"github.com/weft-net/weft/driver/registry/record"
	"github.com/weft-net/weft/driver/registry/registrytest"
	"github.com/weft-net/weft/driver/skipped"
	"github.com/weft-net/weft/ipam"
	"github.com/weft-net/weft/ipam/stock"
	"github.com/weft-net/weft/kvstore"
	"github.com/weft-net/weft/kvstore/kvtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// verified is an IPAM side that has a fixed stock, and counts how often it
// compared its claims.
type verified struct {
	registrytest.NoAddresses
	stock  map[netip.Prefix][]netip.Addr
	times  *atomic.Int64
	verify func(yield bool) error // nil: all is well
}

func (v verified) Stock(p netip.Prefix) []netip.Addr { return v.stock[p] }

func (v verified) Held(p netip.Prefix) []netip.Addr { return v.stock[p] }

func (v verified) Verify(_ context.Context, yield bool) error {
	v.times.Add(1)
	if v.verify == nil {
		return nil
	}
	return v.verify(yield)
}

// machine is one host: its durable state and its registry.
type machine struct {
	*registry.Registry
	t        *testing.T
	name     string
	state    kvstore.Store
	alone    bool // of the cluster's store, see Config
	reap     time.Duration
	stop     func()
	verified atomic.Int64 // how often its claims were compared with the cluster's store
	verify   func(yield bool) error
	vtep     string            // vtepOf its name if empty
	push     netip.AddrPort    // where it says that it hears other hosts
	remains  []overlay.Remains // what its kernel has at the start
	real     bool              // with an IPAM side of its own instead of verified
	addrs    *ipam.Allocator   // then
	arrivals *arrival.Arrivals // nil: all have arrived
	skipped  *skipped.List     // what this process passes over
	id       string            // of the machine itself; "": not known
	adopt    string            // the machine whose place it takes
	refused  bool              // it is to end by itself, see end
	done     chan error
	result   error
}

func newMachine(t *testing.T, name string, cluster kvstore.Store) *machine {
	t.Helper()
	m := &machine{t: t, name: name, state: registrytest.OpenStore(t, name+".db")}
	m.start(cluster)
	t.Cleanup(func() { m.stop() })
	return m
}

func (m *machine) start(cluster kvstore.Store) {
	m.t.Helper()
	log, _ := test.NewNullLogger()
	m.skipped = &skipped.List{}
	id, err := registry.Identify(m.t.Context(), m.state, identity.Machine{ID: m.id}, m.id)
	if err == nil {
		err = id.Bind(m.adopt)
	}
	if err != nil {
		m.t.Fatal(err)
	}
	r, err := registry.Open(m.t.Context(), registry.Config{
		Identity: id,
		Self:     overlay.Host{Name: m.name, VTEP: netip.MustParseAddr(cmp.Or(m.vtep, vtepOf(m.name))), Port: 4789, MTU: 1500, Push: m.push},
		Cluster:  cluster, State: m.state, Alone: m.alone, Reap: m.reap, Log: log,
		Remains: func() ([]overlay.Remains, error) { return m.remains, nil }, Skipped: m.skipped, Arrivals: m.arrivals,
	})
	if err != nil {
		m.t.Fatal(err)
	}
	r.SetAddresses(verified{registrytest.NoAddresses{}, map[netip.Prefix][]netip.Addr{subnetA: {netip.MustParseAddr("10.1.0.77")}}, &m.verified, m.verify})
	if m.real {
		m.addrs, err = ipam.Open(m.t.Context(), ipam.Config{
			Host: m.name, Incarnation: r.Self().Incarnation, Cluster: cluster, State: m.state, Networks: r.Claims(),
			Permits: r.Claims(), Log: log, Skipped: m.skipped, Stock: stock.Default,
		})
		if err != nil {
			m.t.Fatal(err)
		}
		r.SetAddresses(m.addrs)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	m.Registry, m.done, m.result = r, done, nil
	m.stop = func() {
		cancel()
		if m.done != nil {
			m.result, m.done = <-m.done, nil
		}
		if m.result != nil && !m.refused {
			m.t.Errorf("%s: run: %v", m.name, m.result)
		}
		m.stop = func() {}
	}
}

// vtepOf gives hosts of different names different addresses.
func vtepOf(host string) string {
	n, _ := strconv.Atoi(strings.TrimLeft(host, "abcdefghijklmnopqrstuvwxyz-"))
	return fmt.Sprintf("192.0.2.%d", 1+n%250)
}

// end gives why the host has ended by itself, which it must within a while.
func (m *machine) end() error {
	m.t.Helper()
	eventually(m.t, m.name+" ends by itself", m.ended)
	m.stop()
	return m.result
}

// ended says whether the host has ended by itself.
func (m *machine) ended() bool {
	if m.done == nil {
		return true
	}
	select {
	case m.result = <-m.done:
		m.done = nil
		return true
	default:
		return false
	}
}

func (m *machine) restart(cluster kvstore.Store) {
	m.stop()
	m.start(cluster)
}

var (
	subnetA = netip.MustParsePrefix("10.1.0.0/24")
	subnetB = netip.MustParsePrefix("10.2.0.0/24")
)

func want(p netip.Prefix) overlay.Network {
	return overlay.Network{Subnets: []overlay.Subnet{{Prefix: p}}}
}

func (m *machine) create(docker string, n overlay.Network) overlay.Network {
	m.t.Helper()
	got, err := m.Create(m.t.Context(), docker, n)
	if err != nil {
		m.t.Fatalf("%s: create: %v", m.name, err)
	}
	return got
}

func (m *machine) do(what string, err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatalf("%s: %s: %v", m.name, what, err)
	}
}

// eventually waits for a condition that other goroutines bring about.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	within(t, 10*time.Second, what, ok)
}

// within is eventually for what may take another time.
func within(t *testing.T, d time.Duration, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(d); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", d, what)
		}
	}
}

func (m *machine) sees(name string) bool {
	_, ok := m.Network(name)
	return ok
}

func endpoint(id, network, a string) overlay.Endpoint {
	ip := netip.MustParseAddr(a)
	return overlay.Endpoint{ID: id, Network: network, Addrs: []netip.Addr{ip}, MAC: overlay.MACOf(network, ip)}
}

func (m *machine) join(id, network, a string) {
	m.t.Helper()
	m.do("create endpoint", m.CreateEndpoint(m.t.Context(), endpoint(id, network, a)))
	_, err := m.Join(m.t.Context(), id, "/run/sandbox/"+id)
	m.do("join", err)
}

// peerHas says whether m's replica has host's endpoint in the network.
func (m *machine) peerHas(network, host, id string) bool {
	return slices.ContainsFunc(m.Snapshot().Peers[network], func(at overlay.Attachment) bool {
		return at.Host == host && slices.ContainsFunc(at.Endpoints, func(e overlay.PeerEndpoint) bool { return e.ID == id })
	})
}

func (m *machine) attachedPeer(network, host string) bool {
	return slices.ContainsFunc(m.Snapshot().Peers[network], func(at overlay.Attachment) bool { return at.Host == host })
}

func TestNetworkAndEndpointsReachOtherHosts(t *testing.T) {
	cluster := registrytest.OpenStore(t, "cluster.db")
	h1, h2 := newMachine(t, "h1", cluster), newMachine(t, "h2", cluster)

	n := h1.create("d1", want(subnetA))
	if n.VNI < 1<<16 {
		t.Errorf("VNI %d is in Swarm's range", n.VNI)
	}
	h1.do("name", h1.Name(t.Context(), n.ID, registry.Naming{Name: "net", Labels: map[string]string{"a": "b"}}))
	eventually(t, "h2 sees the network", func() bool { return h2.sees("net") })
	if got, _ := h2.NetworkOf(subnetA); got.Labels["a"] != "b" {
		t.Errorf("labels did not arrive: %+v", got)
	}

	h2.create("d2", overlay.Network{ID: n.ID, Subnets: n.Subnets})
	h1.join("e1", n.ID, "10.1.0.5")
	h1.do("name", h1.NameEndpoint(t.Context(), "e1", []string{"web", "www"}))
	eventually(t, "h2 sees the endpoint with its name", func() bool {
		return h2.Claims().Owner(netip.MustParseAddr("10.1.0.5")) == `container "web" on host h1`
	})
	eventually(t, "h1 sees h2 attached", func() bool { hosts, before := h1.Claims().Hosts(n.ID); return hosts == 2 && before == 0 })
	if hosts, before := h2.Claims().Hosts(n.ID); hosts != 2 || before != 1 {
		t.Errorf("h2 is number %d of %d hosts", before, hosts)
	}
	for h, want := range map[*machine]bool{h1: true, h2: false} {
		if addrs, hosts, here := h.Claims().InUse(subnetA); addrs != 1 || hosts != 1 || here != want {
			t.Errorf("%s counts %d addresses in use on %d hosts, its own: %t", h.name, addrs, hosts, here)
		}
	}
	if held := h1.Snapshot().Held[n.ID]; !slices.Contains(held, netip.MustParseAddr("10.1.0.77")) {
		t.Errorf("h1 holds %v in the network", held)
	}
	eventually(t, "h2 sees h1's stock", func() bool {
		at := h2.Snapshot().Peers[n.ID]
		return len(at) == 1 && slices.Contains(at[0].Stock, netip.MustParseAddr("10.1.0.77"))
	})

	_, err := h1.Leave("e1")
	h1.do("leave", err)
	eventually(t, "h2 sees it leave", func() bool { return !h2.peerHas(n.ID, "h1", "e1") })
}

// An endpoint that leaves is written nowhere. A process that dies before Docker deletes it
// finds it joined, and the deletion, which Docker repeats, is all that is left to do.
func TestAnEndpointLeavesWithoutARecord(t *testing.T) {
	cluster := registrytest.OpenStore(t, "cluster.db")
	var writes atomic.Int64
	m := &machine{t: t, name: "h1"}
	m.state = kvtest.Before(registrytest.OpenStore(t, "h1.db"), func(_ context.Context, r kvtest.Request) error {
		for _, op := range r.Ops {
			if r.Method == kvtest.Txn && strings.HasPrefix(op.Key, record.StateEndpoint) {
				writes.Add(1)
			}
		}
		return nil
	})
	m.start(cluster)
	t.Cleanup(func() { m.stop() })
	n := m.create("d1", want(subnetA))
	m.join("e1", n.ID, "10.1.0.2")
	before := writes.Load()
	if e, err := m.Leave("e1"); err != nil || e.Phase != overlay.Left || writes.Load() != before {
		t.Errorf("it leaves as %+v, with %d writes, %v", e, writes.Load()-before, err)
	}
	if e := m.Snapshot().Local[0]; e.Phase != overlay.Left || e.Sandbox != "" {
		t.Errorf("a pass sees it as %+v", e)
	}
	m.restart(cluster)
	if e, _ := m.Endpoint("e1"); e.Phase != overlay.Joined {
		t.Errorf("the next process finds it %s", e.Phase)
	}
	_, err := m.Leave("e1")
	m.do("leave again", err)
	m.do("delete", m.DeleteEndpoint(t.Context(), "e1"))
	m.restart(cluster)
	if local := m.Snapshot().Local; len(local) != 0 {
		t.Errorf("it is back: %+v", local)
	}
	if _, err := m.Leave("e1"); !errors.Is(err, registry.ErrUnknown) {
		t.Errorf("an unknown endpoint leaves: %v", err)
	}
}

func TestRepeatedCallsChangeNothing(t *testing.T) {
	cluster := registrytest.OpenStore(t, "cluster.db")
	h1 := newMachine(t, "h1", cluster)
	n := h1.create("d1", want(subnetA))
	if again := h1.create("d1", want(subnetA)); again.ID != n.ID || again.VNI != n.VNI {
		t.Errorf("a repeated create made %+v of %+v", again, n)
	}
	e := endpoint("e1", n.ID, "10.1.0.5")
	for range 2 {
		h1.do("create endpoint", h1.CreateEndpoint(t.Context(), e))
	}
	for range 2 {
		h1.do("delete endpoint", h1.DeleteEndpoint(t.Context(), "e1"))
	}
	for range 2 {
		h1.do("delete", h1.Delete(t.Context(), "d1"))
	}
	h1.do("delete of the unknown", h1.Delete(t.Context(), "d9"))
}

func TestRefusals(t *testing.T) {
	cluster := registrytest.OpenStore(t, "cluster.db")
	h1 := newMachine(t, "h1", cluster)
	n := h1.create("d1", overlay.Network{VNI: 99, Subnets: want(subnetA).Subnets})
	h1.do("create endpoint", h1.CreateEndpoint(t.Context(), endpoint("e1", n.ID, "10.1.0.5")))
	tests := []struct {
		name string
		call func() error
		is   error
	}{
		{"a VNI that is taken", func() error {
			_, err := h1.Create(t.Context(), "d2", overlay.Network{VNI: 99, Subnets: want(subnetB).Subnets})
			return err
		}, registry.ErrTaken},
		{"a generated id that nobody knows", func() error {
			_, err := h1.Create(t.Context(), "d2", overlay.Network{ID: "0123456789ab", Subnets: want(subnetB).Subnets})
			return err
		}, registry.ErrUnknown},
		{"the same network twice on one host", func() error {
			_, err := h1.Create(t.Context(), "d2", overlay.Network{ID: n.ID, Subnets: n.Subnets})
			return err
		}, registry.ErrTaken},
		{"other subnets than the network's", func() error {
			_, err := h1.Create(t.Context(), "d2", overlay.Network{ID: n.ID, Subnets: want(subnetB).Subnets})
			return err
		}, registry.ErrMismatch},
		{"an endpoint again with other addresses", func() error {
			return h1.CreateEndpoint(t.Context(), endpoint("e1", n.ID, "10.1.0.6"))
		}, registry.ErrTaken},
		{"a MAC that is taken", func() error {
			e := endpoint("e2", n.ID, "10.1.0.6")
			e.MAC = overlay.MACOf(n.ID, netip.MustParseAddr("10.1.0.5"))
			return h1.CreateEndpoint(t.Context(), e)
		}, registry.ErrTaken},
		{"joining an unknown endpoint", func() error { _, err := h1.Join(t.Context(), "e9", ""); return err }, registry.ErrUnknown},
	}
	before := fmt.Sprint(h1.Snapshot())
	for _, tt := range tests {
		if err := tt.call(); !errors.Is(err, tt.is) {
			t.Errorf("%s: got %v, want %v", tt.name, err, tt.is)
		}
	}
	if after := fmt.Sprint(h1.Snapshot()); after != before {
		t.Errorf("refusals changed %s to %s", before, after)
	}
}

func TestOneNameWinsEverywhere(t *testing.T) {
	cluster := registrytest.OpenStore(t, "cluster.db")
	h1, h2 := newMachine(t, "h1", cluster), newMachine(t, "h2", cluster)
	a, b := h1.create("d1", want(subnetA)), h2.create("d2", want(subnetB))
	errs := make(chan error, 2)
	go func() { errs <- h1.Name(t.Context(), a.ID, registry.Naming{Name: "net"}) }()
	go func() { errs <- h2.Name(t.Context(), b.ID, registry.Naming{Name: "net"}) }()
	first, second := <-errs, <-errs
	if first != nil {
		first, second = second, first
	}
	var taken *registry.NameTakenError
	if first != nil || !errors.As(second, &taken) {
		t.Fatalf("got %v and %v, want one to win", first, second)
	}
	loser := h1
	if taken.By == a.ID {
		loser = h2
	}
	// The loser's host removes its own and sees the winner's.
	for docker := range loser.Inventory().Docker {
		loser.do("delete", loser.Delete(t.Context(), docker))
	}
	eventually(t, "both have the winner's alone", func() bool {
		return len(h1.Networks()) == 1 && len(h2.Networks()) == 1 && h1.Networks()[0].ID == taken.By && h2.Networks()[0].ID == taken.By
	})
}

func TestRemoval(t *testing.T) {
	cluster := registrytest.OpenStore(t, "cluster.db")
	h1, h2 := newMachine(t, "h1", cluster), newMachine(t, "h2", cluster)
	n := h1.create("d1", want(subnetA))
	h1.do("name", h1.Name(t.Context(), n.ID, registry.Naming{Name: "net"}))
	eventually(t, "h2 sees it", func() bool { return h2.sees("net") })
	h2.create("d2", overlay.Network{ID: n.ID, Subnets: n.Subnets})
	h2.join("e2", n.ID, "10.1.0.6")
	eventually(t, "h1 sees e2", func() bool { return h1.peerHas(n.ID, "h2", "e2") })

	// While h2 uses it, h1 cannot remove it for all.
	h1.do("delete", h1.Delete(t.Context(), "d1"))
	eventually(t, "h1's removal is given up", func() bool { return len(h1.Networks()) == 1 })
	if !h2.sees("net") {
		t.Fatal("h2 lost a network that it uses")
	}
	h1.create("d1b", overlay.Network{ID: n.ID, Subnets: n.Subnets})

	h2.do("delete endpoint", h2.DeleteEndpoint(t.Context(), "e2"))
	eventually(t, "h1 sees e2 gone", func() bool { return !h1.peerHas(n.ID, "h2", "e2") })
	h1.do("delete", h1.Delete(t.Context(), "d1b"))
	eventually(t, "the network is gone on both", func() bool { return !h1.sees("net") && !h2.sees("net") })
	if got, ok := h2.OfDocker("d2"); !ok || got.Deleted.IsZero() {
		t.Errorf("h2's Docker network should be known as removed: %+v", got)
	}
	h2.do("delete", h2.Delete(t.Context(), "d2"))

	// Name and VNI are free again.
	again := h2.create("d3", overlay.Network{VNI: n.VNI, Subnets: n.Subnets})
	h2.do("name", h2.Name(t.Context(), again.ID, registry.Naming{Name: "net"}))
}

// A removal that races with a container's start elsewhere is taken back.
func TestRevive(t *testing.T) {
	cluster := registrytest.OpenStore(t, "cluster.db")
	h1, h2 := newMachine(t, "h1", cluster), newMachine(t, "h2", cluster)
	n := h1.create("d1", want(subnetA))
	h1.do("name", h1.Name(t.Context(), n.ID, registry.Naming{Name: "net"}))
	eventually(t, "h2 sees it", func() bool { return h2.sees("net") })
	h2.create("d2", overlay.Network{ID: n.ID, Subnets: n.Subnets})
	h2.stop() // its endpoint is not published before h1 decides
	h2.join("e2", n.ID, "10.1.0.6")
	h1.do("delete", h1.Delete(t.Context(), "d1"))
	eventually(t, "h1 removed it", func() bool { return !h1.sees("net") })
	h2.start(cluster)
	eventually(t, "it is back on h1", func() bool { return h1.sees("net") })
}

func TestRestartWithoutStore(t *testing.T) {
	cluster := registrytest.OpenStore(t, "cluster.db")
	h1, h2 := newMachine(t, "h1", cluster), newMachine(t, "h2", cluster)
	n := h1.create("d1", want(subnetA))
	h1.join("e1", n.ID, "10.1.0.5")
	h2.create("d2", overlay.Network{ID: waitID(t, h2, n), Subnets: n.Subnets})
	h2.join("e2", n.ID, "10.1.0.6")
	eventually(t, "h1 sees e2", func() bool { return h1.peerHas(n.ID, "h2", "e2") })

	before := h1.Snapshot()
	h1.restart(kvtest.Before(cluster, func(context.Context, kvtest.Request) error { return kvstore.ErrUnavailable }))
	after := h1.Snapshot()
	if after.Self != before.Self || len(after.Local) != 1 || len(after.Networks) != 1 {
		t.Errorf("own records changed from %+v to %+v", before, after)
	}
	if !h1.peerHas(n.ID, "h2", "e2") || after.Hosts["h2"] != before.Hosts["h2"] {
		t.Errorf("peers were forgotten: %+v", after)
	}
	h1.do("join without a store", h1.CreateEndpoint(t.Context(), endpoint("e3", n.ID, "10.1.0.7")))
	h1.restart(cluster)
	eventually(t, "h2 sees what happened meanwhile", func() bool { return h2.peerHas(n.ID, "h1", "e3") })
}

func waitID(t *testing.T, m *machine, n overlay.Network) string {
	t.Helper()
	eventually(t, m.name+" sees the network", func() bool { return m.sees(n.ID) })
	return n.ID
}

// A store that comes back empty gets everything again and costs nobody anything.
func TestWipedStore(t *testing.T) {
	cluster := registrytest.OpenStore(t, "cluster.db")
	h1, h2 := newMachine(t, "h1", cluster), newMachine(t, "h2", cluster)
	n := h1.create("d1", want(subnetA))
	h1.do("name", h1.Name(t.Context(), n.ID, registry.Naming{Name: "net"}))
	eventually(t, "h2 knows the name", func() bool { return h2.sees("net") })
	h2.create("d2", overlay.Network{ID: waitID(t, h2, n), Subnets: n.Subnets})
	h1.join("e1", n.ID, "10.1.0.5")
	eventually(t, "h2 sees e1", func() bool { return h2.peerHas(n.ID, "h1", "e1") })

	h1.stop()
	h2.stop()
	empty := registrytest.OpenStore(t, "empty.db")
	t.Cleanup(func() { h1.stop(); h2.stop() }) // before their store is closed
	h2.start(empty)
	eventually(t, "h2 has recorded the network again", func() bool {
		_, err := empty.Get(t.Context(), "net/"+n.ID)
		return err == nil
	})
	if !h2.peerHas(n.ID, "h1", "e1") {
		t.Error("h2 forgot h1's endpoint because the store was wiped")
	}
	h1.start(empty)
	eventually(t, "the store has h1's records again", func() bool {
		_, err := empty.Get(t.Context(), "at/h1/"+n.ID)
		return err == nil
	})
	// Wiped under a running host.
	for _, prefix := range []string{"at/", "meta", "net/", "host/"} {
		pairs, _, err := empty.List(t.Context(), prefix)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range pairs {
			if _, err := empty.Txn(t.Context(), kvstore.Op{Kind: kvstore.Delete, Key: p.Key}); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, key := range []string{"at/h1/" + n.ID, "at/h2/" + n.ID, "host/h1/doc", "host/h2/doc", "meta", "net/" + n.ID} {
		eventually(t, "the store has "+key+" again", func() bool {
			_, err := empty.Get(t.Context(), key)
			return err == nil
		})
	}
	if _, err := empty.Get(t.Context(), "name/net"); err != nil {
		t.Errorf("the name was not recorded again: %v", err)
	}
}
