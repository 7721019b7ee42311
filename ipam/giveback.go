package ipam

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/weft-net/weft/ipam/claim"
	"github.com/weft-net/weft/ipam/record"
	"github.com/weft-net/weft/kvstore"
)

// giveBack deletes the keys of addresses that are in stock or leaving, and
// passes over those that were handed out meanwhile. The caller has the gate.
func (a *ledger) giveBack(ctx context.Context, p *pool, addrs []netip.Addr) error {
	for some := range slices.Chunk(addrs, atOnce) {
		if err := a.giveBackSome(ctx, p, some); err != nil {
			return fmt.Errorf("give back addresses of %v: %w", p.subnet, err)
		}
	}
	return nil
}

func (a *ledger) giveBackSome(ctx context.Context, p *pool, addrs []netip.Addr) error {
	// Reading first also means that nothing is marked while the store is away.
	seen, err := a.entriesOf(ctx, p, addrs)
	if err != nil {
		return err
	}
	some, err := a.markLeaving(ctx, p, addrs)
	if err != nil || len(some) == 0 {
		return err
	}
	ops := []kvstore.Op{nothing(p)}
	for _, addr := range some {
		op := kvstore.Op{Kind: kvstore.Check, Key: record.AddrKey(p.subnet, addr), Revision: seen[addr].Revision}
		if a.self.Has(seen[addr].Holder) {
			op.Kind = kvstore.DeleteCAS
		}
		ops = append(ops, op)
	}
	if _, err := a.cfg.Cluster.Txn(ctx, ops...); err != nil {
		a.recheck(p)
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, addr := range some {
		delete(p.taken, addr)
	}
	return a.setLocked(ctx, p, some, nil)
}

// entriesOf reads the keys of some addresses.
func (a *ledger) entriesOf(ctx context.Context, p *pool, addrs []netip.Addr) (claim.Entries, error) {
	out := make(claim.Entries, len(addrs))
	for _, addr := range addrs {
		pair, err := a.cfg.Cluster.Get(ctx, record.AddrKey(p.subnet, addr))
		if errors.Is(err, kvstore.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		h, _ := record.DecodeHolder(pair) // nobody's whom weft knows, if it cannot be used
		out[addr] = claim.Entry{Holder: h, Revision: pair.Revision}
	}
	return out, nil
}

// markLeaving gives those of the addresses that are not in use, after which
// nobody gets them.
func (a *ledger) markLeaving(ctx context.Context, p *pool, addrs []netip.Addr) ([]netip.Addr, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	var some, stock []netip.Addr
	for _, addr := range addrs {
		switch p.claims[addr].State {
		case claim.InStock:
			stock = append(stock, addr)
			some = append(some, addr)
		case claim.Leaving:
			some = append(some, addr)
		case claim.InUse:
		}
	}
	return some, a.setLocked(ctx, p, stock, &claim.Claim{State: claim.Leaving, At: a.cfg.Now()})
}
