package push_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sirupsen/logrus/hooks/test"
	"go.uber.org/goleak"

	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/push"
	"github.com/weft-net/weft/driver/registry"
	"github.com/weft-net/weft/driver/registry/registrytest"
	"github.com/weft-net/weft/kvstore"
	"github.com/weft-net/weft/kvstore/kvtest/ports"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// lossy loses datagrams that come, and keeps the others.
type lossy struct {
	push.PacketConn
	host *host
}

func (l lossy) ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error) {
	for {
		n, from, err := l.PacketConn.ReadFromUDPAddrPort(b)
		if err != nil {
			return n, from, err
		}
		if rand.Uint64N(100) >= l.host.loss.Load() {
			l.host.mu.Lock()
			l.host.heard = append(l.host.heard, bytes.Clone(b[:n]))
			l.host.mu.Unlock()
			return n, from, nil
		}
		l.host.lost.Add(1)
	}
}

// host is one host with its registry and its push.
type host struct {
	*registry.Registry
	push *push.Push
	t    *testing.T
	name string
	at   netip.AddrPort
	loss atomic.Uint64 // of 100 datagrams that come
	lost atomic.Uint64 // datagrams so far

	mu    sync.Mutex
	heard [][]byte // guarded by mu: datagrams that came

	state kvstore.Store
	store kvstore.Store
	stop  func() // in order
	mute  func() // no more words, without a last one
	shut  func() // nor does anybody listen, while the lease goes on, as after a kill
	ends  chan error
}

func newHost(t *testing.T, name string, store kvstore.Store) *host {
	t.Helper()
	h := &host{t: t, name: name, at: freePort(t), state: registrytest.OpenStore(t, name+".db"), store: store}
	h.start()
	t.Cleanup(func() { h.stop() })
	return h
}

// freePort finds a port that is free for UDP and TCP.
func freePort(t *testing.T) netip.AddrPort {
	t.Helper()
	free, err := ports.Free(1)
	if err != nil {
		t.Fatal(err)
	}
	return free[0]
}

func (h *host) start() {
	h.t.Helper()
	log, _ := test.NewNullLogger()
	r, err := registry.Open(h.t.Context(), registry.Config{
		Self:    overlay.Host{Name: h.name, VTEP: vtepOf(h.name), Port: 4789, MTU: 1500, Push: h.at},
		Cluster: h.store, State: h.state, Log: log,
	})
	if err != nil {
		h.t.Fatal(err)
	}
	r.SetAddresses(registrytest.NoAddresses{})
	h.do("rebuilt", r.Rebuilt(h.t.Context())) // nothing was lost
	muted := &atomic.Bool{}
	h.Registry = r
	h.push = push.New(push.Config{Registry: r.Direct(), Log: log, Listen: func(at netip.AddrPort) (push.PacketConn, error) {
		conn, err := push.ListenUDP(at)
		if err != nil {
			return nil, err
		}
		return muzzle{lossy{conn, h}, muted}, nil
	}})
	ctx, cancel := context.WithCancel(context.Background())
	h.ends = make(chan error, 2)
	go func() { h.ends <- r.Run(ctx) }()
	pushing, shut := context.WithCancel(ctx)
	go func() { h.ends <- h.push.Run(pushing) }()
	h.mute = func() { muted.Store(true) }
	h.shut = func() { h.mute(); shut() }
	h.stop = func() {
		shut()
		cancel()
		for range 2 {
			if err := <-h.ends; err != nil {
				h.t.Errorf("%s: %v", h.name, err)
			}
		}
		h.stop = func() {}
	}
}

// muzzle keeps a host from sending.
type muzzle struct {
	push.PacketConn
	on *atomic.Bool
}

func (m muzzle) WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error) {
	if m.on.Load() {
		return len(b), nil
	}
	return m.PacketConn.WriteToUDPAddrPort(b, to)
}

func (h *host) do(what string, err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatalf("%s: %s: %v", h.name, what, err)
	}
}

var subnet = netip.MustParsePrefix("10.1.0.0/16")

// network makes a network on the first host and attaches the others.
func network(t *testing.T, hosts ...*host) overlay.Network {
	t.Helper()
	return networkOf(t, "d", subnet, hosts...)
}

func networkOf(t *testing.T, docker string, p netip.Prefix, hosts ...*host) overlay.Network {
	t.Helper()
	n, err := hosts[0].Create(t.Context(), docker, overlay.Network{Subnets: []overlay.Subnet{{Prefix: p}}})
	hosts[0].do("create", err)
	for _, h := range hosts[1:] {
		within(t, 10*time.Second, h.name+" sees the network", func() bool { _, ok := h.Network(n.ID); return ok })
		h.do("attach", h.Attach(t.Context(), docker, n.ID))
	}
	for _, h := range hosts {
		within(t, 10*time.Second, h.name+" sees all attached", func() bool {
			attached, _ := h.Claims().Hosts(n.ID)
			return attached == len(hosts) && len(h.Direct().PushPeers()) == len(hosts)-1
		})
	}
	return n
}

func (h *host) endpoint(id string, n overlay.Network, a string) {
	h.t.Helper()
	ip := netip.MustParseAddr(a)
	h.do("create endpoint", h.CreateEndpoint(h.t.Context(), overlay.Endpoint{
		ID: id, Network: n.ID, Addrs: []netip.Addr{ip}, MAC: overlay.MACOf(n.ID, ip),
	}))
}

// sees says whether h knows of the other's endpoint.
func (h *host) sees(other *host, n overlay.Network, id string) bool {
	return slices.ContainsFunc(h.Snapshot().Peers[n.ID], func(at overlay.Attachment) bool {
		return at.Host == other.name && slices.ContainsFunc(at.Endpoints, func(e overlay.PeerEndpoint) bool { return e.ID == id })
	})
}

func (h *host) hears(other *host) bool {
	return slices.ContainsFunc(h.HostStates(), func(s registry.HostState) bool { return s.Name == other.name && !s.Heard.IsZero() })
}

// acquainted waits until all have heard each other.
func acquainted(t *testing.T, hosts ...*host) {
	t.Helper()
	for _, a := range hosts {
		for _, b := range hosts {
			within(t, 5*time.Second, fmt.Sprintf("%s hears %s", a.name, b.name), func() bool { return a == b || a.hears(b) })
		}
	}
}

// within waits for what other goroutines bring about and gives how long it took.
func within(t *testing.T, limit time.Duration, what string, ok func() bool) time.Duration {
	t.Helper()
	began := time.Now()
	for !ok() {
		if time.Since(began) > limit {
			t.Fatalf("not within %v: %s", limit, what)
		}
		time.Sleep(time.Millisecond)
	}
	return time.Since(began)
}

// vtepOf gives hosts of different names different addresses. None is sent to.
func vtepOf(host string) netip.Addr {
	n, _ := strconv.Atoi(strings.TrimPrefix(host, "h"))
	return netip.AddrFrom4([4]byte{192, 0, 2, byte(1 + n%250)})
}
