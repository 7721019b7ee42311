package ipam

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/ipam/record"
	"github.com/weft-net/weft/ipam/space"
	"github.com/weft-net/weft/ipam/stock"
	"github.com/weft-net/weft/kvstore"
	"github.com/weft-net/weft/kvstore/bolt"
	"github.com/weft-net/weft/kvstore/consul"
	"github.com/weft-net/weft/kvstore/kvtest"
	"github.com/weft-net/weft/kvstore/kvtest/consultest"
)

// stormHosts is how many hosts the storm simulates, each with stormWorkers
// containers starting and stopping at a time.
const (
	stormHosts   = 50
	stormWorkers = 2
)

// storm is many hosts that allocate and release at random against one Consul,
// crash, and lose their way to it.
type storm struct {
	t        *testing.T
	total    int64
	requests atomic.Int64 // to Consul
	handed   atomic.Int64
	refused  atomic.Int64 // for want of a free address
	cutOff   atomic.Int64 // for want of Consul
	taken    atomic.Int64 // named, and somebody else's
	crashes  atomic.Int64
	doubles  atomic.Int64
	use      sync.Map // netip.Addr to *stormHost: what containers really have
	pools    []space.PoolID
	delayed  sync.WaitGroup
}

// stormHost is one host. Its Docker's calls hold busy for reading; a crash is
// complete once it holds it for writing.
type stormHost struct {
	storm    *storm
	name     string
	path     string // of its State
	networks *networks
	cluster  *weakStore
	log      logrus.FieldLogger
	busy     sync.RWMutex
	crashing sync.Mutex // taken before busy
	*Allocator
	state *weakStore
	doubt time.Duration // how long Consul may still carry out what has failed
	stop  func()
}

// weakStore is a Store that can be cut off: then each call fails, and a
// transaction is carried out before that, later or not at all.
type weakStore struct {
	kvstore.Store
	cut atomic.Bool
}

// weak makes the store weak. Transactions that are carried out later are counted in
// delayed; there are none if it is nil.
func weak(store kvstore.Store, delayed *sync.WaitGroup) *weakStore {
	w := &weakStore{}
	w.Store = kvtest.Around(store, func(ctx context.Context, r kvtest.Request, do kvtest.Do) (kvtest.Answer, error) {
		if !w.cut.Load() {
			return do(ctx)
		}
		switch fate := rand.IntN(3); { //nolint:gosec // a test's
		case r.Method != kvtest.Txn:
		case fate == 0:
			_, _ = do(ctx)
		case fate == 1 && delayed != nil:
			delayed.Go(func() {
				time.Sleep(time.Duration(rand.IntN(300)) * time.Millisecond) //nolint:gosec // a test's
				_, _ = do(context.Background())
			})
		}
		return kvtest.Answer{}, errCut
	})
	return w
}

