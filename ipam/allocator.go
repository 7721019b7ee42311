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
	"github.com/weft-net/weft/kvstore"
)

// Config is what an Allocator works with. All fields but Auto, ULA, Routes, Stock,
// Permits, Lost, Skipped, Observe and Now are needed.
type Config struct {
	Host        string // this host's name, unique in the cluster
	Incarnation string // new whenever this host lost its State

	Cluster  kvstore.Store // shared with the other hosts
	State    kvstore.Store // this host's own, durable and always there
	Networks Networks

	// Auto lists where pools without a subnet come from, tried in order within
	// the family asked for. Empty means 10.128.0.0/10 cut to /24.
	Auto []space.Auto
	// ULA gives the cluster's own /48 (RFC 4193), cut to /64 for IPv6 pools if
	// Auto has no IPv6 prefix.
	ULA func() (netip.Prefix, error)
	// Routes gives prefixes that automatic pools must not overlap.
	Routes func(ctx context.Context) ([]netip.Prefix, error)
	// Stock is how many addresses this host keeps claimed ahead in a pool of which
	// enough is free, up to stock.Max; see stock.Target. 0: none, so that every address is
	// claimed when it is asked for.
	Stock int
	// Permits says what may be claimed. nil: anything, at any time.
	Permits Permits
	// Lost is told when an address in use here turns out to be another host's.
	// It is told again after every check until the address is released.
	Lost func(a netip.Addr, by string)
	// Skipped gets the records of Cluster that are passed over. nil: nobody asks.
	Skipped *skipped.List
	// Observe hears what happens to addresses. It must not block.
	Observe func(Event)

	Log logrus.FieldLogger
	Now func() time.Time // time.Now if nil

	lateWrites time.Duration // for tests; kvstore.LateWrites if 0
}

// Allocator hands out pools and addresses to this host's Docker. Safe for
// concurrent use. Run must be running for stock to be filled and given back;
// without it every address is claimed when asked for.
//
// It is four layers, of which each knows those below it only: Allocator answers Docker
// and runs, maker makes and removes pools, ledger claims and compares addresses, and
// table has what this host knows.
type Allocator struct {
	maker
	scanned  time.Time  // Run's alone: last look for own claims in unknown pools
	reread   time.Time  // Run's alone: last look at what is passed over
	adopting sync.Mutex // one adoption at a time; taken before mu
}

// maker makes, joins and removes pools.
type maker struct{ ledger }

// ledger claims addresses in Cluster, gives them back, and makes Cluster and this host's
// claims agree. Its callers have the pool's gate.
type ledger struct{ *table }

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
	if cfg.Permits == nil {
		cfg.Permits = unrestricted{}
	}
	if cfg.Skipped == nil {
		cfg.Skipped = &skipped.List{}
	}
	if cfg.Observe == nil {
		cfg.Observe = func(Event) {}
	}
	if cfg.lateWrites == 0 {
		cfg.lateWrites = kvstore.LateWrites
	}
	if len(cfg.Auto) == 0 {
		cfg.Auto = []space.Auto{{Base: netip.MustParsePrefix("10.128.0.0/10"), Bits: 24}}
	}
	a := &table{
		cfg:     cfg,
		door:    door{cfg.Permits},
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
		p.held, p.lateUntil = h, cfg.Now().Add(cfg.lateWrites) // who ran before may have left something under way
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
	return &Allocator{maker: maker{ledger{a}}}, nil
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

// Changed is signalled after any change of what Claims and Asks give. It has one
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
