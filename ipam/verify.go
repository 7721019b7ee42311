package ipam

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/weft-net/weft/kvstore"
)

// Verify compares every pool and every claim of this host with Cluster, now.
// Those that Cluster has lost are made again; claims that another host has by
// now are dropped if nobody uses them, and told to Config.Lost if somebody does.
func (a *Allocator) Verify(ctx context.Context) error {
	if err := a.adopt(ctx); err != nil {
		return err
	}
	a.mu.Lock()
	subnets := make([]netip.Prefix, 0, len(a.pools))
	for subnet := range a.pools {
		subnets = append(subnets, subnet)
	}
	a.mu.Unlock()
	var errs []error
	for _, subnet := range subnets {
		errs = append(errs, a.verify(ctx, subnet))
	}
	return errors.Join(errs...)
}

func (a *Allocator) verify(ctx context.Context, subnet netip.Prefix) error {
	p, leave, err := a.enter(ctx, subnet)
	if err != nil {
		return err
	}
	defer leave()
	v := a.view(subnet)
	a.mu.Lock()
	wanted := p.recorded() && p.wantedLocked(v, a.cfg.Now())
	a.mu.Unlock()
	return a.checkPool(ctx, p, v, wanted)
}

// ClaimsOf gives the operations that delete every address that host has in
// Cluster. They fail with a conflict where something has changed since.
func (a *Allocator) ClaimsOf(ctx context.Context, host string) ([]kvstore.Op, error) {
	pairs, _, err := a.cfg.Cluster.List(ctx, addrPrefix)
	if err != nil {
		return nil, fmt.Errorf("read the cluster's addresses: %w", err)
	}
	var ops []kvstore.Op
	for _, pair := range pairs {
		h, err := decode[holder](pair)
		if err != nil {
			return nil, err
		}
		if h.Host == host {
			ops = append(ops, kvstore.Op{Kind: kvstore.DeleteCAS, Key: pair.Key, Revision: pair.Revision})
		}
	}
	return ops, nil
}
