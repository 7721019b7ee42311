package registry_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/registry"
	"github.com/weft-net/weft/ipam"
	"github.com/weft-net/weft/ipam/space"
	"github.com/weft-net/weft/ipam/stock"
	"github.com/weft-net/weft/kvstore"
	"github.com/weft-net/weft/kvstore/bolt"
	"github.com/weft-net/weft/kvstore/consul"
	"github.com/weft-net/weft/kvstore/kvtest"
	"github.com/weft-net/weft/kvstore/kvtest/consultest"
)

// losses is a few hosts that start and stop containers in one crowded network
// while their Consul is wiped and restored from snapshots again and again, and
// some of them cannot reach it for a while after that.
type losses struct {
	t      *testing.T
	server *consultest.Server
	log    *logrus.Logger
	gated  bool // hosts wait for each other before they claim
	hosts  []*lossHost
	use    sync.Map // netip.Addr to *lossHost: what containers really have
	net    overlay.Network
	pool   space.PoolID

	started, refused, doubles, lost atomic.Int64
	last                            atomic.Value // the last refusal
}

// lossHost is one host's records and addresses.
type lossHost struct {
	*registry.Registry
	*ipam.Allocator
	all   *losses
	name  string
	store kvstore.Store
	cut   atomic.Bool // off from the store
}

// cutOff is the store, which is out of reach while cut is set, for all but leases.
func cutOff(store kvstore.Store, cut *atomic.Bool) kvstore.Store {
	return kvtest.Around(store, func(ctx context.Context, r kvtest.Request, do kvtest.Do) (kvtest.Answer, error) {
		if r.Method == kvtest.Wait { // it may be cut meanwhile
			a, err := do(ctx)
			do = func(context.Context) (kvtest.Answer, error) { return a, err }
		}
		if r.Method != kvtest.Hold && cut.Load() {
			return kvtest.Answer{}, fmt.Errorf("cut: %w", kvstore.ErrUnavailable)
		}
		return do(ctx)
	})
}

// blind is what an allocator knows that goes by the store alone.
type blind struct{ *registry.Claims }

func (blind) Claimed(netip.Prefix) map[netip.Addr]string { return nil }

func (b blind) Hosts(network string) (n, before int) {
	n, _ = b.Claims.Hosts(network)
	return n, 0 // all draw from the same share
}

// ungated is the registry without its gate: a host may always claim what nobody has.
type ungated struct{ *registry.Claims }

func (ungated) Admit() (checks []kvstore.Op, epoch uint64, err error) { return nil, 0, nil }

func (ungated) ConfirmStoreIntact(context.Context) error { return nil }

// Whatever the store loses, no address is given out twice. Without the gate and
// the knowledge of what other hosts have, it is: the same storm shows that too.
func TestStormOfLosses(t *testing.T) {
	rounds := 2
	if n, err := strconv.Atoi(os.Getenv("WEFT_LOSSES")); err == nil {
		rounds = n
	}
	for _, gated := range []bool{true, false} {
		t.Run(map[bool]string{true: "gated", false: "not gated"}[gated], func(t *testing.T) {
			l := newLosses(t, 8, gated)
			if !gated {
				rounds = 1 // it takes no more to show it
			}
			l.storm(rounds)
			t.Logf("%d containers started, %d refused, %d duplicates, %d lost their address; last refusal: %v",
				l.started.Load(), l.refused.Load(), l.doubles.Load(), l.lost.Load(), l.last.Load())
			if gated == (l.doubles.Load() > 0) {
				t.Errorf("gated %t, there were %d duplicates", gated, l.doubles.Load())
			}
			if gated && l.lost.Load() > 0 {
				t.Errorf("%d containers lost their address", l.lost.Load())
			}
		})
	}
}

