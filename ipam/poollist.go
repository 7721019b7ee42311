package ipam

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"strconv"
	"time"

	"github.com/weft-net/weft/driver/format"
	"github.com/weft-net/weft/ipam/record"
	"github.com/weft-net/weft/ipam/space"
	"github.com/weft-net/weft/kvstore"
)

// listPools reads all pools of the cluster.
func (a *table) listPools(ctx context.Context) (record.Pools, error) {
	pairs, _, err := a.cfg.Cluster.List(ctx, record.PoolPrefix)
	if err != nil {
		return record.Pools{}, fmt.Errorf("read the cluster's pools: %w", err)
	}
	pools := record.ReadPools(pairs)
	a.passOver(record.PoolPrefix, pairs, pools.Passed...)
	return pools, nil
}

// bump is the operation that holds only if no pool was made since the listing.
// Its value is new each time: stores may ignore a write that changes nothing.
func (a *table) bump(pools record.Pools) kvstore.Op {
	value := a.cfg.Host + " " + strconv.FormatUint(a.random(1<<63), 36)
	return kvstore.Op{Kind: kvstore.CAS, Key: record.PoolSeq, Value: []byte(value), Revision: pools.Seq}
}

// changePool rewrites a pool's record in Cluster, if the checks hold, and gives what
// it is now.
func (a *table) changePool(
	ctx context.Context, subnet netip.Prefix, change func(*record.Pool) error, checks ...kvstore.Op,
) (record.Pool, error) {
	for range kvstore.Attempts(ctx) {
		pair, err := a.cfg.Cluster.Get(ctx, record.PoolKey(subnet))
		if err != nil {
			return record.Pool{}, fmt.Errorf("pool %v: %w", subnet, err)
		}
		pr, err := record.DecodePool(pair)
		if err != nil {
			return record.Pool{}, err
		}
		before := record.Encode(pr)
		if err := change(&pr); err != nil {
			return pr, err
		}
		after := record.Encode(pr)
		if string(before) == string(after) {
			return pr, nil
		}
		if err := format.MayWrite(pair.Value); err != nil {
			return pr, fmt.Errorf("pool %v: the store's record %s %w", subnet, pair.Key, err)
		}
		op := kvstore.Op{Kind: kvstore.CAS, Key: pair.Key, Value: after, Revision: pair.Revision}
		_, err = a.cfg.Cluster.Txn(ctx, append([]kvstore.Op{op}, checks...)...)
		if err == nil {
			return pr, nil
		}
		var conflict *kvstore.ConflictError
		if !errors.As(err, &conflict) || conflict.Op > 0 {
			return pr, fmt.Errorf("pool %v: %w", subnet, err)
		}
	}
	return record.Pool{}, fmt.Errorf("pool %v: other hosts keep changing it; try again", subnet)
}

// ReleasePool says that Docker has let go of the pool once. What follows from
// that is Run's to do.
func (a *Allocator) ReleasePool(ctx context.Context, id space.PoolID) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	p := a.pools[id.Subnet]
	if p == nil || p.held.Count == 0 {
		return nil
	}
	h := p.held
	h.Count--
	p.makingUntil = time.Time{}
	signal(a.kick)
	return a.holdLocked(ctx, p, h)
}

// Keep says which pools the networks of this host's Docker have, each as often
// as a network has it. Requests and releases that weft or Docker have missed
// are made up for. Pools asked for less than a minute ago are left alone, since
// their network may be in the making.
func (a *Allocator) Keep(ctx context.Context, subnets []netip.Prefix) error {
	counts := map[netip.Prefix]int{}
	for _, subnet := range subnets {
		counts[subnet.Masked()]++
	}
	lost, _ := a.cfg.Networks.Rebuilding()
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.cfg.Now()
	a.docker = counts
	if !lost {
		a.noteUnknownLocked(counts, now)
	}
	for subnet, p := range a.pools {
		age := now.Sub(p.held.At) // less than none if the host's clock has jumped back
		if !p.recorded() || p.held.Count == counts[subnet] || age >= 0 && age < detachTime {
			continue
		}
		h := p.held
		h.Count = counts[subnet]
		if err := a.holdLocked(ctx, p, h); err != nil {
			return err
		}
		signal(a.kick)
	}
	return nil
}

// noteUnknownLocked says once of each pool that Docker has had for a while and of
// which nobody has a record that it cannot come back.
func (a *maker) noteUnknownLocked(counts map[netip.Prefix]int, now time.Time) {
	maps.DeleteFunc(a.unknown, func(subnet netip.Prefix, _ time.Time) bool { return counts[subnet] == 0 || a.pools[subnet] != nil })
	for subnet := range counts {
		since, again := a.unknown[subnet]
		switch {
		case a.pools[subnet] != nil || again && since.IsZero():
		case !again:
			a.unknown[subnet] = now
		case now.Sub(since) >= detachTime:
			a.unknown[subnet] = time.Time{} // said
			a.cfg.Log.WithField("pool", subnet).
				Warn("This host's Docker has a network with a pool of weft's of which nobody has a record any more: no address of it is given out, and another network may get the subnet; remove that network and create it again.")
		}
	}
}

// PoolOps gives the operations that remove the pools of a network, for the
// transaction that removes the network. If that fails with
// kvstore.ErrConflict, ask again.
func (a *Allocator) PoolOps(ctx context.Context, subnets []netip.Prefix) ([]kvstore.Op, error) {
	var ops []kvstore.Op
	for _, subnet := range subnets {
		pair, err := a.cfg.Cluster.Get(ctx, record.PoolKey(subnet))
		if errors.Is(err, kvstore.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("pool %v: %w", subnet, err)
		}
		if err := format.MayWrite(pair.Value); err != nil {
			return nil, fmt.Errorf("pool %v: the store's record %s %w", subnet, pair.Key, err)
		}
		ops = append(ops, kvstore.Op{Kind: kvstore.DeleteCAS, Key: pair.Key, Revision: pair.Revision})
	}
	return ops, nil
}
