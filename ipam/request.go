package ipam

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/weft-net/weft/driver/option"
	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/ipam/record"
	"github.com/weft-net/weft/ipam/space"
	"github.com/weft-net/weft/kvstore"
)

// optionPrefix begins the names of options that are weft's. The only IPAM option that
// weft has is option.ID.
const optionPrefix = "weft."

// Times around the making of a network: Docker asks for pool, gateway and aux
// addresses within milliseconds of each other.
const (
	chooseTime = 50 * time.Millisecond
	makingTime = 10 * time.Second
)

// PoolRequest asks for a pool.
type PoolRequest struct {
	Subnet  netip.Prefix // masked; invalid: any
	Range   netip.Prefix // part of Subnet for addresses that nobody names; may be invalid
	V6      bool         // family, if Subnet is invalid
	Options map[string]string
}

// RequestPool gives the pool of the network or group that option weft.id
// names or that is being mirrored, or a new one that overlaps no other in the
// cluster. Only the pool of an existing network, or of a group that this host takes
// part in, is given without the Cluster store; for any other Docker waits for
// kvstore.Patience at most.
func (a *Allocator) RequestPool(ctx context.Context, r PoolRequest) (space.PoolID, error) {
	if err := r.check(); err != nil {
		return space.PoolID{}, err
	}
	group := r.Options[option.ID]
	if group == "" {
		if n, ok := a.cfg.Networks.Mirrored(r.Subnet); ok {
			return a.joinNetwork(ctx, n, r)
		}
	} else if n, ok := a.cfg.Networks.Network(group); ok {
		return a.joinNetwork(ctx, n, r)
	} else if id, ok, err := a.rejoin(ctx, group, r); ok || err != nil {
		return id, err
	}
	var id space.PoolID
	err := kvstore.Patiently(ctx, func(ctx context.Context) error {
		return a.allowed(ctx, func(by permit) (err error) {
			switch {
			case group != "":
				id, err = a.joinGroup(ctx, group, r, by)
			case r.Subnet.IsValid():
				id, err = a.create(ctx, space.PoolID{Subnet: r.Subnet, Range: r.Range}, "", by)
			default:
				id, err = a.auto(ctx, r.V6, "", by)
			}
			return err
		})
	})
	return id, err
}

func (r *PoolRequest) check() error {
	for key, value := range r.Options {
		if key == option.ID && !overlay.ValidID(value) {
			return fmt.Errorf("--ipam-opt %s=%q: not a name: use letters, digits, '_', '.' and '-'", option.ID, value)
		}
		if key != option.ID && strings.HasPrefix(key, optionPrefix) {
			return fmt.Errorf("unknown --ipam-opt %s: weft has only %s", key, option.ID)
		}
	}
	if !r.Subnet.IsValid() {
		if r.Range.IsValid() {
			return fmt.Errorf("--ip-range %v needs a --subnet around it", r.Range)
		}
		return nil
	}
	if err := space.CheckPrefix(r.Subnet); err != nil {
		return err
	}
	if r.Subnet.Addr().Is6() != r.V6 {
		return fmt.Errorf("subnet %v is not of the address family asked for", r.Subnet)
	}
	if r.Range.IsValid() && r.Range != r.Range.Masked() {
		return fmt.Errorf("--ip-range %v has bits set behind its length: use %v", r.Range, r.Range.Masked())
	}
	if r.Range.IsValid() && !space.Within(r.Subnet, r.Range) {
		return fmt.Errorf("--ip-range %v is not inside --subnet %v", r.Range, r.Subnet)
	}
	return nil
}

// wants says whether a pool with this subnet answers the request.
func (r *PoolRequest) wants(subnet netip.Prefix) bool {
	if r.Subnet.IsValid() {
		return r.Subnet == subnet
	}
	return subnet.Addr().Is6() == r.V6
}

func (a *maker) joinNetwork(ctx context.Context, n overlay.Network, r PoolRequest) (space.PoolID, error) {
	i := slices.IndexFunc(n.Subnets, func(s overlay.Subnet) bool { return r.wants(s.Prefix) })
	if i < 0 {
		family := "IPv4"
		if r.V6 {
			family = "IPv6"
		}
		if r.Subnet.IsValid() {
			family = r.Subnet.String()
		}
		return space.PoolID{}, fmt.Errorf("network %q has no %s subnet: leave --subnet out, or use what `weft network inspect` shows",
			n.Title(), family)
	}
	s := n.Subnets[i]
	if r.Range.IsValid() && r.Range != s.Range {
		return space.PoolID{}, fmt.Errorf("--ip-range %v differs from that of network %q: leave it out", r.Range, n.Title())
	}
	pr := recordOf(n, s)
	a.mu.Lock()
	defer a.mu.Unlock()
	p := a.poolLocked(s.Prefix)
	if err := a.countLocked(ctx, p, pr); err != nil {
		return space.PoolID{}, err
	}
	return pr.ID(), nil
}

