package ipam

import (
	"context"
	"errors"
	"fmt"

	"github.com/weft-net/weft/driver/format"
	"github.com/weft-net/weft/ipam/record"
	"github.com/weft-net/weft/kvstore"
)

// assertPool records the pool again if Cluster has lost its record.
func (a *maker) assertPool(ctx context.Context, p *pool) error {
	a.mu.Lock()
	pr := p.held.Pool
	a.mu.Unlock()
	now, err := a.changePool(ctx, p.subnet, func(r *record.Pool) error {
		if r.Group != "" && r.Group == pr.Group {
			r.Hosts = record.With(r.Hosts, a.cfg.Host)
		}
		return nil
	})
	if err == nil && pr.Group != "" && now.Group == pr.Group {
		return a.learn(ctx, p, now)
	}
	if format.AsFault(err) != nil {
		return nil // it is there, and is passed over
	}
	if !errors.Is(err, kvstore.ErrNotFound) {
		return err
	}
	pools, err := a.listPools(ctx)
	if err != nil {
		return err
	}
	for _, other := range pools.Records {
		if other.Subnet.Overlaps(p.subnet) {
			a.cfg.Log.Errorf("Subnet %v on this host overlaps %s: remove one of the networks.", p.subnet, a.describe(other))
			return nil
		}
	}
	pr.Host = a.cfg.Host // whoever made it again removes it
	if pr.Group != "" {
		pr.Hosts = []string{a.cfg.Host}
	}
	_, err = a.cfg.Cluster.Txn(ctx, a.bump(pools),
		kvstore.Op{Kind: kvstore.CAS, Key: record.PoolKey(p.subnet), Value: record.Encode(pr)})
	if err != nil {
		return fmt.Errorf("record pool %v again: %w", p.subnet, err)
	}
	return nil
}

// learn takes over what other hosts of a group have changed in its record.
func (a *maker) learn(ctx context.Context, p *pool, pr record.Pool) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	h := p.held
	pr.Range = h.Pool.Range // each host may have its own
	if string(record.Encode(pr)) == string(record.Encode(h.Pool)) {
		return nil
	}
	h.Pool = pr
	return a.holdLocked(ctx, p, h)
}
