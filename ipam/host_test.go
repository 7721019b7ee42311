package ipam

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"go.uber.org/goleak"

	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/ipam/space"
	"github.com/weft-net/weft/ipam/stock"
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

// permits is a Permits whose answers a test sets; nil: as for a host that may claim at
// any time.
type permits struct {
	unrestricted
	fence        func() []kvstore.Op
	admit        func() ([]kvstore.Op, uint64, error)
	yields       func() bool
	notDeadSince func(context.Context) (kvstore.Op, error)
	look         func(context.Context) error
	changes      func() (<-chan struct{}, func())
}

func (p *permits) Fence() []kvstore.Op {
	if p.fence == nil {
		return p.unrestricted.Fence()
	}
	return p.fence()
}

func (p *permits) Admit() ([]kvstore.Op, uint64, error) {
	if p.admit == nil {
		return p.unrestricted.Admit()
	}
	return p.admit()
}

func (p *permits) Yields() bool { return p.yields != nil && p.yields() }

func (p *permits) NotDeadSince(ctx context.Context) (kvstore.Op, error) {
	if p.notDeadSince == nil {
		return p.unrestricted.NotDeadSince(ctx)
	}
	return p.notDeadSince(ctx)
}

func (p *permits) ConfirmStoreIntact(ctx context.Context) error {
	if p.look == nil {
		return nil
	}
	return p.look(ctx)
}

func (p *permits) Changes() (<-chan struct{}, func()) {
	if p.changes == nil {
		return p.unrestricted.Changes()
	}
	return p.changes()
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
	permits  *permits
	lost     []string
}

func newHost(t testing.TB, name string, cluster kvstore.Store) *host {
	t.Helper()
	h := &host{t: t, name: name, state: newMemory(), cluster: cluster, networks: newNetworks(), clock: newClock()}
	log := logrus.New()
	log.SetOutput(io.Discard)
	h.permits = &permits{}
	h.config = Config{
		Permits: h.permits,
		Host:    name, Incarnation: "1", Networks: h.networks, Log: log, Now: h.clock.Now, Stock: stock.Default,
		lateWrites: time.Nanosecond,
		Lost:       func(a netip.Addr, by string) { h.lost = append(h.lost, fmt.Sprintf("%v %s", a, by)) },
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

func (h *host) pool(subnet, ipRange string, options ...string) (space.PoolID, error) {
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

func (h *host) mustPool(subnet, ipRange string, options ...string) space.PoolID {
	h.t.Helper()
	id, err := h.pool(subnet, ipRange, options...)
	if err != nil {
		h.t.Fatal(err)
	}
	return id
}

// network makes a network on the host, as Docker and the registry would.
func (h *host) network(id, subnet, ipRange string) space.PoolID {
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
func (h *host) mirror(id string, s overlay.Subnet) space.PoolID {
	h.t.Helper()
	h.networks.add(id, false, s)
	pool := h.mustPool("", "", "weft.id="+id)
	h.networks.add(id, true, s)
	return pool
}

func (h *host) any(id space.PoolID) (netip.Addr, error) {
	p, err := h.RequestAddress(context.Background(), AddressRequest{Pool: id})
	return p.Addr(), err
}

func (h *host) mustAny(id space.PoolID) netip.Addr {
	h.t.Helper()
	a, err := h.any(id)
	if err != nil {
		h.t.Fatal(err)
	}
	return a
}

func (h *host) named(id space.PoolID, addr string) error {
	_, err := h.RequestAddress(context.Background(), AddressRequest{Pool: id, Addr: netip.MustParseAddr(addr), Endpoint: true})
	return err
}

func (h *host) release(id space.PoolID, a netip.Addr) {
	h.t.Helper()
	if err := h.ReleaseAddress(context.Background(), id, a); err != nil {
		h.t.Fatal(err)
	}
}

func (h *host) stock(id space.PoolID) int {
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
