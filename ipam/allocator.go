package ipam

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/weft-net/weft/driver/skipped"
	"github.com/weft-net/weft/ipam/claim"
	"github.com/weft-net/weft/ipam/record"
	"github.com/weft-net/weft/ipam/space"
	"github.com/weft-net/weft/ipam/stock"
	"github.com/weft-net/weft/kvstore"
)

// Config is what an Allocator works with. All fields but Auto, ULA, Routes, Stock,
// Fence, Admit, Yield, Look, Lost, Skipped, Observe and Now are needed.
type Config struct {
	Host        string // this host's name, unique in the cluster
	Incarnation string // new whenever this host lost its State

	Cluster  kvstore.Store // shared with the other hosts
	State    kvstore.Store // this host's own, durable and always there
	Networks Cluster

	// Auto lists where pools without a subnet come from, tried in order within
	// the family asked for. Empty means 10.128.0.0/10 cut to /24.
	Auto []space.Auto
	// ULA gives the cluster's own /48 (RFC 4193), cut to /64 for IPv6 pools if
	// Auto has no IPv6 prefix.
	ULA func() (netip.Prefix, error)
	// Routes gives prefixes that automatic pools must not overlap.
	Routes func(ctx context.Context) ([]netip.Prefix, error)
	// Stock is how many addresses this host keeps claimed ahead in a pool of which
	// enough is free, up to MaxStock; see target. 0: none, so that every address is
	// claimed when it is asked for.
	Stock int
	// Fence gives what holds as long as this host may claim addresses: nobody has
	// declared it dead or taken its place. It is part of every transaction that
	// claims one. It must not block; nil: nothing.
	Fence func() []kvstore.Op
	// Admit says under which conditions this host may claim what is nobody's
	// according to Cluster, and in which epoch of Cluster; or why it may not at
	// the moment. It must not block. nil: always.
	Admit func() (checks []kvstore.Op, epoch uint64, err error)
	// Yield says whether this host was declared dead and has not compared all its
	// claims since: none is taken back then. It must not block; nil: never.
	Yield func() bool
	// Tenure gives a check that fails once this host has come back after having been
	// declared dead, if that is after the call. nil: it never comes back so.
	Tenure func(ctx context.Context) (kvstore.Op, error)
	// Look reads Cluster once more after something was claimed, and fails if it
	// has lost data: then nothing comes of the claim. nil: never.
	Look func(ctx context.Context) error
	// Lost is told when an address in use here turns out to be another host's.
	// It is told again after every check until the address is released.
	Lost func(a netip.Addr, by string)
	// Skipped gets the records of Cluster that are passed over. nil: nobody asks.
	Skipped *skipped.List
	// Observe hears what happens to addresses. It must not block.
	Observe func(Event)

	Log logrus.FieldLogger
	Now func() time.Time // time.Now if nil

	doubt time.Duration // for tests; doubtTime if 0
}

// Allocator hands out pools and addresses to this host's Docker. Safe for
// concurrent use. Run must be running for stock to be filled and given back;
// without it every address is claimed when asked for.
type Allocator struct {
	cfg     Config
	self    claim.Self
	random  func(uint64) uint64
	kick    chan struct{}
	changed chan struct{}
	scanned time.Time // Run's alone: last look for own claims in unknown pools
	reread  time.Time // Run's alone: last look at what is passed over
	passed  passed

	shown shown

	adopting sync.Mutex // one adoption at a time; taken before mu

	mu       sync.Mutex // taken after a pool's gate; never while calling cfg.Networks, cfg.Lost or Cluster
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

	// The rest is under Allocator.mu.
	held     record.Held // as State has it; or only a Pool, of a record that is Run's to remove; see recorded
	claims   claim.Claims
	recent   stock.Recent
	taken    space.Set             // addresses that somebody has, as far as known; nil before the first check
	others   int                   // addresses that other hosts say they have, as tend counted them last
	strange  sightings             // keys that name this host in an earlier incarnation
	orphans  map[netip.Addr]orphan // addresses in use that no endpoint has
	looked   time.Time             // last search for orphans
	doubt    time.Time             // until then a create that seemed to fail may still be carried out
	checked  time.Time             // last comparison with Cluster; zero: due now
	settle   time.Time             // Docker is still choosing gateway and aux addresses: do not claim before
	setup    time.Time             // until then an explicit address may be an aux address
	detached time.Time             // since when no network of this host has the pool; zero: it has one
	gone     bool                  // no longer in Allocator.pools
	yield    bool                  // see Verify; under the gate
}

// sightings are addresses by when they were first seen.
type sightings map[netip.Addr]time.Time

// ErrDamaged is in Open's error for a State with a record that cannot be read.
// A new State is of more use.
var ErrDamaged = errors.New("this host's addresses are damaged")

