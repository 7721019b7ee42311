package ipam

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/weft-net/weft/ipam/record"
	"github.com/weft-net/weft/kvstore"
)

// Verify compares every pool and every claim of this host with Cluster, now.
// Those that Cluster has lost are made again; claims that another host has by
// now are dropped if nobody uses them, and told to Config.Lost if somebody does.
// One in use that the other host claimed in a later epoch of Cluster is taken back,
// but not with yield. Pools of this host that it does not have any more, since they
// came back with a snapshot, are Run's to remove then.
func (a *Allocator) Verify(ctx context.Context, yield bool) error {
	if err := a.adopt(ctx); err != nil {
		return err
	}
	if err := a.recognise(ctx); err != nil {
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
		errs = append(errs, a.verify(ctx, subnet, yield))
	}
	signal(a.kick)
	return errors.Join(errs...)
}

// recognise takes note of pools that are this host's in Cluster and that its State does
// not know. Pools that Docker has are kept; Run removes the others. As long as it is not
// known which pools Docker has, recognise takes note of none, and Run comes back to it.
// Without Docker's API that is never known. Then nobody else gets the subnet of a pool
// that a snapshot brought back, until this host makes a network with that subnet, see
// abandoned.
func (a *maker) recognise(ctx context.Context) error {
	lost, ready := a.cfg.Networks.Rebuilding()
	a.mu.Lock()
	asked := a.docker != nil
	a.later = true
	a.mu.Unlock()
	if lost || !ready || !asked {
		return nil
	}
	pools, err := a.listPools(ctx)
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, r := range pools.Records {
		if r.Host != a.cfg.Host && !slices.Contains(r.Hosts, a.cfg.Host) || a.pools[r.Subnet] != nil {
			continue
		}
		p, n := a.poolLocked(r.Subnet), a.docker[r.Subnet]
		if n == 0 {
			p.held.Pool = r
			continue
		}
		if err := a.holdLocked(ctx, p, record.Held{Pool: r, Count: n}); err != nil {
			return err
		}
	}
	a.later = false
	return nil
}

func (a *Allocator) verify(ctx context.Context, subnet netip.Prefix, yield bool) error {
	p, leave, err := a.enter(ctx, subnet)
	if err != nil {
		return err
	}
	defer leave()
	p.yield = yield
	defer func() { p.yield = false }()
	v := a.view(subnet)
	a.mu.Lock()
	wanted := p.recorded() && p.wantedLocked(v, a.cfg.Now())
	a.mu.Unlock()
	return a.checkPool(ctx, p, v, wanted)
}

// ClaimsOf gives the operations that delete every address that host has in
// Cluster. They fail with a conflict where something has changed since.
func (a *Allocator) ClaimsOf(ctx context.Context, host string) ([]kvstore.Op, error) {
	pairs, _, err := a.cfg.Cluster.List(ctx, record.AddrPrefix)
	if err != nil {
		return nil, fmt.Errorf("read the cluster's addresses: %w", err)
	}
	var ops []kvstore.Op
	for _, pair := range pairs {
		_, _, err := record.ParseAddrKey(record.AddrPrefix, pair.Key)
		if err != nil {
			continue // no address's; the next scan notes it
		}
		if h, err := record.DecodeHolder(pair); err == nil && h.Host == host {
			ops = append(ops, kvstore.Op{Kind: kvstore.DeleteCAS, Key: pair.Key, Revision: pair.Revision})
		}
	}
	return ops, nil
}
