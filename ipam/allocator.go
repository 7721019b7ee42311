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

	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/kvstore"
)

// Config is what an Allocator works with. All fields but Auto, ULA, Routes,
// Lost, Observe and Now are needed.
type Config struct {
	Host        string // this host's name, unique in the cluster
	Incarnation string // new whenever this host lost its State

	Cluster  kvstore.Store // shared with the other hosts
	State    kvstore.Store // this host's own, durable and always there
	Networks Cluster

	// Auto lists where pools without a subnet come from, tried in order within
	// the family asked for. Empty means 10.128.0.0/10 cut to /24.
	Auto []Auto
	// ULA gives the cluster's own /48 (RFC 4193), cut to /64 for IPv6 pools if
	// Auto has no IPv6 prefix.
	ULA func() (netip.Prefix, error)
	// Routes gives prefixes that automatic pools must not overlap.
	Routes func(ctx context.Context) ([]netip.Prefix, error)
	// Fence holds as long as this host may claim addresses: nobody has declared
	// it dead. It is part of every transaction that claims one.
	Fence []kvstore.Op
	// Lost is told when an address in use here turns out to be another host's.
	// It is told again after every check until the address is released.
	Lost func(a netip.Addr, by string)
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
	random  func(uint64) uint64
	kick    chan struct{}
	changed chan struct{}
	scanned time.Time // Run's alone: last look for own claims in unknown pools

	mu    sync.Mutex // taken after a pool's gate; never while calling cfg.Networks, cfg.Lost or Cluster
	pools map[netip.Prefix]*pool
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
	held     held // Pool.Subnet is invalid until the pool is recorded in State
	claims   map[netip.Addr]claim
	recent   recent
	taken    set                   // addresses that somebody has, as far as known; nil before the first check
	strange  sightings             // keys that name this host in an earlier incarnation
	orphans  map[netip.Addr]orphan // addresses in use that no endpoint has
	doubt    time.Time             // until then a create that seemed to fail may still be carried out
	checked  time.Time             // last comparison with Cluster; zero: due now
	settle   time.Time             // Docker is still choosing gateway and aux addresses: do not claim before
	setup    time.Time             // until then an explicit address may be an aux address
	detached time.Time             // since when no network of this host has the pool; zero: it has one
	gone     bool                  // no longer in Allocator.pools
}

// sightings are addresses by when they were first seen.
type sightings map[netip.Addr]time.Time

// orphan is an address in use without an endpoint. Since when it is in use is
// only compared for equality: the host's clock may have jumped since.
type orphan struct{ seen, inUse time.Time }

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
	if cfg.Observe == nil {
		cfg.Observe = func(Event) {}
	}
	if cfg.doubt == 0 {
		cfg.doubt = doubtTime
	}
	if len(cfg.Auto) == 0 {
		cfg.Auto = []Auto{{Base: netip.MustParsePrefix("10.128.0.0/10"), Bits: 24}}
	}
	a := &Allocator{
		cfg:     cfg,
		random:  rand.Uint64N,
		kick:    make(chan struct{}, 1),
		changed: make(chan struct{}, 1),
		pools:   map[netip.Prefix]*pool{},
	}
	pairs, _, err := cfg.State.List(ctx, heldPrefix)
	if err != nil {
		return nil, fmt.Errorf("read this host's pools: %w", err)
	}
	for _, pair := range pairs {
		h, err := decode[held](pair)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		if heldKey(h.Pool.Subnet) != pair.Key {
			return nil, fmt.Errorf("%w: record %s: its subnet is %v", ErrDamaged, pair.Key, h.Pool.Subnet)
		}
		p := a.poolLocked(h.Pool.Subnet)
		p.held, p.doubt = h, cfg.Now().Add(cfg.doubt) // who ran before may have left something under way
	}
	pairs, _, err = cfg.State.List(ctx, claimPrefix)
	if err != nil {
		return nil, fmt.Errorf("read this host's addresses: %w", err)
	}
	for _, pair := range pairs {
		subnet, addr, err := parseAddrKey(claimPrefix, pair.Key)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		if a.poolLocked(subnet).claims[addr], err = decode[claim](pair); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
		}
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
			if c.State != leaving && c.Lost == "" {
				out = append(out, Claimed{Addr: addr, Used: c.State == inUse, At: c.At})
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
			claims: map[netip.Addr]claim{}, strange: sightings{},
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
			return nil, nil, fmt.Errorf("pool %v is busy: %w", subnet, ctx.Err())
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
		delete(a.pools, p.subnet)
	}
	a.mu.Unlock()
	<-p.gate
}

func (p *pool) recorded() bool { return p.held.Pool.Subnet.IsValid() }

// holdLocked records h as the pool's state.
func (a *Allocator) holdLocked(ctx context.Context, p *pool, h held) error {
	op := kvstore.Op{Kind: kvstore.Set, Key: heldKey(p.subnet), Value: encode(h)}
	if err := a.writeLocked(ctx, op); err != nil {
		return fmt.Errorf("record pool %v: %w", p.subnet, err)
	}
	p.held = h
	return nil
}

