package ipam

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/weft-net/weft/ipam/claim"
	"github.com/weft-net/weft/ipam/record"
	"github.com/weft-net/weft/ipam/stock"
	"github.com/weft-net/weft/kvstore"
)

// How often Run looks by itself, and for how long it waits before it believes
// that something is gone.
const (
	lookTime   = 5 * time.Second  // arithmetic only, unless something is to do
	checkTime  = 5 * time.Minute  // one listing of a pool's addresses
	scanTime   = time.Hour        // one listing of all addresses
	detachTime = time.Minute      // a network that was here is not, but Docker has not released its pool
	goneTime   = 15 * time.Second // the same, and the whole cluster does not have the network any more
	leakTime   = 10 * time.Minute // an address in use in a pool that Docker no longer has
)

// Run keeps stock filled, gives back what is too much, removes what Docker no
// longer has and checks this host's claims against Cluster, until ctx ends.
// Then it returns nil.
func (a *Allocator) Run(ctx context.Context) error {
	wait := backoff.NewExponentialBackOff()
	wait.InitialInterval, wait.MaxInterval = 50*time.Millisecond, lookTime
	failing := false
	for {
		next, err := a.pass(ctx)
		kick := a.kick
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			if !failing {
				a.cfg.Log.WithError(err).Warn("Addresses cannot be brought up to date; weft keeps trying.")
			}
			next, kick = wait.NextBackOff(), nil
		default:
			if failing {
				a.cfg.Log.Info("Addresses are up to date again.")
			}
			wait.Reset()
		}
		failing = err != nil
		timer := time.NewTimer(next)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-kick:
			timer.Stop()
		case <-timer.C:
		}
	}
}

// pass does what is to do now, and says when to come again at the latest.
func (a *Allocator) pass(ctx context.Context) (time.Duration, error) {
	if err := a.adopt(ctx); err != nil {
		return 0, err
	}
	a.rereadPassed(ctx)
	lost, _ := a.cfg.Networks.Rebuilding() // which containers have addresses is not known then
	if now := a.cfg.Now(); !lost && now.Sub(a.scanned) >= scanTime {
		if err := a.scan(ctx); err != nil {
			return 0, err
		}
		a.scanned = now
	}
	a.mu.Lock()
	later := a.later
	a.mu.Unlock()
	if later {
		if err := a.recognise(ctx); err != nil {
			return 0, err
		}
	}
	a.mu.Lock()
	subnets := make([]netip.Prefix, 0, len(a.pools))
	for subnet := range a.pools {
		subnets = append(subnets, subnet)
	}
	a.mu.Unlock()
	next := lookTime
	var errs []error
	for _, subnet := range subnets {
		soon, err := a.tend(ctx, subnet)
		next = min(next, soon)
		if err != nil {
			errs = append(errs, err)
		}
		if errors.Is(err, kvstore.ErrUnavailable) || ctx.Err() != nil {
			break // so is it for the others
		}
	}
	return next, errors.Join(errs...)
}

