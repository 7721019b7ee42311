package ipam

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/weft-net/weft/kvstore"
)

// errExhausted is in the error that says that a pool has no free address.
var errExhausted = errors.New("no free address")

// strandedTime is how long an address that names this host in an earlier
// incarnation is left alone: containers from before may still have it.
const strandedTime = 10 * time.Minute

// orphanTime is how long an address in use must have had no endpoint before it
// is freed. Docker may repeat a release for 15 s.
const orphanTime = 3 * time.Minute

// doubtTime is how long after its client has given up Consul may still carry
// out a write: it holds requests for 7 s while there is no leader, and a leader
// those that it cannot commit for 30 s.
const doubtTime = 45 * time.Second

// mark is what this host writes into the keys of its addresses.
func (a *Allocator) mark() []byte {
	return encode(holder{Host: a.cfg.Host, Incarnation: a.cfg.Incarnation})
}

// recheck makes Run compare the pool with Cluster, now and again: the outcome
// of a change is not known, and may not be settled yet.
func (a *Allocator) recheck(p *pool) {
	a.mu.Lock()
	p.checked, p.doubt = time.Time{}, a.cfg.Now().Add(a.cfg.doubt)
	a.mu.Unlock()
	signal(a.kick)
}

// claim takes up to n free addresses into stock, at least one unless it
// fails. The caller has the gate.
func (a *Allocator) claim(ctx context.Context, p *pool, v view, n int) error {
	a.mu.Lock()
	looked := p.taken == nil
	a.mu.Unlock()
	if looked {
		if err := a.check(ctx, p, v); err != nil {
			return err
		}
	}
	for conflicts := 0; ; {
		a.mu.Lock()
		p.reserveLocked(v)
		some := p.dynamic().pick(min(n, maxStock), p.taken, a.random)
		a.mu.Unlock()
		if len(some) == 0 && looked {
			return a.exhausted(p, v)
		}
		// Somebody else's changes are not seen until one looks.
		if len(some) == 0 || conflicts >= maxStock {
			if err := a.check(ctx, p, v); err != nil {
				return err
			}
			looked, conflicts = true, 0
			continue
		}
		got, lost, err := a.create0(ctx, p, some)
		if err != nil {
			return err
		}
		conflicts += lost
		looked = looked && lost == 0
		if got > 0 {
			return nil
		}
	}
}

// create0 creates the keys of the addresses, leaving out those that exist.
func (a *Allocator) create0(ctx context.Context, p *pool, some []netip.Addr) (got, lost int, err error) {
	for len(some) > 0 {
		ops := make([]kvstore.Op, 0, len(some))
		for _, addr := range some {
			ops = append(ops, kvstore.Op{Kind: kvstore.CAS, Key: addrKey(p.subnet, addr), Value: a.mark()})
		}
		_, err := a.cfg.Cluster.Txn(ctx, append(ops, a.cfg.Fence...)...)
		var conflict *kvstore.ConflictError
		if errors.As(err, &conflict) && conflict.Op < len(some) {
			a.mu.Lock()
			p.taken[some[conflict.Op]] = struct{}{}
			a.mu.Unlock()
			some = slices.Delete(some, conflict.Op, conflict.Op+1)
			lost++
			continue
		}
		if err != nil {
			a.recheck(p)
			return 0, lost, fmt.Errorf("claim addresses of %v: %w", p.subnet, err)
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		for _, addr := range some {
			p.taken[addr] = struct{}{}
		}
		if err := a.setLocked(ctx, p, some, &claim{State: inStock, At: a.cfg.Now()}); err != nil {
			p.checked, p.taken = time.Time{}, nil // the next claim begins with a check, and that with these
			return 0, lost, err
		}
		return len(some), lost, nil
	}
	return 0, lost, nil
}

// exhausted says that nothing is free and who has it all.
func (a *Allocator) exhausted(p *pool, v view) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	used := 0
	for _, c := range p.claims {
		if c.State == inUse {
			used++
		}
	}
	s := p.dynamic()
	in := ""
	if p.held.Pool.Range.IsValid() {
		in = fmt.Sprintf(" in its --ip-range %v", p.held.Pool.Range)
	}
	return fmt.Errorf("%s has %w%s: of %d, %d are in use on this host and the rest is reserved or on other hosts; "+
		"remove containers or make a network with a larger --subnet", p.nameLocked(v), errExhausted, in, s.size(), used)
}

