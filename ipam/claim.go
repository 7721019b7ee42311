package ipam

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/weft-net/weft/ipam/space"
	"github.com/weft-net/weft/kvstore"
)

// errExhausted is in the error that says that a pool has no free address.
var errExhausted = errors.New("no free address")

// strandedTime is how long an address that names this host in an earlier
// incarnation is left alone: containers from before may still have it.
const strandedTime = 10 * time.Minute

// doubtTime is how long after its client has given up Consul may still carry
// out a write: it holds requests for 7 s while there is no leader, and a leader
// those that it cannot commit for 30 s.
const doubtTime = 45 * time.Second

// mark is what this host writes into the key of an address that it claimed then.
func (a *Allocator) mark(born birth) []byte {
	return encode(holder{Host: a.cfg.Host, Incarnation: a.cfg.Incarnation, birth: born})
}

// remark is what this host writes over its own mark, which had this revision.
func (a *Allocator) remark(h holder, revision uint64) []byte {
	return encode(holder{Host: a.cfg.Host, Incarnation: a.cfg.Incarnation, birth: h.born(revision), Rest: h.Rest})
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
func (a *Allocator) claim(ctx context.Context, p *pool, v view, n int, by permit) error {
	a.mu.Lock()
	looked := p.taken == nil
	a.mu.Unlock()
	if looked {
		if err := a.check(ctx, p, v); err != nil {
			return err
		}
	}
	for conflicts := 0; ; {
		others := a.cfg.Networks.Claimed(p.subnet) // even if Cluster has lost it
		a.mu.Lock()
		p.reserveLocked(v)
		for addr := range others {
			p.taken[addr] = struct{}{}
		}
		some := p.dynamic().Pick(min(n, atOnce), p.taken, space.Share{Nth: v.before, Of: v.hosts}, a.random)
		a.mu.Unlock()
		if len(some) == 0 && looked {
			return a.exhausted(p, v)
		}
		// Somebody else's changes are not seen until one looks.
		if len(some) == 0 || conflicts >= atOnce {
			if err := a.check(ctx, p, v); err != nil {
				return err
			}
			looked, conflicts = true, 0
			continue
		}
		got, lost, err := a.create0(ctx, p, some, by)
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
func (a *Allocator) create0(ctx context.Context, p *pool, some []netip.Addr, by permit) (got, lost int, err error) {
	for len(some) > 0 {
		ops := make([]kvstore.Op, 0, len(some))
		for _, addr := range some {
			ops = append(ops, kvstore.Op{Kind: kvstore.CAS, Key: addrKey(p.subnet, addr), Value: a.mark(birth{Epoch: by.epoch})})
		}
		made, err := a.cfg.Cluster.Txn(ctx, append(ops, by.checks...)...)
		if err == nil {
			err = a.look(ctx)
		}
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
		if err := a.setLocked(ctx, p, some, &claim{State: inStock, At: a.cfg.Now(), Born: birth{by.epoch, made[0].Revision}}); err != nil {
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
		"remove containers or make a network with a larger --subnet", p.nameLocked(v), errExhausted, in, s.Size(), used)
}

// check compares this host's claims with Cluster and makes them agree. The
// caller has the gate, so nothing of this host's is under way but late
// deletes of leaving addresses and late creates of what nobody uses.
func (a *Allocator) check(ctx context.Context, p *pool, v view) error {
	pairs, _, err := a.cfg.Cluster.List(ctx, addrsPrefix(p.subnet))
	if err != nil {
		return fmt.Errorf("read the addresses of %v: %w", p.subnet, err)
	}
	read := readHolders(pairs)
	a.passOver(addrsPrefix(p.subnet), pairs, read.passed...)
	holders, revisions, unread := read.of[p.subnet], read.revisions, read.unread[p.subnet]
	by, frozen := a.ask()
	if err := a.settleUnknown(ctx, p, holders, revisions, by, frozen != nil); err != nil {
		return err
	}
	found, err := a.compare(ctx, p, v, holders, revisions, unread, frozen != nil && !a.yields(p))
	if err != nil {
		return err
	}
	if err := a.lose(ctx, p, found.gone, holders, revisions, by); err != nil {
		return err
	}
	for _, addr := range found.young {
		if err := a.lookAt(ctx, p, addr); err != nil {
			return err
		}
	}
	if err := a.assert(ctx, p, found.absent); err != nil {
		return err
	}
	if err := a.cedeStock(ctx, p); err != nil {
		return err
	}
	// Of a pool without a network only Docker knows which containers have an
	// address.
	if v.live && !v.unsure {
		if err := a.clearStranded(ctx, p, strandedTime); err != nil {
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

// assert creates the keys of addresses that are ours but that Cluster has
// forgotten.
func (a *Allocator) assert(ctx context.Context, p *pool, addrs []netip.Addr) error {
	for len(addrs) > 0 {
		fence := a.cfg.Fence()
		some := addrs[:min(len(addrs), kvstore.MaxOps-len(fence))]
		ops := make([]kvstore.Op, 0, len(some))
		a.mu.Lock()
		for _, addr := range some {
			ops = append(ops, kvstore.Op{Kind: kvstore.CAS, Key: addrKey(p.subnet, addr), Value: a.mark(p.claims[addr].Born)})
		}
		a.mu.Unlock()
		_, err := a.cfg.Cluster.Txn(ctx, append(ops, fence...)...)
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

// clearStranded deletes addresses that this host claimed before it lost its
// State and that nobody has asked for since, for so long.
func (a *Allocator) clearStranded(ctx context.Context, p *pool, long time.Duration) error {
	a.mu.Lock()
	now := a.cfg.Now()
	var old []netip.Addr
	for addr, seen := range p.strange {
		if _, known := p.claims[addr]; !known && now.Sub(seen) >= long {
			old = append(old, addr)
		}
	}
	a.mu.Unlock()
	old = slices.DeleteFunc(old, func(addr netip.Addr) bool { return a.cfg.Networks.Owner(addr) != "" })
	holders, err := a.holdersOf(ctx, p, old)
	if err != nil {
		return fmt.Errorf("read the addresses of %v: %w", p.subnet, err)
	}
	for addr, seen := range holders {
		if seen.host != a.cfg.Host {
			continue
		}
		op := kvstore.Op{Kind: kvstore.DeleteCAS, Key: addrKey(p.subnet, addr), Revision: seen.revision}
		if _, err := a.cfg.Cluster.Txn(ctx, op); err != nil && !errors.Is(err, kvstore.ErrConflict) {
			return fmt.Errorf("give back address %v: %w", addr, err)
		}
	}
	return nil
}
