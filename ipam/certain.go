package ipam

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"github.com/weft-net/weft/ipam/claim"
	"github.com/weft-net/weft/ipam/record"
	"github.com/weft-net/weft/kvstore"
)

// # What a reading does not decide
//
// A Consul that is just starting might answer a reading from the past. That would take
// an address from a running container, or give one out twice. Get and List promise that
// it does not happen. All the same, a reading only makes this host look closer: before it
// takes an address into stock, gives it up or forgets it, a write has to confirm what was
// read. That costs nothing as long as Cluster and State agree.

// nothing is a write that changes nothing.
func nothing(p *pool) kvstore.Op {
	return kvstore.Op{Kind: kvstore.Delete, Key: record.AddrPrefix + record.Slot(p.subnet) + "/none"} // never exists
}

// confirm drops from keys what this host would adopt but does not hold any more. A
// reading may come from a leader that has been replaced and has not noticed; a write,
// even of the same value, cannot. It needs what a claim needs, since a snapshot may have
// brought the key back. Addresses in use or in stock whose keys name an earlier
// incarnation get the present one here: what that incarnation may have left under way
// then misses them.
func (a *ledger) confirm(ctx context.Context, p *pool, keys claim.Entries, by permit) error {
	a.mu.Lock()
	unknown := claim.Unconfirmed(a.self, p.claims, keys)
	a.mu.Unlock()
	if len(unknown) == 0 {
		return nil
	}
	err := a.each(ctx, p, unknown, batch{
		what: "confirm addresses of %v",
		op: func(addr netip.Addr) kvstore.Op {
			e := keys[addr]
			return kvstore.Op{Kind: kvstore.CAS, Key: record.AddrKey(p.subnet, addr), Value: record.Encode(a.self.Remark(e)), Revision: e.Revision}
		},
		with:    func() []kvstore.Op { return by.checks },
		refused: func(addr netip.Addr) error { delete(keys, addr); return nil },
	})
	if err != nil {
		return err
	}
	if err := a.look(ctx); err != nil {
		return fmt.Errorf("confirm addresses of %v: %w", p.subnet, err)
	}
	return nil
}

// lose takes note that claims of this host are another host's or, if they were leaving,
// nobody's, as the keys say. A claim of which that is not the case is passed over until
// the next check. by is the permit of when that was decided, if there was one: it ends
// if a snapshot has brought the other host's claims back.
func (a *ledger) lose(ctx context.Context, p *pool, addrs []netip.Addr, keys claim.Entries, by permit) error {
	b := batch{
		what: "look whose addresses of %v are",
		op: func(addr netip.Addr) kvstore.Op {
			return kvstore.Op{Kind: kvstore.Check, Key: record.AddrKey(p.subnet, addr), Revision: keys[addr].Revision}
		},
		with: func() []kvstore.Op { return append(slices.Clone(by.inEpoch), nothing(p)) },
		done: func(some []netip.Addr, _ []kvstore.Pair) error { return a.loseSome(ctx, p, some, keys) },
		refused: func(netip.Addr) error {
			a.recheck(p)
			return nil
		},
	}
	if by.inEpoch != nil {
		b.look = a.look
	}
	return a.each(ctx, p, addrs, b)
}

func (a *ledger) loseSome(ctx context.Context, p *pool, addrs []netip.Addr, keys claim.Entries) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, addr := range addrs {
		if err := a.loseLocked(ctx, p, addr, keys[addr].Holder.Host); err != nil {
			return err
		}
	}
	return nil
}

// loseLocked takes note that an address is not this host's any more, but host's.
func (a *ledger) loseLocked(ctx context.Context, p *pool, addr netip.Addr, host string) error {
	c := p.claims[addr]
	if c.State != claim.InUse {
		return a.setLocked(ctx, p, []netip.Addr{addr}, nil)
	}
	if c.Lost == host {
		return nil
	}
	c.Lost = host
	a.cfg.Observe(Lost)
	return a.setLocked(ctx, p, []netip.Addr{addr}, &c)
}