func newLosses(t *testing.T, hosts int, gated bool) *losses {
	t.Helper()
	log := logrus.New()
	log.SetOutput(io.Discard)
	if path := os.Getenv("WEFT_LOSSES_LOG"); path != "" {
		f, err := os.Create(path) //nolint:gosec // a test's
		if err != nil {
			t.Fatal(err)
		}
		log.SetOutput(f)
	}
	l := &losses{
		t: t, log: log, gated: gated,
		server: consultest.Start(t, map[string]any{"limits": map[string]any{"http_max_conns_per_client": 2000}}),
	}
	dir, err := os.MkdirTemp("/dev/shm", "weft-losses") //nolint:usetesting // elsewhere than the test's own
	if err != nil {
		dir = t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	for i := range hosts {
		l.hosts = append(l.hosts, l.open(fmt.Sprintf("h%d", i+1), dir))
	}
	l.makeNetwork()
	return l
}

// open runs one host until the test's end.
func (l *losses) open(name, dir string) *lossHost {
	l.t.Helper()
	store, err := consul.Open(consul.Config{Addresses: []string{l.server.Addr}, Prefix: "weft", NodeAddress: "192.0.2.1", Log: l.log})
	if err != nil {
		l.t.Fatal(err)
	}
	state, err := bolt.Open(filepath.Join(dir, name))
	if err != nil {
		l.t.Fatal(err)
	}
	log := l.log.WithField("on", name)
	h := &lossHost{all: l, name: name}
	h.store = cutOff(store, &h.cut)
	h.Registry, err = registry.Open(l.t.Context(), registry.Config{
		Self:    overlay.Host{Name: name, VTEP: netip.MustParseAddr(vtepOf(name)), Port: 4789, MTU: 1500},
		Cluster: h.store, State: state, Log: log,
	})
	if err != nil {
		l.t.Fatal(err)
	}
	cfg := ipam.Config{
		Host: name, Incarnation: h.Self().Incarnation, Cluster: h.store, State: state, Networks: h.Registry.Claims(),
		Permits: h.Registry.Claims(), Log: log, Stock: stock.Default,
		Lost: func(a netip.Addr, by string) {
			l.lost.Add(1)
			_ = h.Lose(context.Background(), a, by)
		},
	}
	if !l.gated {
		cfg.Networks, cfg.Permits = blind{h.Registry.Claims()}, ungated{h.Registry.Claims()}
	}
	if h.Allocator, err = ipam.Open(l.t.Context(), cfg); err != nil {
		l.t.Fatal(err)
	}
	h.SetAddresses(h.Allocator)
	ctx, end := context.WithCancel(context.Background())
	var parts sync.WaitGroup
	parts.Go(func() { _ = h.Registry.Run(ctx) })
	parts.Go(func() { _ = h.Allocator.Run(ctx) })
	parts.Go(func() { h.passOn(ctx) })
	l.t.Cleanup(func() {
		end()
		parts.Wait()
		_, _ = store.Close(), state.Close()
	})
	if err := h.Rebuilt(ctx); err != nil {
		l.t.Fatal(err)
	}
	return h
}

func (h *lossHost) passOn(ctx context.Context) {
	changes, stop := h.Changes()
	defer stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-h.Changed():
			h.AddressesChanged()
		case <-changes:
			h.Wake()
		}
	}
}

func (l *losses) makeNetwork() {
	l.t.Helper()
	prefix := netip.MustParsePrefix("10.9.0.0/24")
	h1, ctx := l.hosts[0], l.t.Context()
	var err error
	if l.pool, err = h1.RequestPool(ctx, ipam.PoolRequest{Subnet: prefix}); err != nil {
		l.t.Fatal(err)
	}
	gateway, err := h1.RequestAddress(ctx, ipam.AddressRequest{Pool: l.pool, Gateway: true})
	if err != nil {
		l.t.Fatal(err)
	}
	want := overlay.Network{Subnets: []overlay.Subnet{{Prefix: prefix, Gateway: gateway.Addr()}}}
	if l.net, err = h1.Create(ctx, "docker-h1", want); err != nil {
		l.t.Fatal(err)
	}
	want.ID = l.net.ID
	for _, h := range l.hosts[1:] {
		eventually(l.t, h.name+" knows the network", func() bool { _, ok := h.Network(l.net.ID); return ok })
		if _, err := h.RequestPool(ctx, ipam.PoolRequest{Options: map[string]string{"weft.id": l.net.ID}}); err != nil {
			l.t.Fatal(err)
		}
		if _, err := h.Create(ctx, "docker-"+h.name, want); err != nil {
			l.t.Fatal(err)
		}
	}
	for _, h := range l.hosts {
		eventually(l.t, h.name+" knows its share of the addresses", func() bool { n, _ := h.Registry.Claims().Hosts(l.net.ID); return n == len(l.hosts) })
	}
}

