package ipam

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/weft-net/weft/kvstore"
)

// giveBack deletes the keys of addresses that are in stock or leaving, and
// passes over those that were handed out meanwhile. The caller has the gate.
func (a *Allocator) giveBack(ctx context.Context, p *pool, addrs []netip.Addr) error {
	for some := range slices.Chunk(addrs, maxStock) {
		if err := a.giveBackSome(ctx, p, some); err != nil {
			return fmt.Errorf("give back addresses of %v: %w", p.subnet, err)
		}
	}
	return nil
}

func (a *Allocator) giveBackSome(ctx context.Context, p *pool, addrs []netip.Addr) error {
	// Reading first also means that nothing is marked while the store is away.
	revisions, err := a.revisions(ctx, p, addrs)
	if err == nil && len(revisions) < len(addrs) {
		// Some are somebody else's or gone: that has to be certain.
		if err = a.catchUp(ctx, p); err == nil {
			revisions, err = a.revisions(ctx, p, addrs)
		}
	}
	if err != nil {
		return err
	}
	some, err := a.markLeaving(ctx, p, addrs)
	if err != nil {
		return err
	}
	var ops []kvstore.Op
	for _, addr := range some {
		if revision, ok := revisions[addr]; ok {
			ops = append(ops, kvstore.Op{Kind: kvstore.DeleteCAS, Key: addrKey(p.subnet, addr), Revision: revision})
		}
	}
	if len(ops) > 0 {
		if _, err := a.cfg.Cluster.Txn(ctx, ops...); err != nil {
			a.recheck(p)
			return err
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, addr := range some {
		delete(p.taken, addr)
	}
	return a.setLocked(ctx, p, some, nil)
}

// revisions gives those of the addresses' keys that name this host.
func (a *Allocator) revisions(ctx context.Context, p *pool, addrs []netip.Addr) (map[netip.Addr]uint64, error) {
	out := make(map[netip.Addr]uint64, len(addrs))
	for _, addr := range addrs {
		pair, err := a.cfg.Cluster.Get(ctx, addrKey(p.subnet, addr))
		if errors.Is(err, kvstore.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		h, err := decode[holder](pair)
		if err != nil {
			return nil, err
		}
		if h.Host == a.cfg.Host {
			out[addr] = pair.Revision
		}
	}
	return out, nil
}

// markLeaving gives those of the addresses that are not in use, after which
// nobody gets them.
func (a *Allocator) markLeaving(ctx context.Context, p *pool, addrs []netip.Addr) ([]netip.Addr, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	var some, stock []netip.Addr
	for _, addr := range addrs {
		switch p.claims[addr].State {
		case inStock:
			stock = append(stock, addr)
			some = append(some, addr)
		case leaving:
			some = append(some, addr)
		case inUse:
		}
	}
	return some, a.setLocked(ctx, p, stock, &claim{State: leaving, At: a.cfg.Now()})
}
