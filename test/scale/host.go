package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sync/errgroup"

	"github.com/weft-net/weft/driver"
	"github.com/weft-net/weft/driver/arrival"
	"github.com/weft-net/weft/driver/dns"
	"github.com/weft-net/weft/driver/format"
	"github.com/weft-net/weft/driver/identity"
	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/plugin"
	"github.com/weft-net/weft/driver/push"
	"github.com/weft-net/weft/driver/reconcile"
	"github.com/weft-net/weft/driver/registry"
	"github.com/weft-net/weft/driver/registry/record"
	"github.com/weft-net/weft/driver/skipped"
	"github.com/weft-net/weft/ipam"
	"github.com/weft-net/weft/ipam/stock"
	"github.com/weft-net/weft/kvstore"
	"github.com/weft-net/weft/kvstore/bolt"
	"github.com/weft-net/weft/kvstore/consul"
)

// The values of a real host that are in cmd/weft.
const (
	pushPort    = 7947
	vxlanPort   = 4789
	underlayMTU = 1500
	verifyEvery = 4 * time.Second
	reapAfter   = 10 * time.Minute
	metaTime    = 500 * time.Millisecond
)

// host is one simulated host: the parts of a real one, put together as cmd/weft does.
type host struct {
	name string
	wire *wire
	eyes *eyes
	log  logrus.FieldLogger

	cluster, state kvstore.Store
	registry       *registry.Registry
	push           *push.Push
	allocator      *ipam.Allocator
	reconciler     *reconcile.Reconciler
	names          *dns.Server
	arrivals       *arrival.Arrivals
	docker         *docker

	stop  context.CancelFunc
	ended chan error
	grave net.Listener // of a dead host
}

// hostConfig is what a host is made from.
type hostConfig struct {
	name   string
	dir    string // of its state
	consul []string
	wire   *wire
	eyes   *eyes
	ledger *ledger
	log    logrus.FieldLogger
}

// newHost builds a host and starts it. It waits for the store as a real one does.
func newHost(ctx context.Context, cfg hostConfig) (_ *host, err error) {
	h := &host{name: cfg.name, wire: cfg.wire, eyes: cfg.eyes, log: cfg.log.WithField("on", cfg.name), ended: make(chan error, 1)}
	defer func() {
		if err != nil {
			h.close()
			err = fmt.Errorf("start %s: %w", cfg.name, err)
		}
	}()
	if h.state, err = bolt.Open(filepath.Join(cfg.dir, cfg.name+".db")); err != nil {
		return nil, err
	}
	store, err := consul.Open(consul.Config{
		Addresses: cfg.consul, Host: cfg.name, Prefix: "weft", NodeAddress: cfg.wire.from.String(),
		Log: h.log, OnRequest: cfg.wire.asked, Dial: cfg.wire.dial,
	})
	if err != nil {
		return nil, err
	}
	guarded := format.Guard(store, record.MetaKey)
	h.cluster = guarded
	if err := guarded.Check(ctx, metaTime); err != nil {
		return nil, err
	}
	if err := h.assemble(ctx); err != nil {
		return nil, err
	}
	h.docker = newDocker(h, cfg.ledger)
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	h.stop = stop
	go func() { h.ended <- h.run(running) }()
	return h, nil
}