// storm lets containers come and go while the store loses data in rounds.
func (l *losses) storm(rounds int) {
	l.t.Helper()
	var workers sync.WaitGroup
	done := make(chan struct{})
	for i, h := range l.hosts {
		for j := range 2 {
			workers.Go(func() { h.work(done, rand.New(rand.NewPCG(uint64(i), uint64(j)))) }) //nolint:gosec // a test's
		}
	}
	for round := range rounds {
		l.lose(round)
		if l.gated {
			// Less than a host without a word is waited for.
			within(l.t, 40*time.Second, "every host may claim again", func() bool {
				for _, h := range l.hosts {
					if _, _, err := h.Registry.Claims().Admit(); err != nil {
						return false
					}
				}
				return true
			})
		}
		time.Sleep(500 * time.Millisecond)
	}
	close(done)
	workers.Wait()
	if l.gated {
		l.whole()
	}
}

// lose takes what was written since a moment ago from the store, or all.
func (l *losses) lose(round int) {
	l.t.Helper()
	snapshot, err := l.server.Save(l.t.Context())
	if err != nil {
		l.t.Fatal(err)
	}
	time.Sleep(time.Second)
	cut := l.hosts[round%len(l.hosts)]
	cut.cut.Store(true) // it records nothing again for a while
	if round%2 == 0 {
		err = l.server.Load(l.t.Context(), snapshot)
	} else if err = l.server.Wipe(); err == nil {
		err = l.server.Restart()
	}
	if err != nil {
		l.t.Fatal(err)
	}
	time.Sleep(2 * time.Second)
	cut.cut.Store(false)
}

func (h *lossHost) work(done chan struct{}, rng *rand.Rand) {
	var mine []netip.Addr
	for n := 0; ; n++ {
		select {
		case <-done:
			return // what runs goes on
		case <-time.After(time.Duration(rng.IntN(20)) * time.Millisecond):
		}
		if rng.IntN(20) >= len(mine) {
			if a, ok := h.start(fmt.Sprintf("%s-%d-%d", h.name, rng.IntN(1<<30), n)); ok {
				mine = append(mine, a)
			}
			continue
		}
		i := rng.IntN(len(mine))
		h.end(mine[i])
		mine = append(mine[:i], mine[i+1:]...)
	}
}

func (h *lossHost) start(id string) (netip.Addr, bool) {
	l, ctx := h.all, context.Background()
	got, err := h.RequestAddress(ctx, ipam.AddressRequest{Pool: l.pool, Endpoint: true})
	if err != nil {
		l.refused.Add(1)
		l.last.Store(err.Error())
		return netip.Addr{}, false
	}
	a := got.Addr()
	if other, double := l.use.LoadOrStore(a, h); double {
		l.doubles.Add(1)
		l.log.Errorf("duplicate %v on %s and %s", a, h.name, other.(*lossHost).name)
		return a, false
	}
	l.started.Add(1)
	e := overlay.Endpoint{ID: id, Network: l.net.ID, MAC: overlay.MACOf(l.net.ID, a), Addrs: []netip.Addr{a}}
	if err := h.CreateEndpoint(ctx, e); err != nil && l.gated {
		l.t.Error(err)
	}
	_, _ = h.Join(ctx, id, "/x")
	return a, true
}

func (h *lossHost) end(a netip.Addr) {
	ctx := context.Background()
	h.all.use.Delete(a)
	for _, e := range h.Snapshot().Local {
		if e.Addrs[0] == a {
			_ = h.DeleteEndpoint(ctx, e.ID)
		}
	}
	_ = h.ReleaseAddress(ctx, h.all.pool, a)
}

// whole says that the store has each address in use as its host's.
func (l *losses) whole() {
	l.t.Helper()
	eventually(l.t, "the store is whole", func() bool {
		pairs, _, err := l.hosts[0].store.List(l.t.Context(), "addr/")
		if err != nil {
			return false
		}
		owner := map[string]string{}
		for _, p := range pairs {
			var h struct {
				Host string `json:"h"`
			}
			if err := json.Unmarshal(p.Value, &h); err != nil {
				l.t.Fatal(err)
			}
			owner[p.Key] = h.Host
		}
		good := true
		l.use.Range(func(a, h any) bool {
			good = good && owner[fmt.Sprintf("addr/10.9.0.0_24/%v", a)] == h.(*lossHost).name
			return good
		})
		return good
	})
}
