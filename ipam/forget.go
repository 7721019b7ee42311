package ipam

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/weft-net/weft/driver/format"
	"github.com/weft-net/weft/ipam/record"
	"github.com/weft-net/weft/kvstore"
)

// remove forgets a pool of which nothing is left, here and, if this host made
// it and no network has it, in Cluster.
func (a *maker) remove(ctx context.Context, p *pool, v view) error {
	a.mu.Lock()
	left, h, late, known := len(p.claims), p.held, !p.lateUntil.IsZero(), p.recorded()
	a.mu.Unlock()
	if left > 0 || late || !known || h.Count > 0 && !h.Attached {
		return nil
	}
	if !v.unsure { // so no container of this host has an address of it
		if err := a.clearStranded(ctx, p, 0); err != nil {
			return err
		}
	}
	if err := a.removeRecord(ctx, p, v, h.Unsure); err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if p.held.Count != h.Count || !p.held.At.Equal(h.At) || len(p.claims) > 0 {
		p.checked = time.Time{} // Docker asked for it again meanwhile
		return nil
	}
	if err := a.writeLocked(ctx, kvstore.Op{Kind: kvstore.Delete, Key: record.HeldKey(p.subnet)}); err != nil {
		return fmt.Errorf("forget pool %v: %w", p.subnet, err)
	}
	p.held, p.gone = record.Held{}, true
	delete(a.pools, p.subnet)
	return nil
}

func (a *maker) removeRecord(ctx context.Context, p *pool, v view, unsure bool) error {
	pair, err := a.cfg.Cluster.Get(ctx, record.PoolKey(p.subnet))
	if errors.Is(err, kvstore.ErrNotFound) {
		if unsure {
			return a.fence(ctx)
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("remove pool %v: %w", p.subnet, err)
	}
	pr, err := record.DecodePool(pair)
	if err == nil {
		err = format.MayWrite(pair.Value)
	}
	if err != nil {
		return nil //nolint:nilerr // whose it is is not known: only this host's part in it ends
	}
	op := kvstore.Op{Kind: kvstore.DeleteCAS, Key: pair.Key, Revision: pair.Revision}
	switch {
	case v.live:
		return nil
	case pr.Group != "":
		hosts := record.Without(pr.Hosts, a.cfg.Host)
		if len(hosts) == len(pr.Hosts) {
			return nil
		}
		if pr.Hosts = hosts; len(hosts) > 0 {
			op.Kind, op.Value = kvstore.CAS, record.Encode(pr)
		}
	case pr.Host != a.cfg.Host:
		return nil
	}
	if _, err := a.cfg.Cluster.Txn(ctx, op); err != nil {
		return fmt.Errorf("remove pool %v: %w", p.subnet, err)
	}
	return nil
}

// fence makes sure that a creation of a pool that has not been carried out so
// far never will be: it holds only for a poolSeq from before.
func (a *maker) fence(ctx context.Context) error {
	pools, err := a.listPools(ctx)
	if err != nil {
		return err
	}
	if _, err := a.cfg.Cluster.Txn(ctx, a.bump(pools)); err != nil && !errors.Is(err, kvstore.ErrConflict) {
		return fmt.Errorf("fence the making of a pool: %w", err)
	}
	return nil
}