// check compares this host's claims with Cluster and makes them agree. The
// caller has the gate, so nothing of this host's is under way but late
// deletes of leaving addresses and late creates of what nobody uses.
func (a *Allocator) check(ctx context.Context, p *pool, v view) error {
	if err := a.catchUp(ctx, p); err != nil {
		return err
	}
	pairs, _, err := a.cfg.Cluster.List(ctx, addrPrefix+slot(p.subnet)+"/")
	if err != nil {
		return fmt.Errorf("read the addresses of %v: %w", p.subnet, err)
	}
	holders := make(map[netip.Addr]holder, len(pairs))
	revisions := map[netip.Addr]uint64{}
	for _, pair := range pairs {
		_, addr, err := parseAddrKey(addrPrefix, pair.Key)
		if err != nil {
			return err
		}
		if holders[addr], err = decode[holder](pair); err != nil {
			return err
		}
		revisions[addr] = pair.Revision
	}
	if err := a.confirm(ctx, p, holders, revisions); err != nil {
		return err
	}
	absent, err := a.compare(ctx, p, v, holders)
	if err != nil {
		return err
	}
	if err := a.assert(ctx, p, absent); err != nil {
		return err
	}
	// Of a pool without a network only Docker knows which containers have an
	// address.
	if v.live && !v.unsure {
		if err := a.clearStranded(ctx, p, revisions); err != nil {
			return err
		}
	}
	if v.attached && !v.unsure {
		if err := a.freeOrphans(ctx, p); err != nil {
			return err
		}
	}
	a.mu.Lock()
	now := a.cfg.Now()
	if !now.Before(p.doubt) {
		p.doubt = time.Time{}
	}
	// Hosts that start together do not go on in step.
	p.checked = now.Add(-time.Duration(a.random(uint64(a.checkEvery(p)/4) + 1))) //nolint:gosec // minutes
	lost := map[netip.Addr]string{}
	for addr, c := range p.claims {
		if c.State == inUse && c.Lost != "" {
			lost[addr] = c.Lost
		}
	}
	a.mu.Unlock()
	for _, addr := range slices.SortedFunc(maps.Keys(lost), netip.Addr.Compare) {
		if a.cfg.Lost != nil {
			a.cfg.Lost(addr, lost[addr])
		}
	}
	return nil
}

// catchUp makes the following reads show at least what is the case now. A
// store's leader answers reads before it has replayed its log after a restart,
// but a write, even one that changes nothing, comes after all earlier ones.
func (a *Allocator) catchUp(ctx context.Context, p *pool) error {
	op := kvstore.Op{Kind: kvstore.Delete, Key: addrPrefix + slot(p.subnet) + "/none"} // never exists
	if _, err := a.cfg.Cluster.Txn(ctx, op); err != nil {
		return fmt.Errorf("catch up with the store for %v: %w", p.subnet, err)
	}
	return nil
}