// scan looks for keys of this host in pools that it does not know. They come from creates
// that were carried out after everybody had given them up, or from before State was lost,
// in pools that nobody has any more.
func (a *Allocator) scan(ctx context.Context) error {
	pairs, _, err := a.cfg.Cluster.List(ctx, record.AddrPrefix)
	if err != nil {
		return fmt.Errorf("read the cluster's addresses: %w", err)
	}
	pools, err := a.listPools(ctx)
	if err != nil {
		return err
	}
	read := record.ReadHolders(pairs)
	a.passOver(record.AddrPrefix, pairs, read.Passed...)
	own := map[netip.Prefix][]netip.Addr{}
	for subnet, addrs := range read.Of {
		for addr, e := range addrs {
			now := a.self.HasNow(e.Holder)
			if a.self.Has(e.Holder) && (now || !pools.Has(subnet)) && a.cfg.Networks.Owner(addr) == "" {
				own[subnet] = append(own[subnet], addr)
			}
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for subnet, addrs := range own {
		if a.pools[subnet] != nil {
			continue
		}
		// Leaving: nobody in this host's State wants it.
		p := a.poolLocked(subnet)
		p.held.Pool = record.Pool{Subnet: subnet}
		if err := a.setLocked(ctx, p, addrs, &claim.Claim{State: claim.Leaving, At: a.cfg.Now()}); err != nil {
			return err
		}
	}
	return nil
}

// work is what is to do for one pool.
type work struct {
	wanted bool // somebody on this host has the pool
	free   bool // it is time to look for addresses that nobody has
	check  bool
	back   []netip.Addr
	claim  int
	next   time.Duration // nothing is due before
}

// tend does what one pool needs.
func (a *Allocator) tend(ctx context.Context, subnet netip.Prefix) (time.Duration, error) {
	a.countOthers(subnet)
	v := a.view(subnet)
	a.mu.Lock()
	p := a.pools[subnet]
	if p == nil {
		a.mu.Unlock()
		return lookTime, nil
	}
	w := a.workLocked(p, v)
	a.mu.Unlock()
	if w.idle() {
		return w.next, nil
	}
	p, leave, err := a.enter(ctx, subnet)
	if err != nil {
		return 0, err
	}
	defer leave()
	// Things may have changed at the gate.
	v = a.view(subnet)
	if err := a.follow(ctx, p, v); err != nil {
		return 0, err
	}
	a.mu.Lock()
	w = a.workLocked(p, v)
	a.mu.Unlock()
	if w.free { // first, since it needs no store
		if err := a.freeOrphans(ctx, p); err != nil {
			return 0, err
		}
	}
	if w.check {
		if err := a.checkPool(ctx, p, v, w.wanted); err != nil {
			return 0, err
		}
		a.mu.Lock()
		w = a.workLocked(p, v)
		a.mu.Unlock()
	}
	if err := a.giveBack(ctx, p, w.back); err != nil {
		return 0, err
	}
	if by, err := a.ask(); w.claim > 0 && err == nil { // else when it may: the network's records change then
		err := a.claim(ctx, p, v, w.claim, by)
		if by.ended(err) {
			return tryAgain, nil
		}
		if err != nil && !errors.Is(err, errExhausted) {
			return 0, err
		}
		if err == nil && w.claim > atOnce {
			w.next = 0 // the rest
		}
	}
	if !w.wanted {
		return w.next, a.remove(ctx, p, v)
	}
	return w.next, nil
}

func (w work) idle() bool { return w.wanted && !w.free && !w.check && len(w.back) == 0 && w.claim == 0 }

// workLocked decides what is to do for the pool.
func (a *Allocator) workLocked(p *pool, v view) work {
	now := a.cfg.Now()
	switch {
	case v.attached:
		p.detached = time.Time{}
	case p.detached.IsZero():
		p.detached = now
	}
	w := work{wanted: p.wantedLocked(v, now), next: lookTime}
	w.free = v.attached && !v.unsure && now.Sub(p.looked) >= orphanLook
	w.check = now.Sub(p.checked) >= a.checkEvery(p) || !p.lateUntil.IsZero() && !now.Before(p.lateUntil)
	if v.attached && !p.held.Attached {
		w.check = true // also has it recorded
	}
	if !w.wanted {
		w.back = p.claims.Which(func(_ netip.Addr, c claim.Claim) bool {
			return c.State != claim.InUse
		})
		return w
	}
	w.back = p.claims.In(claim.Leaving)
	if now.Before(p.chooseUntil) {
		w.next = p.chooseUntil.Sub(now)
		return w
	}
	w.back = append(w.back, a.extraLocked(p, v, now)...)
	ahead := p.claims.Which(p.stocked(v))
	w.claim = stock.Missing(len(ahead), a.targetLocked(p, v, now), a.cfg.Stock)
	return w
}

// checkEvery is how long after a check of the pool the next one is due.
func (a *table) checkEvery(p *pool) time.Duration {
	if p.lateUntil.IsZero() {
		return checkTime
	}
	return a.cfg.lateWrites / 2
}

// wantedLocked says whether this host's Docker has the pool, as far as known.
func (p *pool) wantedLocked(v view, now time.Time) bool {
	switch {
	case v.attached:
		return true
	case p.held.Count == 0:
		return false
	default:
		// Docker's release of a network's pool is lost if weft was away.
		limit := detachTime
		if !v.live {
			limit = goneTime
		}
		return !p.held.Attached || now.Sub(p.detached) < limit
	}
}

// follow records that the pool is a network's of this host, and frees what was
// in use in a pool that has been nobody's for long.
func (a *Allocator) follow(ctx context.Context, p *pool, v view) error {
	a.mu.Lock()
	used := p.claims.In(claim.InUse)
	a.mu.Unlock()
	// A container that still has its address keeps it, whatever became of its
	// network's record.
	owned := make(map[netip.Addr]bool, len(used))
	for _, addr := range used {
		owned[addr] = a.cfg.Networks.Owner(addr) != ""
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.cfg.Now()
	if v.attached && !p.held.Attached && p.recorded() {
		h := p.held
		h.Attached = true
		return a.holdLocked(ctx, p, h)
	}
	limit := leakTime
	if p.held.Attached && !v.live && !v.unsure {
		limit = orphanTime // it was a network's, and only a network's endpoints have addresses of it
	}
	if p.wantedLocked(v, now) || p.detached.IsZero() || now.Sub(p.detached) < limit {
		return nil
	}
	leaked := slices.DeleteFunc(used, func(addr netip.Addr) bool {
		return owned[addr] || p.claims[addr].State != claim.InUse
	})
	if len(leaked) == 0 {
		return nil
	}
	a.cfg.Log.WithField("pool", p.subnet).Warnf("%d addresses were not released before their pool: they are free again.", len(leaked))
	return a.freeLocked(ctx, p, leaked, now)
}

// checkPool compares the pool and its addresses with Cluster.
func (a *Allocator) checkPool(ctx context.Context, p *pool, v view, wanted bool) error {
	if wanted {
		if err := a.assertPool(ctx, p); err != nil {
			return err
		}
	}
	return a.check(ctx, p, v)
}