// recordOf is the pool of a network's subnet.
func recordOf(n overlay.Network, s overlay.Subnet) record.Pool {
	pr := record.Pool{Subnet: s.Prefix, Range: s.Range, Chosen: s.Chosen, Gateway: s.Gateway, Host: n.Host, At: n.Created}
	for _, aux := range s.Aux {
		pr.Aux = append(pr.Aux, aux)
	}
	slices.SortFunc(pr.Aux, netip.Addr.Compare)
	return pr
}

// countLocked records that Docker has asked for the pool once more.
func (a *maker) countLocked(ctx context.Context, p *pool, pr record.Pool) error {
	if p.held.Count > 0 && p.held.Pool.Range != pr.Range {
		return fmt.Errorf("subnet %v is in use on this host with another --ip-range", p.subnet)
	}
	now := a.cfg.Now()
	h := record.Held{Pool: pr, Count: p.held.Count + 1, At: now, Attached: p.held.Attached && p.detached.IsZero()}
	if err := a.holdLocked(ctx, p, h); err != nil {
		return err
	}
	p.chooseUntil, p.makingUntil = now.Add(chooseTime), now.Add(makingTime)
	signal(a.kick)
	return nil
}

// intend records a pool that Docker does not have yet, so that it is removed
// again if nothing comes of it.
func (a *maker) intend(ctx context.Context, p *pool, pr record.Pool) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if p.held.Count > 0 {
		return nil
	}
	p.checked = time.Time{}
	return a.holdLocked(ctx, p, record.Held{Pool: pr, Unsure: true, At: a.cfg.Now()})
}

// auto makes a pool in a free part of the configured prefixes.
func (a *maker) auto(ctx context.Context, v6 bool, group string, by permit) (space.PoolID, error) {
	bases, err := a.bases(v6)
	if err != nil {
		return space.PoolID{}, err
	}
	var routes []netip.Prefix
	if a.cfg.Routes != nil {
		if routes, err = a.cfg.Routes(ctx); err != nil {
			return space.PoolID{}, fmt.Errorf("cannot choose a subnet that is off this host's routes: %w", err)
		}
	}
	// A default route is no network that a pool could clash with.
	routes = slices.DeleteFunc(slices.Clone(routes), func(p netip.Prefix) bool { return p.Bits() == 0 })
	for range kvstore.Attempts(ctx) {
		pools, err := a.listPools(ctx)
		if err != nil {
			return space.PoolID{}, fmt.Errorf("cannot choose a subnet: %w", err)
		}
		if group != "" && slices.ContainsFunc(pools.Records, func(p record.Pool) bool {
			return p.Group == group && p.Subnet.Addr().Is6() == v6
		}) {
			return space.PoolID{}, fmt.Errorf("group %q: %w", group, kvstore.ErrConflict) // joinGroup joins it
		}
		taken := slices.Clone(routes)
		for _, p := range pools.Records {
			taken = append(taken, p.Subnet)
		}
		taken = slices.AppendSeq(taken, maps.Keys(a.cfg.Networks.Held())) // even if Cluster has lost them
		subnet, ok := space.FirstFree(bases, taken, a.random)
		if !ok {
			return space.PoolID{}, fmt.Errorf("no free subnet left in %v: give one with --subnet, or weft more with --pool", bases)
		}
		id, err := a.createIn(ctx, record.Pool{Subnet: subnet, Group: group}, pools, by)
		if by.ended(err) || !errors.Is(err, kvstore.ErrConflict) {
			return id, err
		}
	}
	return space.PoolID{}, errors.New("cannot choose a subnet: other hosts keep making networks; try again")
}