// confirm drops from holders what this host would adopt but does not hold any
// more. A read may come from a leader that has been replaced without noticing
// yet; a write, even of the same value, cannot. What is in use here and names
// an earlier incarnation gets the present one on this occasion: what that may
// have left under way misses it then.
func (a *Allocator) confirm(
	ctx context.Context, p *pool, holders map[netip.Addr]holder, revisions map[netip.Addr]uint64,
) error {
	var unknown []netip.Addr
	a.mu.Lock()
	for addr, h := range holders {
		c, known := p.claims[addr]
		ours := h.Host == a.cfg.Host && h.Incarnation == a.cfg.Incarnation
		before := h.Host == a.cfg.Host && !ours
		if ours && !known || before && c.State == inUse {
			unknown = append(unknown, addr)
		}
	}
	a.mu.Unlock()
	for len(unknown) > 0 {
		some := unknown[:min(len(unknown), kvstore.MaxOps-len(a.cfg.Fence))]
		ops := make([]kvstore.Op, 0, len(some))
		for _, addr := range some {
			ops = append(ops, kvstore.Op{
				Kind: kvstore.CAS, Key: addrKey(p.subnet, addr), Value: a.mark(), Revision: revisions[addr],
			})
		}
		_, err := a.cfg.Cluster.Txn(ctx, append(ops, a.cfg.Fence...)...)
		var conflict *kvstore.ConflictError
		switch {
		case err == nil:
			unknown = unknown[len(some):]
		case errors.As(err, &conflict) && conflict.Op < len(some):
			delete(holders, some[conflict.Op])
			unknown = slices.Delete(unknown, conflict.Op, conflict.Op+1)
		default:
			return fmt.Errorf("confirm addresses of %v: %w", p.subnet, err)
		}
	}
	return nil
}

// compare brings State up to what Cluster says, and gives the claims that
// Cluster lacks, those in use first.
func (a *Allocator) compare(ctx context.Context, p *pool, v view, holders map[netip.Addr]holder) ([]netip.Addr, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.cfg.Now()
	p.taken = make(set, len(holders))
	strange := sightings{}
	var adopt []netip.Addr
	for addr, h := range holders {
		p.taken[addr] = struct{}{}
		if _, known := p.claims[addr]; known || h.Host != a.cfg.Host {
			continue
		}
		if h.Incarnation == a.cfg.Incarnation {
			adopt = append(adopt, addr)
			continue
		}
		strange[addr] = now
		if seen, ok := p.strange[addr]; ok && !v.unsure {
			strange[addr] = seen
		}
	}
	p.strange = strange
	p.reserveLocked(v)
	slices.SortFunc(adopt, netip.Addr.Compare)
	if err := a.setLocked(ctx, p, adopt, &claim{State: inStock, At: now}); err != nil {
		p.taken = nil // nothing is claimed before these are recorded
		return nil, err
	}
	var used, stock []netip.Addr
	for addr, c := range p.claims {
		h, found := holders[addr]
		mine := found && h.Host == a.cfg.Host
		var err error
		switch {
		case mine && c.Lost != "":
			c.Lost = ""
			err = a.setLocked(ctx, p, []netip.Addr{addr}, &c)
		case mine:
		case c.State == leaving:
			err = a.setLocked(ctx, p, []netip.Addr{addr}, nil)
		case found:
			err = a.loseLocked(ctx, p, addr, h.Host)
		case c.State == inUse:
			used = append(used, addr)
		default:
			stock = append(stock, addr)
		}
		if err != nil {
			return nil, err
		}
	}
	return append(used, stock...), nil
}

// loseLocked takes note that another host has an address of ours.
func (a *Allocator) loseLocked(ctx context.Context, p *pool, addr netip.Addr, host string) error {
	c := p.claims[addr]
	if c.State != inUse {
		return a.setLocked(ctx, p, []netip.Addr{addr}, nil)
	}
	if c.Lost == host {
		return nil
	}
	c.Lost = host
	a.cfg.Observe(Lost)
	return a.setLocked(ctx, p, []netip.Addr{addr}, &c)
}

