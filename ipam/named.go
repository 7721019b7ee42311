package ipam

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/weft-net/weft/ipam/claim"
	"github.com/weft-net/weft/ipam/record"
	"github.com/weft-net/weft/kvstore"
)

// useOwn hands out the address if it is in this host's stock and not disputed.
func (a *Allocator) useOwn(ctx context.Context, p *pool, addr netip.Addr) (bool, error) {
	other := a.disputed(p)[addr]
	a.mu.Lock()
	c := p.claims[addr]
	good := c.State == claim.InStock && c.Lost == "" && other == ""
	var err error
	if good {
		err = a.setLocked(ctx, p, []netip.Addr{addr}, c.HandOut(a.cfg.Now(), true))
	}
	a.mu.Unlock()
	switch {
	case good:
		return err == nil, err
	case c.State == claim.InStock && other != "":
		return false, a.inUseBy(addr, other)
	case c.State != claim.InUse:
		return false, nil
	case c.Lost != "":
		return false, a.inUseBy(addr, c.Lost)
	default:
		return false, a.inUseBy(addr, a.cfg.Host)
	}
}

func (a *table) inUseBy(addr netip.Addr, host string) error {
	if owner := a.cfg.Networks.Owner(addr); owner != "" {
		return fmt.Errorf("address %v is in use by %s: choose another, or free it there", addr, owner)
	}
	if host == a.cfg.Host {
		return fmt.Errorf("address %v is in use on this host: choose another, or free it there", addr)
	}
	return &keptError{addr, host}
}

// claimNamed claims one address for Docker.
func (a *Allocator) claimNamed(ctx context.Context, p *pool, addr netip.Addr, by permit) error {
	if err := a.lapsed(ctx, p, addr); err != nil {
		return err
	}
	p, leave, err := a.enter(ctx, p.subnet)
	if err != nil {
		return fmt.Errorf("cannot claim address %v: %w", addr, err)
	}
	defer leave()
	if done, err := a.useOwn(ctx, p, addr); done || err != nil {
		return err
	}
	a.mu.Lock()
	old := p.claims[addr].State == claim.Leaving
	a.mu.Unlock()
	if old {
		if err := a.giveBack(ctx, p, []netip.Addr{addr}); err != nil {
			return fmt.Errorf("cannot claim address %v: %w", addr, err)
		}
	}
	revision, err := a.createNamed(ctx, p, addr, by)
	if err != nil {
		return err
	}
	if err := a.look(ctx); err != nil {
		a.recheck(p) // the key is there
		return fmt.Errorf("cannot claim address %v: %w", addr, err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if p.taken != nil {
		p.taken[addr] = struct{}{}
	}
	err = a.setLocked(ctx, p, []netip.Addr{addr}, (claim.Claim{Born: claim.Birth{Epoch: by.epoch, Revision: revision}}).HandOut(a.cfg.Now(), true))
	if err != nil {
		p.checked = time.Time{}
	}
	return err
}

// createNamed makes this host the holder of an address. If the key names this host, it
// claimed the address before it lost its State or without noticing; the address is its
// own if the key still does so when it is written.
func (a *Allocator) createNamed(ctx context.Context, p *pool, addr netip.Addr, by permit) (revision uint64, err error) {
	op := kvstore.Op{Kind: kvstore.CAS, Key: record.AddrKey(p.subnet, addr), Value: record.Encode(a.self.Mark(claim.Birth{Epoch: by.epoch}))}
	for range kvstore.Attempts(ctx) {
		made, err := a.cfg.Cluster.Txn(ctx, append([]kvstore.Op{op}, by.checks...)...)
		if err == nil {
			return made[0].Revision, nil
		}
		var conflict *kvstore.ConflictError
		if !errors.As(err, &conflict) || conflict.Op > 0 {
			a.recheck(p)
			return 0, fmt.Errorf("cannot claim address %v: %w", addr, err)
		}
		pair, err := a.cfg.Cluster.Get(ctx, op.Key)
		if errors.Is(err, kvstore.ErrNotFound) {
			op.Revision = 0
			continue
		}
		if err != nil {
			return 0, fmt.Errorf("cannot claim address %v: %w", addr, err)
		}
		h, err := record.DecodeHolder(pair)
		switch {
		case err != nil:
			return 0, fmt.Errorf("cannot claim address %v: %w; choose another, and see `weft doctor`", addr, err)
		case h.Host != a.cfg.Host:
			return 0, a.inUseBy(addr, h.Host)
		}
		op.Revision = pair.Revision
		mark := a.self.Mark(claim.Birth{Epoch: by.epoch})
		mark.Rest = h.Rest
		op.Value = record.Encode(mark)
	}
	return 0, fmt.Errorf("cannot claim address %v: other hosts keep taking and leaving it; try again", addr)
}