func (a *maker) bases(v6 bool) ([]space.Auto, error) {
	var out []space.Auto
	for _, base := range a.cfg.Auto {
		if base.Base.Addr().Is6() == v6 {
			out = append(out, base)
		}
	}
	if len(out) == 0 && v6 && a.cfg.ULA != nil {
		ula, err := a.cfg.ULA()
		if err != nil {
			return nil, fmt.Errorf("cannot choose an IPv6 subnet: %w", err)
		}
		out = append(out, space.Auto{Base: ula, Bits: 64})
	}
	if len(out) == 0 {
		return nil, errors.New("no range is configured for automatic subnets of this family: give one with --subnet")
	}
	return out, nil
}

// create makes the pool that a person has named, or fails with the reason.
func (a *maker) create(ctx context.Context, id space.PoolID, group string, by permit) (space.PoolID, error) {
	for range kvstore.Attempts(ctx) {
		pools, err := a.listPools(ctx)
		if err != nil {
			return space.PoolID{}, fmt.Errorf("cannot make pool %v: %w", id.Subnet, err)
		}
		id, err := a.createIn(ctx, record.Pool{Subnet: id.Subnet, Range: id.Range, Chosen: true, Group: group}, pools, by)
		if by.ended(err) || !errors.Is(err, kvstore.ErrConflict) {
			return id, err
		}
	}
	return space.PoolID{}, fmt.Errorf("cannot make pool %v: other hosts keep making networks; try again", id.Subnet)
}

// createIn makes the pool if pools is still what Cluster has, and fails with
// kvstore.ErrConflict if it is not.
func (a *maker) createIn(ctx context.Context, pr record.Pool, pools record.Pools, by permit) (space.PoolID, error) {
	id, group := pr.ID(), pr.Group
	p, leave, err := a.enter(ctx, id.Subnet)
	if err != nil {
		return space.PoolID{}, err
	}
	defer leave()
	pr.Host, pr.At = a.cfg.Host, a.cfg.Now()
	if group != "" {
		pr.Hosts = []string{a.cfg.Host}
	}
	var revision uint64
	for i, other := range pools.Records {
		if !other.Subnet.Overlaps(id.Subnet) {
			continue
		}
		if !a.abandoned(p, other, group) {
			return space.PoolID{}, fmt.Errorf("subnet %v overlaps %s: choose another --subnet", id.Subnet, a.describe(other))
		}
		// Rewritten, so that a delete still under way misses it.
		revision = pools.Revisions[i]
	}
	for subnet := range a.cfg.Networks.Held() {
		if n, live := a.cfg.Networks.NetworkOf(subnet); live && subnet.Overlaps(id.Subnet) {
			return space.PoolID{}, fmt.Errorf("subnet %v overlaps %s: choose another --subnet", id.Subnet, a.describe(record.Pool{Subnet: subnet, Host: n.Host}))
		}
	}
	if err := a.intend(ctx, p, pr); err != nil {
		return space.PoolID{}, err
	}
	_, err = a.cfg.Cluster.Txn(ctx, append([]kvstore.Op{
		a.bump(pools),
		{Kind: kvstore.CAS, Key: record.PoolKey(id.Subnet), Value: record.Encode(pr), Revision: revision},
	}, by.checks...)...)
	if err == nil {
		if err = a.look(ctx); err != nil {
			signal(a.kick) // Run removes it
		}
	}
	if err != nil {
		return space.PoolID{}, fmt.Errorf("cannot make pool %v: %w", id.Subnet, err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return id, a.countLocked(ctx, p, pr)
}

// abandoned says whether other is this host's own leftover of the same subnet.
func (a *maker) abandoned(p *pool, other record.Pool, group string) bool {
	if other.Subnet != p.subnet || other.Host != a.cfg.Host || other.Group != group || group != "" {
		return false
	}
	if v := a.view(p.subnet); v.live {
		return false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return p.held.Count == 0
}

// describe names a pool and whose it is, for an error.
func (a *table) describe(r record.Pool) string {
	if n, ok := a.cfg.Networks.NetworkOf(r.Subnet); ok {
		return fmt.Sprintf("%v of network %q (created on host %s)", r.Subnet, n.Title(), n.Host)
	}
	if r.Host == "" {
		return fmt.Sprintf("%v, a pool whose record %s in the store cannot be used (see `weft doctor`)", r.Subnet, record.PoolKey(r.Subnet))
	}
	if r.Group != "" {
		return fmt.Sprintf("%v of group %q (made on host %s)", r.Subnet, r.Group, r.Host)
	}
	return fmt.Sprintf("%v, a pool made on host %s (free in two minutes if no network came of it)", r.Subnet, r.Host)
}
