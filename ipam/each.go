package ipam

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/weft-net/weft/kvstore"
)

// batch is one operation on the key of each of some addresses.
type batch struct {
	what string // for an error, with the pool as %v
	op   func(netip.Addr) kvstore.Op

	// with is what each transaction has besides: conditions, or a write.
	with func() []kvstore.Op
	// look is asked after each transaction whether the store has lost data; nil: it is not.
	look func(context.Context) error
	// done hears which operations were carried out, and what came of them; nil: nobody.
	done func([]netip.Addr, []kvstore.Pair) error
	// refused hears of an address whose key is not what op takes it for. The others go on
	// without it.
	refused func(netip.Addr) error
}

// each carries out the operations on the keys of the pool's addresses, as many as
// possible in one transaction.
func (a *ledger) each(ctx context.Context, p *pool, addrs []netip.Addr, b batch) error {
	addrs = slices.Clone(addrs)
	for len(addrs) > 0 {
		with := b.with()
		some := addrs[:min(len(addrs), kvstore.MaxOps-len(with))]
		ops := make([]kvstore.Op, 0, len(some)+len(with))
		for _, addr := range some {
			ops = append(ops, b.op(addr))
		}
		made, err := a.cfg.Cluster.Txn(ctx, append(ops, with...)...)
		if err == nil && b.look != nil {
			err = b.look(ctx)
		}
		var conflict *kvstore.ConflictError
		switch {
		case err == nil:
			if b.done != nil {
				if err := b.done(some, made); err != nil {
					return err
				}
			}
			addrs = addrs[len(some):]
		case errors.As(err, &conflict) && conflict.Op < len(some):
			if err := b.refused(some[conflict.Op]); err != nil {
				return err
			}
			addrs = slices.Delete(addrs, conflict.Op, conflict.Op+1)
		default:
			return fmt.Errorf(b.what+": %w", p.subnet, err)
		}
	}
	return nil
}