// assemble makes the parts.
func (h *host) assemble(ctx context.Context) error {
	id, err := registry.Identify(ctx, h.state, identity.Machine{ID: "machine of " + h.name}, "boot of "+h.name)
	if err != nil {
		return err
	}
	if err := id.Bind(""); err != nil {
		return err
	}
	id.Name, id.VTEP = h.name, h.wire.from
	if err := id.Await(ctx, h.cluster, false, nil); err != nil {
		return err
	}
	h.arrivals = arrival.New()
	passedOver := &skipped.List{}
	h.registry, err = registry.Open(ctx, registry.Config{
		Self: overlay.Host{
			Name: h.name, VTEP: h.wire.from, Port: vxlanPort, MTU: underlayMTU, Version: "simulated",
			Push: netip.AddrPortFrom(h.wire.from, pushPort),
		},
		Identity: id, Cluster: h.cluster, State: h.state, Reap: reapAfter, Log: h.log, Skipped: passedOver, Arrivals: h.arrivals,
	})
	if err != nil {
		return err
	}
	h.push = push.New(push.Config{Registry: h.registry.Direct(), Log: h.log, Listen: h.wire.listen})
	h.allocator, err = ipam.Open(ctx, ipam.Config{
		Host: h.name, Incarnation: h.registry.Self().Incarnation, Cluster: h.cluster, State: h.state,
		Networks: h.registry.Claims(), Permits: h.registry.Claims(), Stock: stock.Default, ULA: h.registry.Keyring().ULA,
		Lost: func(a netip.Addr, by string) {
			h.log.WithField("address", a).WithField("by", by).Error("An address in use is another host's.")
		},
		Skipped: passedOver, Log: h.log,
	})
	if err != nil {
		return err
	}
	h.registry.SetAddresses(h.allocator)
	h.reconciler = reconcile.New(reconcile.Config{
		Kernel: kernel{h.eyes}, Snapshot: h.snapshot, Changes: h.registry.Changes, Verify: verifyEvery, Log: h.log,
	})
	h.names = dns.New(dns.Config{Snapshot: h.registry.Snapshot, Changes: h.registry.Changes, Open: noSandbox, Log: h.log})
	if lost, _ := h.registry.Rebuilding(); lost { // a new state, and no Docker that has anything
		return h.registry.Rebuilt(ctx)
	}
	return nil
}

// plugin is what Docker calls.
func (h *host) plugin() *plugin.Server {
	s := plugin.NewServer(h.log, nil)
	driver.New("weft", h.registry, h.reconciler, h.allocator, func() string { return "" }, h.log).Register(s)
	ipam.NewDriver(h.allocator, h.log).Register(s)
	return s
}

// snapshot is what a pass begins with.
func (h *host) snapshot() overlay.Snapshot {
	s := h.registry.Snapshot()
	h.eyes.look(s)
	return s
}

// run runs all parts until ctx ends.
func (h *host) run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, task := range []func(context.Context) error{
		h.registry.Run, h.push.Run, h.allocator.Run, h.passOn, h.reconciler.Run, h.names.Run, h.docker.run,
		func(ctx context.Context) error { return h.arrivals.Run(ctx, atOnce, h.registry.Arrived) },
	} {
		g.Go(func() error { return task(ctx) })
	}
	return g.Wait()
}

// passOn tells the registry when addresses have changed and the allocator when networks
// have.
func (h *host) passOn(ctx context.Context) error {
	networks, stop := h.registry.Changes()
	defer stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-h.allocator.Changed():
			h.registry.AddressesChanged()
		case <-networks:
			h.allocator.Wake()
		}
	}
}

// end ends the host in order.
func (h *host) end() error {
	h.stop()
	err := <-h.ended
	h.close()
	if err != nil {
		return fmt.Errorf("%s ended: %w", h.name, err)
	}
	return nil
}

// die ends the host without a word, as when its machine loses its power: nothing goes out
// any more, nobody answers, and nobody refuses.
func (h *host) die(ctx context.Context) error {
	h.wire.sever()
	if err := h.end(); err != nil {
		return err
	}
	var err error
	// A connection to it is never accepted. Nothing would refuse it, which says that the
	// machine lives.
	h.grave, err = new(net.ListenConfig).Listen(ctx, "tcp", netip.AddrPortFrom(h.wire.from, pushPort).String())
	return err
}

// close closes the stores.
func (h *host) close() {
	for _, store := range []kvstore.Store{h.cluster, h.state} {
		if store != nil {
			if err := store.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
				h.log.WithError(err).Warn("A store could not be closed.")
			}
		}
	}
}
