package ipam

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/weft-net/weft/kvstore"
)

// # What a reading does not decide
//
// A reading that shows the past, as of a Consul that is just starting, would take
// an address from a running container, or give it out twice. Get and List promise
// that they do not. All the same a reading only makes this host look closer: what
// it takes into stock, gives up or forgets is what it is according to a write. That
// costs nothing as long as Cluster and State agree.

// nothing is a write that changes nothing.
func nothing(p *pool) kvstore.Op {
	return kvstore.Op{Kind: kvstore.Delete, Key: addrPrefix + slot(p.subnet) + "/none"} // never exists
}

// confirm drops from holders what this host would adopt but does not hold any
// more. A read may come from a leader that has been replaced without noticing
// yet; a write, even of the same value, cannot. It needs what a claim needs: a
// snapshot may have brought the key back. What this host has and names an earlier
// incarnation gets the present one on this occasion: what that may have left under
// way misses it then.
func (a *Allocator) confirm(
	ctx context.Context, p *pool, holders map[netip.Addr]holder, revisions map[netip.Addr]uint64, by permit,
) error {
	var unknown []netip.Addr
	a.mu.Lock()
	for addr, h := range holders {
		c, known := p.claims[addr]
		ours := h.Host == a.cfg.Host && h.Incarnation == a.cfg.Incarnation
		before := h.Host == a.cfg.Host && !ours
		if ours && !known || before && (c.State == inUse || c.State == inStock) {
			unknown = append(unknown, addr)
		}
	}
	a.mu.Unlock()
	if len(unknown) == 0 {
		return nil
	}
	for len(unknown) > 0 {
		some := unknown[:min(len(unknown), kvstore.MaxOps-len(by.checks))]
		ops := make([]kvstore.Op, 0, len(some))
		for _, addr := range some {
			ops = append(ops, kvstore.Op{
				Kind: kvstore.CAS, Key: addrKey(p.subnet, addr), Value: a.remark(holders[addr], revisions[addr]), Revision: revisions[addr],
			})
		}
		_, err := a.cfg.Cluster.Txn(ctx, append(ops, by.checks...)...)
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
	if err := a.look(ctx); err != nil {
		return fmt.Errorf("confirm addresses of %v: %w", p.subnet, err)
	}
	return nil
}

// lose takes note that claims of this host are another host's in Cluster or, if
// they were leaving, nobody's, as holders and revisions say. Those of which that
// is not the case are passed over until the next check. by is the permit of when
// that was decided, if there was one: it ends if a snapshot has brought the other
// host's claims back.
func (a *Allocator) lose(
	ctx context.Context, p *pool, addrs []netip.Addr, holders map[netip.Addr]holder, revisions map[netip.Addr]uint64, by permit,
) error {
	for len(addrs) > 0 {
		some := addrs[:min(len(addrs), kvstore.MaxOps-1-len(by.settled))]
		ops := make([]kvstore.Op, 0, len(some))
		for _, addr := range some {
			ops = append(ops, kvstore.Op{Kind: kvstore.Check, Key: addrKey(p.subnet, addr), Revision: revisions[addr]})
		}
		_, err := a.cfg.Cluster.Txn(ctx, slices.Concat(ops, by.settled, []kvstore.Op{nothing(p)})...)
		if err == nil && by.settled != nil {
			err = a.look(ctx)
		}
		var conflict *kvstore.ConflictError
		switch {
		case err == nil:
			if err := a.loseSome(ctx, p, some, holders); err != nil {
				return err
			}
			addrs = addrs[len(some):]
		case errors.As(err, &conflict) && conflict.Op < len(some):
			a.recheck(p)
			addrs = slices.Delete(addrs, conflict.Op, conflict.Op+1)
		default:
			return fmt.Errorf("look whose addresses of %v are: %w", p.subnet, err)
		}
	}
	return nil
}

func (a *Allocator) loseSome(ctx context.Context, p *pool, addrs []netip.Addr, holders map[netip.Addr]holder) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, addr := range addrs {
		if err := a.loseLocked(ctx, p, addr, holders[addr].Host); err != nil {
			return err
		}
	}
	return nil
}

// loseLocked takes note that an address is not this host's any more, but host's.
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