// Open reads what this host's State knows. Cluster is not asked.
func Open(ctx context.Context, cfg Config) (*Allocator, error) {
	if cfg.Host == "" || cfg.Incarnation == "" {
		return nil, errors.New("ipam: the host has no name or no incarnation")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Admit == nil {
		cfg.Admit = func() ([]kvstore.Op, uint64, error) { return nil, 0, nil }
	}
	if cfg.Fence == nil {
		cfg.Fence = func() []kvstore.Op { return nil }
	}
	if cfg.Look == nil {
		cfg.Look = func(context.Context) error { return nil }
	}
	if cfg.Skipped == nil {
		cfg.Skipped = &skipped.List{}
	}
	if cfg.Observe == nil {
		cfg.Observe = func(Event) {}
	}
	if cfg.doubt == 0 {
		cfg.doubt = doubtTime
	}
	if len(cfg.Auto) == 0 {
		cfg.Auto = []space.Auto{{Base: netip.MustParsePrefix("10.128.0.0/10"), Bits: 24}}
	}
	a := &Allocator{
		cfg:     cfg,
		self:    claim.Self{Host: cfg.Host, Incarnation: cfg.Incarnation},
		random:  rand.Uint64N,
		kick:    make(chan struct{}, 1),
		changed: make(chan struct{}, 1),
		pools:   map[netip.Prefix]*pool{},
		unknown: map[netip.Prefix]time.Time{},
	}
	pairs, _, err := cfg.State.List(ctx, record.HeldPrefix)
	if err != nil {
		return nil, fmt.Errorf("read this host's pools: %w", err)
	}
	for _, pair := range pairs {
		h, err := record.Decode[record.Held](pair)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		if record.HeldKey(h.Pool.Subnet) != pair.Key {
			return nil, fmt.Errorf("%w: record %s: its subnet is %v", ErrDamaged, pair.Key, h.Pool.Subnet)
		}
		p := a.poolLocked(h.Pool.Subnet)
		p.held, p.doubt = h, cfg.Now().Add(cfg.doubt) // who ran before may have left something under way
	}
	pairs, _, err = cfg.State.List(ctx, record.ClaimPrefix)
	if err != nil {
		return nil, fmt.Errorf("read this host's addresses: %w", err)
	}
	for _, pair := range pairs {
		subnet, addr, err := record.ParseAddrKey(record.ClaimPrefix, pair.Key)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		p := a.poolLocked(subnet)
		if p.claims[addr], err = record.Decode[claim.Claim](pair); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		a.shown.note(p, []netip.Addr{addr})
	}
	return a, nil
}

// Claimed is an address that this host has claimed.
type Claimed struct {
	Addr netip.Addr
	Used bool      // Docker has it; otherwise it is in stock
	At   time.Time // since when
}

// Claims gives what this host has claimed of the subnet, sorted.
func (a *Allocator) Claims(subnet netip.Prefix) []Claimed {
	a.mu.Lock()
	defer a.mu.Unlock()
	var out []Claimed
	if p := a.pools[subnet.Masked()]; p != nil {
		for addr, c := range p.claims {
			if c.Held() {
				out = append(out, Claimed{Addr: addr, Used: c.State == claim.InUse, At: c.At})
			}
		}
	}
	slices.SortFunc(out, func(x, y Claimed) int { return x.Addr.Compare(y.Addr) })
	return out
}

// Changed is signalled after any change of what Claims gives. It has one
// receiver; several changes may come as one signal.
func (a *Allocator) Changed() <-chan struct{} { return a.changed }

// Wake makes Run look again: call it when a network was attached to or
// detached from this host, or when the store is back.
func (a *Allocator) Wake() { signal(a.kick) }

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// poolLocked gives the pool of a subnet, new if need be.
func (a *Allocator) poolLocked(subnet netip.Prefix) *pool {
	p := a.pools[subnet]
	if p == nil {
		p = &pool{
			subnet: subnet, gate: make(chan struct{}, 1),
			claims: claim.Claims{}, strange: sightings{},
		}
		a.pools[subnet] = p
	}
	return p
}

// enter takes the gate of the subnet's pool. The caller must call leave.
func (a *Allocator) enter(ctx context.Context, subnet netip.Prefix) (p *pool, leave func(), err error) {
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

func (a *Allocator) leave(p *pool) {
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
func (a *Allocator) holdLocked(ctx context.Context, p *pool, h record.Held) error {
	op := kvstore.Op{Kind: kvstore.Set, Key: record.HeldKey(p.subnet), Value: record.Encode(h)}
	if err := a.writeLocked(ctx, op); err != nil {
		return fmt.Errorf("record pool %v: %w", p.subnet, err)
	}
	p.held = h
	return nil
}

// setLocked records the claims of some addresses; nil forgets them.
func (a *Allocator) setLocked(ctx context.Context, p *pool, addrs []netip.Addr, c *claim.Claim) error {
	return a.changeLocked(ctx, p, addrs, func(claim.Claim) *claim.Claim { return c })
}

// changeLocked records what becomes of the claims of some addresses; nil forgets one.
func (a *Allocator) changeLocked(ctx context.Context, p *pool, addrs []netip.Addr, change func(claim.Claim) *claim.Claim) error {
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
func (a *Allocator) writeLocked(ctx context.Context, ops ...kvstore.Op) error {
	return kvstore.Record(context.WithoutCancel(ctx), a.cfg.State, ops...)
}