// assert creates the keys of addresses that are ours but that Cluster has
// forgotten.
func (a *Allocator) assert(ctx context.Context, p *pool, addrs []netip.Addr) error {
	for len(addrs) > 0 {
		some := addrs[:min(len(addrs), kvstore.MaxOps-len(a.cfg.Fence))]
		ops := make([]kvstore.Op, 0, len(some))
		for _, addr := range some {
			ops = append(ops, kvstore.Op{Kind: kvstore.CAS, Key: addrKey(p.subnet, addr), Value: a.mark()})
		}
		_, err := a.cfg.Cluster.Txn(ctx, append(ops, a.cfg.Fence...)...)
		var conflict *kvstore.ConflictError
		switch {
		case err == nil:
			a.mu.Lock()
			for _, addr := range some {
				p.taken[addr] = struct{}{}
			}
			a.mu.Unlock()
			addrs = addrs[len(some):]
		case errors.As(err, &conflict) && conflict.Op < len(some):
			if err := a.lookAt(ctx, p, some[conflict.Op]); err != nil {
				return err
			}
			addrs = slices.Delete(addrs, conflict.Op, conflict.Op+1)
		default:
			return fmt.Errorf("assert addresses of %v: %w", p.subnet, err)
		}
	}
	return nil
}

// lookAt settles whose one address is.
func (a *Allocator) lookAt(ctx context.Context, p *pool, addr netip.Addr) error {
	pair, err := a.cfg.Cluster.Get(ctx, addrKey(p.subnet, addr))
	if errors.Is(err, kvstore.ErrNotFound) {
		a.recheck(p) // nobody's again
		return nil
	}
	if err != nil {
		return fmt.Errorf("read address %v: %w", addr, err)
	}
	h, err := decode[holder](pair)
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	p.taken[addr] = struct{}{}
	if h.Host == a.cfg.Host {
		return nil
	}
	return a.loseLocked(ctx, p, addr, h.Host)
}

// clearStranded deletes addresses that this host claimed before it lost its
// State and that nobody has asked for since.
func (a *Allocator) clearStranded(ctx context.Context, p *pool, revisions map[netip.Addr]uint64) error {
	a.mu.Lock()
	now := a.cfg.Now()
	var old []netip.Addr
	for addr, seen := range p.strange {
		if now.Sub(seen) >= strandedTime {
			old = append(old, addr)
		}
	}
	a.mu.Unlock()
	for _, addr := range old {
		if a.cfg.Networks.Owner(addr) != "" {
			continue
		}
		op := kvstore.Op{Kind: kvstore.DeleteCAS, Key: addrKey(p.subnet, addr), Revision: revisions[addr]}
		if _, err := a.cfg.Cluster.Txn(ctx, op); err != nil && !errors.Is(err, kvstore.ErrConflict) {
			return fmt.Errorf("give back address %v: %w", addr, err)
		}
	}
	return nil
}

// freeOrphans puts addresses back into stock that Docker asked for but made no
// endpoint with, since it or weft died in between.
func (a *Allocator) freeOrphans(ctx context.Context, p *pool) error {
	a.mu.Lock()
	used := oldest(p.claims, len(p.claims), func(_ netip.Addr, c claim) bool { return c.State == inUse })
	a.mu.Unlock()
	used = slices.DeleteFunc(used, func(addr netip.Addr) bool { return a.cfg.Networks.Owner(addr) != "" })

	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.cfg.Now()
	seen := map[netip.Addr]orphan{}
	for _, addr := range used {
		c := p.claims[addr]
		o, again := p.orphans[addr]
		switch {
		case c.State != inUse:
		case !again || !o.inUse.Equal(c.At):
			seen[addr] = orphan{now, c.At}
		case now.Sub(o.seen) < orphanTime:
			seen[addr] = o
		default:
			a.cfg.Log.WithField("address", addr).Warn("An address was handed out, but no endpoint ever had it: it is free again.")
			c.State, c.At = inStock, now
			if err := a.setLocked(ctx, p, []netip.Addr{addr}, &c); err != nil {
				return err
			}
		}
	}
	p.orphans = seen
	return nil
}