func TestStorm(t *testing.T) {
	s := &storm{t: t, total: 20_000}
	if n, err := strconv.ParseInt(os.Getenv("WEFT_STORM"), 10, 64); err == nil {
		s.total = n
	}
	// All hosts have one address here.
	server := consultest.Start(t, map[string]any{"limits": map[string]any{"http_max_conns_per_client": 2000}})
	// Only processes crash here, so State may be in memory: a sync takes 50
	// hosts on one disk most of the time.
	dir, err := os.MkdirTemp("/dev/shm", "weft-storm") //nolint:usetesting // elsewhere than the test's own
	if err != nil {
		dir = t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	log := logrus.New()
	log.SetOutput(io.Discard)

	hosts := make([]*stormHost, stormHosts)
	for i := range hosts {
		store, err := consul.Open(consul.Config{
			Addresses: []string{server.Addr}, Prefix: "weft/storm", Log: log,
			OnRequest: func(string, time.Duration, error) { s.requests.Add(1) },
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = store.Close() })
		h := &stormHost{storm: s, name: fmt.Sprintf("h%d", i+1), networks: newNetworks(), log: log, doubt: 10 * time.Second}
		h.path = filepath.Join(dir, h.name)
		h.networks.hosts, h.networks.before = stormHosts, i
		h.cluster = weak(store, &s.delayed)
		h.open()
		hosts[i] = h
	}
	s.makeNetworks(hosts)

	begin := time.Now()
	var workers sync.WaitGroup
	for i, h := range hosts {
		for j := range stormWorkers {
			workers.Go(func() { s.worker(h, rand.New(rand.NewPCG(uint64(i), uint64(j)))) }) //nolint:gosec // a test's
		}
	}
	workers.Go(func() { s.troubles(server) })
	workers.Wait()
	took := time.Since(begin)
	t.Logf("%d addresses handed out on %d hosts in %v (%.0f/s): duplicates=%d, %d times none free, %d times no store, %d times taken, %d crashes, %.3f Consul requests each",
		s.handed.Load(), len(hosts), took.Round(time.Millisecond), float64(s.handed.Load())/took.Seconds(), s.doubles.Load(),
		s.refused.Load(), s.cutOff.Load(), s.taken.Load(), s.crashes.Load(), float64(s.requests.Load())/float64(s.handed.Load()))
	s.drain(hosts)
}

// makeNetworks makes a roomy, a crowded and an IPv6 network on one host, and
// their copies on all others.
func (s *storm) makeNetworks(hosts []*stormHost) {
	s.t.Helper()
	ctx := context.Background()
	for _, n := range [][2]string{{"crowded", "10.2.0.0/24"}, {"six", "fd00:1::/64"}, {"roomy", "10.1.0.0/16"}} {
		id, subnet := n[0], n[1]
		p := netip.MustParsePrefix(subnet)
		pool, err := hosts[0].RequestPool(ctx, PoolRequest{Subnet: p, V6: p.Addr().Is6()})
		if err != nil {
			s.t.Fatal(err)
		}
		gateway, err := hosts[0].RequestAddress(ctx, AddressRequest{Pool: pool, Gateway: true})
		if err != nil {
			s.t.Fatal(err)
		}
		s.pools = append(s.pools, pool)
		sub := overlay.Subnet{Prefix: p, Gateway: gateway.Addr()}
		hosts[0].networks.add(id, true, sub)
		for _, h := range hosts[1:] {
			h.networks.add(id, false, sub)
			if _, err := h.RequestPool(ctx, PoolRequest{V6: p.Addr().Is6(), Options: map[string]string{"weft.id": id}}); err != nil {
				s.t.Fatal(err)
			}
			h.networks.add(id, true, sub)
		}
	}
}

// open starts the host's weft from its State.
func (h *stormHost) open() {
	file, err := bolt.Open(h.path)
	if err != nil {
		h.storm.t.Error(err)
		return
	}
	h.state = weak(file, nil)
	ctx, cancel := context.WithCancel(context.Background())
	cluster := weak(h.cluster, &h.storm.delayed) // this process's, see crash
	h.Allocator, err = Open(ctx, Config{
		Host: h.name, Incarnation: "1", Cluster: cluster, State: h.state, Networks: h.networks, Log: h.log, lateWrites: h.doubt, Stock: stock.Default,
		Lost: func(a netip.Addr, by string) { h.storm.t.Errorf("%s lost %v to %s", h.name, a, by) },
	})
	if err != nil {
		h.storm.t.Error(err)
		cancel()
		return
	}
	done := make(chan error)
	run := h.Run
	go func() { done <- run(ctx) }()
	h.stop = func() {
		cluster.cut.Store(true)
		cancel()
		if err := <-done; err != nil {
			h.storm.t.Error(err)
		}
		_ = file.Close()
	}
}

// crash ends the host's weft in the middle of whatever it does.
func (h *stormHost) crash() {
	h.crashing.Lock()
	defer h.crashing.Unlock()
	h.state.cut.Store(true)
	h.busy.Lock()
	defer h.busy.Unlock()
	h.stop()
	h.open()
	h.reconcile()
	h.storm.crashes.Add(1)
}

// reconcile releases what no container has, as weft does after a start. What a
// container has must be known.
func (h *stormHost) reconcile() {
	used := space.Set{}
	for _, id := range h.storm.pools {
		for _, c := range h.Claims(id.Subnet) {
			if !c.Used {
				continue
			}
			used[c.Addr] = struct{}{}
			if by, _ := h.storm.use.Load(c.Addr); by != h {
				if err := h.ReleaseAddress(context.Background(), id, c.Addr); err != nil {
					h.storm.t.Error(err)
				}
			}
		}
	}
	h.storm.use.Range(func(a, by any) bool {
		if by == h && !used.Has(a.(netip.Addr)) {
			h.storm.t.Errorf("%s has forgotten that %v is in use", h.name, a)
		}
		return true
	})
}

// troubles are Consul's own: it hangs for a while, and later dies and starts
// again.
func (s *storm) troubles(server *consultest.Server) {
	for _, next := range []struct {
		at int64
		do func() error
	}{
		{s.total / 3, func() error {
			server.Freeze()
			time.Sleep(time.Second)
			server.Thaw()
			return nil
		}},
		{s.total * 2 / 3, server.Restart},
	} {
		for s.handed.Load() < next.at && !s.t.Failed() {
			time.Sleep(10 * time.Millisecond)
		}
		if err := next.do(); err != nil {
			s.t.Error(err)
		}
	}
}

// container is one that runs: its address and where that is from.
type container struct {
	pool space.PoolID
	addr netip.Addr
}

func (s *storm) worker(h *stormHost, rng *rand.Rand) {
	var mine []container
	for s.handed.Load() < s.total && !s.t.Failed() {
		switch n := rng.IntN(20_000); {
		case n < 30:
			h.crash()
		case n < 40:
			h.cluster.cut.Store(true)
			time.AfterFunc(time.Duration(rng.IntN(500))*time.Millisecond, func() { h.cluster.cut.Store(false) })
		case rng.IntN(40) >= len(mine):
			if c, ok := s.start(h, rng); ok {
				mine = append(mine, c)
			}
		default:
			i := rng.IntN(len(mine))
			s.end(h, mine[i])
			mine = slices.Delete(mine, i, i+1)
		}
	}
	for _, c := range mine {
		s.end(h, c)
	}
}

func (s *storm) start(h *stormHost, rng *rand.Rand) (container, bool) {
	r := AddressRequest{Pool: s.pools[1+rng.IntN(2)], Endpoint: true}
	if rng.IntN(8) == 0 {
		r.Pool = s.pools[0]
	}
	if rng.IntN(100) == 0 {
		r.Addr = space.Dynamic(r.Pool).At(uint64(2 + rng.IntN(200))) //nolint:gosec // small
	}
	h.busy.RLock()
	defer h.busy.RUnlock()
	got, err := h.RequestAddress(context.Background(), r)
	switch {
	case err == nil:
	case errors.Is(err, errExhausted):
		s.refused.Add(1)
		return container{}, false
	case strings.Contains(err.Error(), "is in use"):
		s.taken.Add(1)
		return container{}, false
	case errors.Is(err, kvstore.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded):
		s.cutOff.Add(1)
		return container{}, false
	default:
		s.t.Error(err)
		return container{}, false
	}
	s.handed.Add(1)
	if other, double := s.use.LoadOrStore(got.Addr(), h); double {
		s.doubles.Add(1)
		s.t.Errorf("%v handed out on %s while in use on %s", got, h.name, other.(*stormHost).name)
		return container{}, false
	}
	h.networks.own(got.Addr(), "a container")
	return container{r.Pool, got.Addr()}, true
}

func (s *storm) end(h *stormHost, c container) {
	h.busy.RLock()
	defer h.busy.RUnlock()
	s.use.Delete(c.addr)
	h.networks.own(c.addr, "")
	_ = h.ReleaseAddress(context.Background(), c.pool, c.addr) // reconcile makes up for an error
}

// drain heals everything, and looks first for what should only be stock, then,
// without the networks, for what should not be there at all.
func (s *storm) drain(hosts []*stormHost) {
	s.t.Helper()
	ctx := context.Background()
	store := hosts[0].cluster
	for _, h := range hosts {
		h.cluster.cut.Store(false)
	}
	s.delayed.Wait()
	for _, h := range hosts {
		h.doubt = 2 * time.Second // Consul has answered all for long
		h.crash()
	}
	s.delayed.Wait()
	s.eventually("hosts know of and Consul has", func() (string, error) {
		want := map[string]string{}
		for _, h := range hosts {
			for _, id := range s.pools {
				for _, c := range h.Claims(id.Subnet) {
					if c.Used {
						return fmt.Sprintf("%v is in use", c.Addr), nil
					}
					want[record.AddrKey(id.Subnet, c.Addr)] = h.name
				}
			}
		}
		got := map[string]string{}
		pairs, _, err := store.List(ctx, record.AddrPrefix)
		for _, p := range pairs {
			h, _ := record.DecodeHolder(p)
			got[p.Key] = h.Host
		}
		if maps.Equal(want, got) {
			return "", err
		}
		return fmt.Sprintf("%d and %d", len(want), len(got)), err
	})
	for _, h := range hosts {
		for _, id := range []string{"roomy", "crowded", "six"} {
			h.networks.remove(id)
		}
		for _, id := range s.pools {
			if err := h.ReleasePool(ctx, id); err != nil {
				s.t.Error(err)
			}
		}
	}
	s.eventually("left", func() (string, error) {
		pairs, _, err := store.List(ctx, "")
		if len(pairs) == 1 {
			return "", err
		}
		var some []string
		for _, p := range pairs[:min(len(pairs), 5)] {
			some = append(some, p.Key+" "+string(p.Value))
		}
		return fmt.Sprintf("%d keys, as %q", len(pairs), some), err
	})
	for _, h := range hosts {
		h.stop()
	}
}

func (s *storm) eventually(what string, wrong func() (string, error)) {
	s.t.Helper()
	deadline := time.Now().Add(2 * time.Minute)
	for {
		problem, err := wrong()
		if problem == "" && err == nil {
			return
		}
		if time.Now().After(deadline) {
			s.t.Errorf("%s: %s %v", what, problem, err)
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
}
