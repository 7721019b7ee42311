package ipam

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/weft-net/weft/ipam/claim"
	"github.com/weft-net/weft/ipam/record"
	"github.com/weft-net/weft/ipam/space"
	"github.com/weft-net/weft/ipam/stock"
	"github.com/weft-net/weft/kvstore"
)

// table is this host's pools: behind one lock, as State has them, each with a gate for
// those who change its keys in Cluster.
type table struct {
	cfg     Config
	self    claim.Self
	random  func(uint64) uint64
	kick    chan struct{}
	changed chan struct{}
	passed  passed
	shown   shown
	asks    asks
	door

	mu       sync.Mutex // taken after a pool's gate; never while calling cfg.Networks, cfg.Permits, cfg.Lost or Cluster
	pools    map[netip.Prefix]*pool
	unknown  map[netip.Prefix]time.Time // pools of Docker's without a record: since when; zero once the log has said so
	released space.Set                  // addresses released since the adoption that goes on began; nil: none does
	docker   map[netip.Prefix]int       // how many of Docker's networks have each pool, as Keep was told last; nil: it was not
	later    bool                       // recognise is still to be done
}

// pool is what this host knows about one subnet. Pools never overlap in a
// cluster, so the subnet is its identity.
type pool struct {
	subnet netip.Prefix

	// gate is full while this host changes the pool's keys in Cluster. With
	// one change at a time, a listing of those keys can be compared with
	// claims without missing one that is under way.
	gate chan struct{}

	// The rest is guarded by table.mu.
	held        record.Held // as State has it; or a Pool alone, whose record Run removes; see recorded
	claims      claim.Claims
	recent      stock.Recent
	taken       space.Set             // addresses that somebody has, as far as known; nil before the first check
	others      int                   // addresses that other hosts say they have, as tend counted them last
	stranded    sightings             // keys that name this host in an earlier incarnation
	orphans     map[netip.Addr]orphan // addresses in use that no endpoint has
	looked      time.Time             // last search for orphans
	lateUntil   time.Time             // until then a create that seemed to fail may still be carried out
	checked     time.Time             // last comparison with Cluster; zero: due now
	chooseUntil time.Time             // Docker is still choosing gateway and aux addresses: do not claim before
	makingUntil time.Time             // until then an explicit address may be an aux address
	detached    time.Time             // since when no network of this host has the pool; zero: it has one
	gone        bool                  // no longer in table.pools
	yield       bool                  // see Verify; under the gate
}

// sightings are addresses by when they were first seen.
type sightings map[netip.Addr]time.Time

// poolLocked gives the pool of a subnet, new if need be.
func (a *table) poolLocked(subnet netip.Prefix) *pool {
	p := a.pools[subnet]
	if p == nil {
		p = &pool{
			subnet: subnet, gate: make(chan struct{}, 1),
			claims: claim.Claims{}, stranded: sightings{},
		}
		a.pools[subnet] = p
	}
	return p
}

// enter takes the gate of the subnet's pool. The caller must call leave.
func (a *table) enter(ctx context.Context, subnet netip.Prefix) (p *pool, leave func(), err error) {
	for {
		a.mu.Lock()
		p := a.poolLocked(subnet)
		a.mu.Unlock()
		select {
		case p.gate <- struct{}{}:
		case <-ctx.Done():
			return nil, nil, fmt.Errorf("pool %v is busy: %w", subnet, context.Cause(ctx))
		}
		a.mu.Lock()
		gone := p.gone
		a.mu.Unlock()
		if !gone {
			return p, func() { a.leave(p) }, nil
		}
		<-p.gate
	}
}

func (a *table) leave(p *pool) {
	a.mu.Lock()
	if !p.recorded() && len(p.claims) == 0 {
		p.gone = true
		if a.pools[p.subnet] == p { // else it has gone before, and another may have come
			delete(a.pools, p.subnet)
		}
		if a.pools[p.subnet] == nil {
			a.passOver(record.AddrsPrefix(p.subnet), nil) // nobody checks it any more
		}
	}
	a.mu.Unlock()
	<-p.gate
}

// recorded says whether this host knows of a record of the pool, its own or Cluster's.
func (p *pool) recorded() bool { return p.held.Pool.Subnet.IsValid() }

// holdLocked records h as the pool's state.
func (a *table) holdLocked(ctx context.Context, p *pool, h record.Held) error {
	op := kvstore.Op{Kind: kvstore.Set, Key: record.HeldKey(p.subnet), Value: record.Encode(h)}
	if err := a.writeLocked(ctx, op); err != nil {
		return fmt.Errorf("record pool %v: %w", p.subnet, err)
	}
	p.held = h
	return nil
}

// setLocked records the claims of some addresses; nil forgets them.
func (a *table) setLocked(ctx context.Context, p *pool, addrs []netip.Addr, c *claim.Claim) error {
	return a.changeLocked(ctx, p, addrs, func(claim.Claim) *claim.Claim { return c })
}

// changeLocked records what becomes of the claims of some addresses; nil forgets one.
func (a *table) changeLocked(ctx context.Context, p *pool, addrs []netip.Addr, change func(claim.Claim) *claim.Claim) error {
	for some := range slices.Chunk(addrs, kvstore.MaxOps) {
		ops := make([]kvstore.Op, 0, len(some))
		for _, addr := range some {
			op := kvstore.Op{Kind: kvstore.Delete, Key: record.ClaimKey(p.subnet, addr)}
			if c := change(p.claims[addr]); c != nil {
				op.Kind, op.Value = kvstore.Set, record.Encode(c)
			}
			ops = append(ops, op)
		}
		if err := a.writeLocked(ctx, ops...); err != nil {
			return fmt.Errorf("record addresses of pool %v: %w", p.subnet, err)
		}
		for _, addr := range some {
			if c := change(p.claims[addr]); c != nil {
				p.claims[addr] = *c
			} else {
				delete(p.claims, addr)
			}
		}
		a.shown.note(p, some)
		signal(a.changed)
	}
	return nil
}

// writeLocked changes State. It is not given up half way when a caller goes.
func (a *table) writeLocked(ctx context.Context, ops ...kvstore.Op) error {
	return kvstore.Record(context.WithoutCancel(ctx), a.cfg.State, ops...)
}
