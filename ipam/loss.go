package ipam

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/weft-net/weft/ipam/claim"
	"github.com/weft-net/weft/ipam/record"
	"github.com/weft-net/weft/kvstore"
)

// # What a restored store brings back
//
// This host records its claims again when Cluster has lost them. But a restored snapshot
// also has claims that were given back since it was taken, and their addresses may be in
// use elsewhere. So while hosts record their claims again (Admit refuses then), this host
// deletes keys of its own that it does not know instead of taking them into stock, and no
// host gives up an address in use because the key is another host's. After that it is
// decided: the host that claimed an address first has it.

// dropBroughtBack takes the keys of this host that are unknown here out of keys, unless
// they may be taken into stock: claims may be made, and no other host says that it has
// the address.
func (a *ledger) dropBroughtBack(ctx context.Context, p *pool, keys claim.Entries, by permit, frozen bool) error {
	others := a.cfg.Networks.Claimed(p.subnet)
	a.mu.Lock()
	unknown := claim.BroughtBack(a.self, p.claims, keys, others, frozen)
	a.mu.Unlock()
	for _, addr := range unknown {
		op := kvstore.Op{Kind: kvstore.DeleteCAS, Key: record.AddrKey(p.subnet, addr), Revision: keys[addr].Revision}
		if _, err := a.cfg.Cluster.Txn(ctx, op); err != nil && !errors.Is(err, kvstore.ErrConflict) {
			return fmt.Errorf("give back address %v, which the store had brought back: %w", addr, err)
		}
		delete(keys, addr)
	}
	if frozen {
		return nil
	}
	return a.confirm(ctx, p, keys, by)
}

// cedeStock gives back addresses in stock that another host says it has.
func (a *ledger) cedeStock(ctx context.Context, p *pool) error {
	others := a.cfg.Networks.Claimed(p.subnet)
	a.mu.Lock()
	twice := p.claims.Which(func(addr netip.Addr, c claim.Claim) bool {
		return c.State == claim.InStock && others[addr] != ""
	})
	a.mu.Unlock()
	return a.giveBack(ctx, p, twice)
}

// disputed gives the addresses that other hosts say they have, as long as it is not
// certain that this host's stock is its own.
func (a *table) disputed(p *pool) map[netip.Addr]string {
	if _, err := a.ask(); err == nil {
		return nil
	}
	return a.cfg.Networks.Claimed(p.subnet)
}
