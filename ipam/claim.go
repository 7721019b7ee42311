package ipam

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/weft-net/weft/ipam/claim"
	"github.com/weft-net/weft/ipam/record"
	"github.com/weft-net/weft/kvstore"
)

// errExhausted is in the error that says that a pool has no free address.
var errExhausted = errors.New("no free address")

// strandedTime is how long an address that names this host in an earlier
// incarnation is left alone: containers from before may still have it.
const strandedTime = 10 * time.Minute

// atOnce is how many addresses one transaction claims or gives back.
const atOnce = 16

// recheck makes Run compare the pool with Cluster, now and again: the outcome
// of a change is not known, and the change may still be carried out.
func (a *table) recheck(p *pool) {
	a.mu.Lock()
	p.checked, p.lateUntil = time.Time{}, a.cfg.Now().Add(a.cfg.lateWrites)
	a.mu.Unlock()
	signal(a.kick)
}

// claim takes up to n free addresses into stock, at least one unless it
// fails. The caller has the gate.
func (a *ledger) claim(ctx context.Context, p *pool, v view, n int, by permit) error {
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
		some := p.pickLocked(v, min(n, atOnce), a.random)
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
		got, lost, err := a.createKeys(ctx, p, some, by)
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

// createKeys claims the addresses, leaving out those that have a key, and takes them
// into stock.
func (a *ledger) createKeys(ctx context.Context, p *pool, some []netip.Addr, by permit) (got, lost int, err error) {
	var unrecorded error
	err = a.each(ctx, p, some, batch{
		what: "claim addresses of %v",
		op: func(addr netip.Addr) kvstore.Op {
			return kvstore.Op{Kind: kvstore.CAS, Key: record.AddrKey(p.subnet, addr), Value: record.Encode(a.self.Mark(claim.Birth{Epoch: by.epoch}))}
		},
		with: func() []kvstore.Op { return by.checks },
		look: a.look,
		done: func(some []netip.Addr, made []kvstore.Pair) error {
			a.mu.Lock()
			defer a.mu.Unlock()
			for _, addr := range some {
				p.taken[addr] = struct{}{}
			}
			born := claim.Birth{Epoch: by.epoch, Revision: made[0].Revision}
			if unrecorded = a.setLocked(ctx, p, some, &claim.Claim{State: claim.InStock, At: a.cfg.Now(), Born: born}); unrecorded != nil {
				p.checked, p.taken = time.Time{}, nil // the next claim begins with a check, and that with these
				return unrecorded
			}
			got += len(some)
			return nil
		},
		refused: func(addr netip.Addr) error {
			a.mu.Lock()
			defer a.mu.Unlock()
			p.taken[addr] = struct{}{}
			lost++
			return nil
		},
	})
	if err != nil && unrecorded == nil {
		a.recheck(p)
	}
	return got, lost, err
}

// exhausted says that nothing is free and who has it all.
func (a *ledger) exhausted(p *pool, v view) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	used := 0
	for _, c := range p.claims {
		if c.State == claim.InUse {
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
func (a *ledger) check(ctx context.Context, p *pool, v view) error {
	pairs, _, err := a.cfg.Cluster.List(ctx, record.AddrsPrefix(p.subnet))
	if err != nil {
		return fmt.Errorf("read the addresses of %v: %w", p.subnet, err)
	}
	read := record.ReadHolders(pairs)
	a.passOver(record.AddrsPrefix(p.subnet), pairs, read.Passed...)
	keys := read.Of[p.subnet]
	by, frozen := a.ask()
	if err := a.dropBroughtBack(ctx, p, keys, by, frozen != nil); err != nil {
		return err
	}
	found, err := a.compare(ctx, p, v, keys, read.Unread[p.subnet], a.limits(p, frozen))
	if err != nil {
		return err
	}
	if err := a.lose(ctx, p, found.Gone, keys, by); err != nil {
		return err
	}
	for _, addr := range found.Older {
		if err := a.lookAt(ctx, p, addr); err != nil {
			return err
		}
	}
	if err := a.assert(ctx, p, found.Absent); err != nil {
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
	if !now.Before(p.lateUntil) {
		p.lateUntil = time.Time{}
	}
	// Hosts that start together do not go on in step.
	p.checked = now.Add(-time.Duration(a.random(uint64(a.checkEvery(p)/4) + 1))) //nolint:gosec // minutes
	lost := map[netip.Addr]string{}
	for addr, c := range p.claims {
		if c.State == claim.InUse && c.Lost != "" {
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

// assert creates the keys of addresses that are this host's and that Cluster has
// forgotten.
func (a *ledger) assert(ctx context.Context, p *pool, addrs []netip.Addr) error {
	return a.each(ctx, p, addrs, batch{
		what: "assert addresses of %v",
		op: func(addr netip.Addr) kvstore.Op {
			a.mu.Lock()
			defer a.mu.Unlock()
			return kvstore.Op{Kind: kvstore.CAS, Key: record.AddrKey(p.subnet, addr), Value: record.Encode(a.self.Mark(p.claims[addr].Born))}
		},
		with: a.cfg.Permits.Fence,
		done: func(some []netip.Addr, _ []kvstore.Pair) error {
			a.mu.Lock()
			defer a.mu.Unlock()
			for _, addr := range some {
				p.taken[addr] = struct{}{}
			}
			return nil
		},
		refused: func(addr netip.Addr) error { return a.lookAt(ctx, p, addr) },
	})
}

// clearStranded deletes addresses that this host claimed before it lost its
// State and that nobody has asked for since, for so long.
func (a *ledger) clearStranded(ctx context.Context, p *pool, long time.Duration) error {
	a.mu.Lock()
	now := a.cfg.Now()
	var old []netip.Addr
	for addr, seen := range p.stranded {
		if _, known := p.claims[addr]; !known && now.Sub(seen) >= long {
			old = append(old, addr)
		}
	}
	a.mu.Unlock()
	old = slices.DeleteFunc(old, func(addr netip.Addr) bool { return a.cfg.Networks.Owner(addr) != "" })
	keys, err := a.entriesOf(ctx, p, old)
	if err != nil {
		return fmt.Errorf("read the addresses of %v: %w", p.subnet, err)
	}
	for addr, e := range keys {
		if !a.self.Has(e.Holder) {
			continue
		}
		op := kvstore.Op{Kind: kvstore.DeleteCAS, Key: record.AddrKey(p.subnet, addr), Revision: e.Revision}
		if _, err := a.cfg.Cluster.Txn(ctx, op); err != nil && !errors.Is(err, kvstore.ErrConflict) {
			return fmt.Errorf("give back address %v: %w", addr, err)
		}
	}
	return nil
}
