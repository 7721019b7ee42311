package ipam

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/weft-net/weft/ipam/claim"
	"github.com/weft-net/weft/ipam/record"
	"github.com/weft-net/weft/ipam/space"
	"github.com/weft-net/weft/ipam/stock"
	"github.com/weft-net/weft/kvstore"
)

// AddressRequest asks for an address.
type AddressRequest struct {
	Pool    space.PoolID
	Addr    netip.Addr // invalid: any
	Gateway bool       // the pool's gateway is asked for
	// Endpoint says that it is surely for a container. Docker before 29 does
	// not tell, so without it the address may be an aux address.
	Endpoint bool
}

// RequestAddress gives an address with the length of its subnet. Any address
// comes from this host's stock without the Cluster store, unless the stock is
// empty; a named one is claimed first, if need be from another host's stock. Then Docker
// waits for kvstore.Patience at most.
func (a *Allocator) RequestAddress(ctx context.Context, r AddressRequest) (addr netip.Prefix, err error) {
	err = kvstore.Patiently(ctx, func(ctx context.Context) (err error) {
		addr, err = a.requestAddress(ctx, r)
		return err
	})
	return addr, err
}

func (a *Allocator) requestAddress(ctx context.Context, r AddressRequest) (netip.Prefix, error) {
	p, err := a.find(ctx, r.Pool)
	if err != nil {
		return netip.Prefix{}, err
	}
	v := a.view(p.subnet)
	addr := r.Addr
	switch {
	case addr.IsValid() && !p.subnet.Contains(addr):
		return netip.Prefix{}, fmt.Errorf("address %v is not inside subnet %v: choose another", addr, p.subnet)
	case r.Gateway:
		addr, err = a.requestGateway(ctx, p, v, addr)
	case addr.IsValid():
		if err = a.requestNamed(ctx, p, v, addr, r.Endpoint); err == nil {
			a.cfg.Observe(Named)
		}
	default:
		addr, err = a.requestAny(ctx, p, v)
	}
	if err != nil {
		return netip.Prefix{}, err
	}
	return netip.PrefixFrom(addr, p.subnet.Bits()), nil
}