// setLocked records the claims of some addresses; nil forgets them.
func (a *Allocator) setLocked(ctx context.Context, p *pool, addrs []netip.Addr, c *claim) error {
	for some := range slices.Chunk(addrs, kvstore.MaxOps) {
		ops := make([]kvstore.Op, 0, len(some))
		for _, addr := range some {
			op := kvstore.Op{Kind: kvstore.Delete, Key: claimKey(p.subnet, addr)}
			if c != nil {
				op.Kind, op.Value = kvstore.Set, encode(c)
			}
			ops = append(ops, op)
		}
		if err := a.writeLocked(ctx, ops...); err != nil {
			return fmt.Errorf("record addresses of pool %v: %w", p.subnet, err)
		}
		for _, addr := range some {
			if c == nil {
				delete(p.claims, addr)
			} else {
				p.claims[addr] = *c
			}
		}
		signal(a.changed)
	}
	return nil
}

// errState is in the error that says that nothing can be recorded on this host,
// and so nothing handed out or taken back.
var errState = errors.New("this host's state cannot be written (make room on its disk)")

// writeLocked changes State. It is not given up half way when a caller goes.
func (a *Allocator) writeLocked(ctx context.Context, ops ...kvstore.Op) error {
	if _, err := a.cfg.State.Txn(context.WithoutCancel(ctx), ops...); err != nil {
		return fmt.Errorf("%w: %w", errState, err)
	}
	return nil
}

// view is what the rest of weft knows about a pool at one moment.
type view struct {
	network  overlay.Network
	live     bool // a network of the cluster has the subnet
	attached bool // and this host's Docker has the network
	hosts    int
	subnet   overlay.Subnet // of network
	unsure   bool           // containers of this host may have addresses that nothing here tells of
}

func (a *Allocator) view(subnet netip.Prefix) view {
	unsure, _ := a.cfg.Networks.Rebuilding()
	n, ok := a.cfg.Networks.NetworkOf(subnet)
	if !ok {
		return view{hosts: 1, unsure: unsure}
	}
	v := view{
		network: n, live: true, unsure: unsure,
		attached: a.cfg.Networks.Attached(n.ID),
		hosts:    max(a.cfg.Networks.Hosts(n.ID), 1),
	}
	for _, s := range n.Subnets {
		if s.Prefix == subnet {
			v.subnet = s
		}
	}
	return v
}

// nameOf is how an error calls the pool.
func (a *Allocator) nameOf(p *pool, v view) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return p.nameLocked(v)
}

func (p *pool) nameLocked(v view) string {
	switch {
	case v.live:
		return fmt.Sprintf("network %q (%v)", networkName(v.network), p.subnet)
	case p.held.Pool.Group != "":
		return fmt.Sprintf("group %q (%v)", p.held.Pool.Group, p.subnet)
	default:
		return fmt.Sprintf("pool %v", p.subnet)
	}
}

func networkName(n overlay.Network) string {
	if n.Name != "" {
		return n.Name
	}
	return n.ID
}

// hosts is how many hosts draw from the pool.
func (p *pool) hosts(v view) int { return max(v.hosts, len(p.held.Pool.Hosts), 1) }

// gateway is the pool's gateway: what the network says, else what is recorded,
// else the address that it will be if nobody chooses another.
func (p *pool) gateway(v view) netip.Addr {
	switch {
	case v.subnet.Gateway.IsValid():
		return v.subnet.Gateway
	case p.held.Pool.Gateway.IsValid():
		return p.held.Pool.Gateway
	default:
		return usable(p.subnet).first
	}
}

// What reservedAs says of addresses that belong to the network.
const (
	asGateway = "the gateway"
	asAux     = "an aux address"
)

// reservedAs says what an address that no endpoint may have is, or is empty.
func (p *pool) reservedAs(v view, addr netip.Addr) string {
	if addr == p.gateway(v) {
		return asGateway
	}
	if slices.Contains(p.held.Pool.Aux, addr) {
		return asAux
	}
	for _, aux := range v.subnet.Aux {
		if addr == aux {
			return asAux
		}
	}
	if s := usable(p.subnet); addr.Less(s.first) {
		return "the network address"
	} else if s.last.Less(addr) {
		return "the broadcast address"
	}
	return ""
}

// reserveLocked makes the addresses that reservedAs names count as taken.
func (p *pool) reserveLocked(v view) {
	p.taken[p.gateway(v)] = struct{}{}
	for _, aux := range p.held.Pool.Aux {
		p.taken[aux] = struct{}{}
	}
	for _, aux := range v.subnet.Aux {
		p.taken[aux] = struct{}{}
	}
}

// dynamic is where addresses that nobody names come from.
func (p *pool) dynamic() span { return dynamic(PoolID{p.subnet, p.held.Pool.Range}) }

// stocked says whether a claim can be handed out to whoever asks for any
// address.
func (p *pool) stocked(v view) func(netip.Addr, claim) bool {
	s := p.dynamic()
	return func(addr netip.Addr, c claim) bool {
		return c.State == inStock && !c.Explicit && c.Lost == "" && s.contains(addr) && p.reservedAs(v, addr) == ""
	}
}

// targetLocked is the stock that the pool should have now.
func (p *pool) targetLocked(v view, now time.Time) int {
	size := p.dynamic().size()
	taken := uint64(max(len(p.taken), len(p.claims)))
	return target(demand{
		recent: p.recent.count(now), size: size, free: size - min(size, taken), hosts: p.hosts(v),
	})
}
