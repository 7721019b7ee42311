package ipam

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/weft-net/weft/ipam/record"
	"github.com/weft-net/weft/ipam/space"
	"github.com/weft-net/weft/kvstore"
)

// joinGroup gives the pool that networks of other drivers on several hosts
// share, and makes it if this is the first one.
func (a *maker) joinGroup(ctx context.Context, group string, r PoolRequest, by permit) (space.PoolID, error) {
	for range kvstore.Attempts(ctx) {
		if id, ok, err := a.rejoin(ctx, group, r); ok || err != nil { // another request was first
			return id, err
		}
		pools, err := a.listPools(ctx)
		if err != nil {
			return space.PoolID{}, fmt.Errorf("cannot join group %q: %w", group, err)
		}
		i := slices.IndexFunc(pools.Records, func(p record.Pool) bool { return p.Group == group && r.wants(p.Subnet) })
		var id space.PoolID
		switch {
		case i >= 0:
			id, err = a.joinRecord(ctx, pools.Records[i], r, by)
		case r.Subnet.IsValid():
			id, err = a.create(ctx, space.PoolID{Subnet: r.Subnet, Range: r.Range}, group, by)
		default:
			id, err = a.auto(ctx, r.V6, group, by)
		}
		if by.ended(err) || !errors.Is(err, kvstore.ErrConflict) {
			return id, err
		}
	}
	return space.PoolID{}, fmt.Errorf("cannot join group %q: other hosts keep changing it; try again", group)
}

// rejoin serves a group that this host already takes part in from State.
func (a *maker) rejoin(ctx context.Context, group string, r PoolRequest) (space.PoolID, bool, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, p := range a.pools {
		if p.held.Pool.Group != group || p.held.Count == 0 || !r.wants(p.subnet) {
			continue
		}
		pr := p.held.Pool
		if r.Range.IsValid() {
			pr.Range = r.Range
		}
		return pr.ID(), true, a.countLocked(ctx, p, pr)
	}
	return space.PoolID{}, false, nil
}

// joinRecord makes this host one of those that have the group's pool. A store that
// has lost data may have brought the pool back, and its subnet may be another's since.
func (a *maker) joinRecord(ctx context.Context, pr record.Pool, r PoolRequest, by permit) (space.PoolID, error) {
	p, leave, err := a.enter(ctx, pr.Subnet)
	if err != nil {
		return space.PoolID{}, err
	}
	defer leave()
	if err := a.intend(ctx, p, pr); err != nil {
		return space.PoolID{}, err
	}
	joined, err := a.changePool(ctx, pr.Subnet, func(r *record.Pool) error {
		r.Hosts = record.With(r.Hosts, a.cfg.Host)
		return nil
	}, by.checks...)
	if err == nil {
		if err = a.look(ctx); err != nil {
			signal(a.kick) // Run takes this host out of it
		}
	}
	if err != nil {
		return space.PoolID{}, fmt.Errorf("cannot join group %q: %w", pr.Group, err)
	}
	if r.Range.IsValid() {
		joined.Range = r.Range
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return joined.ID(), a.countLocked(ctx, p, joined)
}