// find gives a pool that Docker says it has, even if this host's State has
// been lost.
func (a *Allocator) find(ctx context.Context, id space.PoolID) (*pool, error) {
	a.mu.Lock()
	p := a.pools[id.Subnet]
	known := p != nil && p.recorded()
	a.mu.Unlock()
	if known {
		return p, nil
	}
	pr := record.Pool{Subnet: id.Subnet, Range: id.Range}
	if n, ok := a.cfg.Networks.NetworkOf(id.Subnet); ok {
		pr.Host, pr.At = n.Host, n.Created
	} else {
		pair, err := a.cfg.Cluster.Get(ctx, record.PoolKey(id.Subnet))
		if err != nil {
			return nil, fmt.Errorf("pool %v is not known on this host: %w", id.Subnet, err)
		}
		if pr, err = record.DecodePool(pair); err != nil {
			return nil, err
		}
		pr.Range = id.Range
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	p = a.poolLocked(id.Subnet)
	if p.recorded() {
		return p, nil
	}
	return p, a.holdLocked(ctx, p, record.Held{Pool: pr, Count: 1, At: a.cfg.Now()})
}

func (a *Allocator) requestAny(ctx context.Context, p *pool, v view) (netip.Addr, error) {
	if addr, err := a.take(ctx, p, v, FromStock); err != nil || addr.IsValid() {
		return addr, err
	}
	spared := v.live // others' addresses are known of networks only
	for end := time.Now().Add(spareTime); ; {
		var addr netip.Addr
		err := a.allowed(ctx, func(by permit) (err error) {
			addr, err = a.claimAny(ctx, p, v, by)
			return err
		})
		if err == nil {
			return addr, nil
		}
		if !errors.Is(err, errExhausted) || !spared || time.Now().After(end) {
			return netip.Addr{}, a.outOfStock(p, v, err)
		}
		spared = a.spared(p.subnet) // before the next attempt: it may come free between the two
		if pause(ctx, spareLook) != nil {
			return netip.Addr{}, a.outOfStock(p, v, err)
		}
	}
}

// How long a request waits for other hosts' stock, for any address of a used-up pool or
// for one by name, and how often it looks. Other hosts give their stock back when they
// hear that nothing is free, see stock.Target, and one address when they are asked for it.
const (
	spareTime = 2 * time.Second
	spareLook = 100 * time.Millisecond
)

// claimAny claims some addresses and hands out one.
func (a *Allocator) claimAny(ctx context.Context, p *pool, v view, by permit) (netip.Addr, error) {
	// Another pool if this one was removed meanwhile.
	p, leave, err := a.enter(ctx, p.subnet)
	if err != nil {
		return netip.Addr{}, err
	}
	defer leave()
	// Whoever had the gate may have filled the stock; whoever else is served
	// without the gate may empty it again.
	for {
		if addr, err := a.take(ctx, p, v, Waited); err != nil || addr.IsValid() {
			return addr, err
		}
		a.mu.Lock()
		n := max(a.targetLocked(p, v, a.cfg.Now()), 1)
		a.mu.Unlock()
		if err := a.claim(ctx, p, v, n, by); err != nil {
			return netip.Addr{}, err
		}
	}
}

func (a *Allocator) outOfStock(p *pool, v view, err error) error {
	if errors.Is(err, errExhausted) || errors.Is(err, kvstore.ErrUnwritable) {
		return err
	}
	why := "none can be claimed"
	if errors.Is(err, kvstore.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded) {
		why = "the store is unavailable"
	}
	return fmt.Errorf("no address left in stock for %s on this host and %s: %w", a.nameOf(p, v), why, err)
}

// take hands out the address that has been in stock longest, or none. event says how the
// address came into stock.
func (a *Allocator) take(ctx context.Context, p *pool, v view, event Event) (netip.Addr, error) {
	disputed := a.disputed(p)
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.cfg.Now()
	p.makingUntil = time.Time{} // this was for a container: the network is made
	good := p.stocked(v)
	some := p.claims.Which(func(addr netip.Addr, c claim.Claim) bool { return good(addr, c) && disputed[addr] == "" })
	if len(some) == 0 {
		return netip.Addr{}, nil
	}
	if err := a.setLocked(ctx, p, some[:1], p.claims[some[0]].HandOut(now, false)); err != nil {
		return netip.Addr{}, err
	}
	a.cfg.Observe(event)
	p.recent.Add(now)
	if stock.Missing(len(some)-1, a.targetLocked(p, v, now), a.cfg.Stock) > 0 {
		signal(a.kick)
	}
	return some[0], nil
}

func (a *Allocator) requestNamed(ctx context.Context, p *pool, v view, addr netip.Addr, endpoint bool) error {
	a.mu.Lock()
	what := p.reservedAs(v, addr)
	isAux := !endpoint && (what == asGateway || what == asAux)
	making := a.cfg.Now().Before(p.makingUntil) && p.held.Pool.Group == "" && !endpoint
	name := p.nameLocked(v)
	a.mu.Unlock()
	switch {
	case isAux && !v.attached:
		return nil // the network itself asks, here or for its copy on this host
	case what == "" && making && !v.live:
		return a.reserve(ctx, p, addr, func(r *record.Pool) error {
			if i, found := slices.BinarySearchFunc(r.Aux, addr, netip.Addr.Compare); !found {
				r.Aux = slices.Insert(r.Aux, i, addr)
			}
			return nil
		})
	case what != "":
		return fmt.Errorf("address %v is %s of %s: choose another", addr, what, name)
	case v.live && !v.attached && !endpoint:
		return fmt.Errorf("address %v is no aux address of %s: use what `weft network inspect` shows", addr, name)
	}
	if done, err := a.useOwn(ctx, p, addr); done || err != nil {
		return err
	}
	return a.requestClaimed(ctx, p, addr)
}

// requestGateway gives the pool's gateway, the same on every host. While the
// network is being made it may be chosen.
func (a *Allocator) requestGateway(ctx context.Context, p *pool, v view, addr netip.Addr) (netip.Addr, error) {
	a.mu.Lock()
	now, name := p.gateway(v), p.nameLocked(v)
	recorded := v.live || p.held.Pool.Gateway.IsValid()
	shared := len(p.held.Pool.Hosts) > 1
	a.mu.Unlock()
	if recorded && (!addr.IsValid() || addr == now) {
		return now, nil
	}
	if recorded && (v.live || shared) {
		return netip.Addr{}, fmt.Errorf("gateway %v differs from %v, the gateway of %s on its other hosts: leave --gateway out, or give that one", addr, now, name)
	}
	open := !addr.IsValid()
	if open {
		addr = now
	}
	if !space.Usable(p.subnet).Contains(addr) {
		return netip.Addr{}, fmt.Errorf("gateway %v cannot be a host's address in subnet %v: choose another", addr, p.subnet)
	}
	err := a.reserve(ctx, p, addr, func(r *record.Pool) error {
		if open && r.Gateway.IsValid() {
			addr = r.Gateway
			return nil
		}
		if r.Gateway.IsValid() && r.Gateway != addr && len(r.Hosts) > 1 {
			return fmt.Errorf("gateway %v differs from %v, the gateway of %s on its other hosts: leave --gateway out, or give that one", addr, r.Gateway, name)
		}
		if slices.Contains(r.Aux, addr) {
			return fmt.Errorf("gateway %v is an aux address of %s: choose another", addr, name)
		}
		r.Gateway = addr
		return nil
	})
	return addr, err
}

// reserve takes an address out of the pool for the network itself.
func (a *Allocator) reserve(ctx context.Context, p *pool, addr netip.Addr, change func(*record.Pool) error) error {
	p, leave, err := a.enter(ctx, p.subnet)
	if err != nil {
		return fmt.Errorf("cannot reserve address %v: %w", addr, err)
	}
	defer leave()
	a.mu.Lock()
	c := p.claims[addr]
	a.mu.Unlock()
	if c.State == claim.InUse {
		return a.inUseBy(addr, a.cfg.Host)
	}
	pr, err := a.changePool(ctx, p.subnet, change)
	if err != nil {
		return fmt.Errorf("cannot reserve address %v: %w", addr, err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	h := p.held
	pr.Range = h.Pool.Range // of a group, each host may have its own
	h.Pool = pr
	p.chooseUntil = a.cfg.Now().Add(chooseTime)
	return a.holdLocked(ctx, p, h)
}

// ReleaseAddress puts an address that Docker had back into stock. Gateway, aux
// and unknown addresses are fine. Docker removes an endpoint before it releases
// the endpoint's address (libnetwork, Endpoint.Delete). So if an endpoint has the
// address, Docker repeats a call whose answer it has lost, and the address has been
// handed out again since. If the endpoint's removal failed here instead, the
// address comes free with the endpoint, see Missed and freeOrphans.
func (a *Allocator) ReleaseAddress(ctx context.Context, id space.PoolID, addr netip.Addr) error {
	v, used := a.view(id.Subnet), a.cfg.Networks.Uses(addr)
	a.mu.Lock()
	defer a.mu.Unlock()
	p := a.pools[id.Subnet]
	if used && p != nil && p.claims[addr].State == claim.InUse && p.claims[addr].Lost == "" {
		a.cfg.Log.WithField("address", addr).Debug("Docker has released an address that an endpoint has, and so has repeated an earlier release: the endpoint keeps it.")
		return nil
	}
	if a.released != nil {
		a.released[addr] = struct{}{}
	}
	if p == nil || p.claims[addr].State != claim.InUse {
		return nil
	}
	now := a.cfg.Now()
	if err := a.freeLocked(ctx, p, []netip.Addr{addr}, now); err != nil {
		return err
	}
	if len(a.extraLocked(p, v, now)) > 0 {
		signal(a.kick)
	}
	return nil
}

// freeLocked puts addresses in use back into stock, and forgets addresses that are
// another host's by now.
func (a *table) freeLocked(ctx context.Context, p *pool, addrs []netip.Addr, now time.Time) error {
	return a.changeLocked(ctx, p, addrs, func(c claim.Claim) *claim.Claim {
		if c.Lost != "" {
			return nil
		}
		c.State, c.At = claim.InStock, now
		return &c
	})
}

// extraLocked gives the addresses in stock that this host should not keep: addresses
// that a user chose, since another host may be asked for them next; addresses that can
// no longer be handed out; addresses that another host asks for; and what exceeds the
// target.
func (a *Allocator) extraLocked(p *pool, v view, now time.Time) []netip.Addr {
	good := p.stocked(v)
	extra := p.claims.Which(func(addr netip.Addr, c claim.Claim) bool {
		return c.State == claim.InStock && c.Lost == "" && !good(addr, c)
	})
	ahead := p.claims.Which(good)
	return append(extra, ahead[:stock.Surplus(len(ahead), a.targetLocked(p, v, now))]...)
}
