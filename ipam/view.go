package ipam

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/ipam/claim"
	"github.com/weft-net/weft/ipam/space"
	"github.com/weft-net/weft/ipam/stock"
)

// view is what the rest of weft knows about a pool at one moment.
type view struct {
	network  overlay.Network
	live     bool           // a network of the cluster has the subnet
	attached bool           // and this host's Docker has the network
	hosts    int            // that take part in it, at least 1
	before   int            // of them, in an order that is the same for all
	subnet   overlay.Subnet // of network
	asked    space.Set      // addresses in it that other hosts ask for
	used     int            // addresses of the pool that endpoints have
	users    int            // hosts that have such an endpoint
	user     bool           // this host is one
	unsure   bool           // containers of this host may have addresses that nothing here tells of
}

func (a *table) view(subnet netip.Prefix) view {
	unsure, _ := a.cfg.Networks.Rebuilding()
	n, ok := a.cfg.Networks.NetworkOf(subnet)
	if !ok {
		return view{hosts: 1, unsure: unsure}
	}
	v := view{
		network: n, live: true, unsure: unsure,
		attached: a.cfg.Networks.Attached(n.ID),
	}
	v.hosts, v.before = a.cfg.Networks.Hosts(n.ID)
	v.used, v.users, v.user = a.cfg.Networks.InUse(subnet)
	for _, addr := range a.cfg.Networks.Asked(n.ID) {
		if v.asked == nil {
			v.asked = space.Set{}
		}
		v.asked[addr] = struct{}{}
	}
	for _, s := range n.Subnets {
		if s.Prefix == subnet {
			v.subnet = s
		}
	}
	return v
}

// nameOf is how an error calls the pool.
func (a *table) nameOf(p *pool, v view) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return p.nameLocked(v)
}

func (p *pool) nameLocked(v view) string {
	switch {
	case v.live:
		return fmt.Sprintf("network %q (%v)", v.network.Title(), p.subnet)
	case p.held.Pool.Group != "":
		return fmt.Sprintf("group %q (%v)", p.held.Pool.Group, p.subnet)
	default:
		return fmt.Sprintf("pool %v", p.subnet)
	}
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
		return space.Usable(p.subnet).First
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
	if s := space.Usable(p.subnet); addr.Less(s.First) {
		return "the network address"
	} else if s.Last.Less(addr) {
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
func (p *pool) dynamic() space.Span {
	return space.Dynamic(space.PoolID{Subnet: p.subnet, Range: p.held.Pool.Range})
}

// stocked says whether a claim can be handed out to whoever asks for any
// address. One that another host asks for by name is that host's.
func (p *pool) stocked(v view) func(netip.Addr, claim.Claim) bool {
	s := p.dynamic()
	return func(addr netip.Addr, c claim.Claim) bool {
		return c.State == claim.InStock && !c.Explicit && c.Lost == "" && s.Contains(addr) && p.reservedAs(v, addr) == "" && !v.asked.Has(addr)
	}
}

// targetLocked is the stock that the pool should have now.
func (a *table) targetLocked(p *pool, v view, now time.Time) int {
	size := p.dynamic().Size()
	taken := uint64(max(len(p.taken), len(p.claims)+p.others))
	return stock.Target(stock.Demand{
		Ahead: a.cfg.Stock, Recent: p.recent.Count(now), Size: size, Free: size - min(size, taken), Hosts: p.hosts(v),
		Used: uint64(v.used), Users: v.users, User: v.user, //nolint:gosec // a count
	})
}

// countOthers counts the addresses of a pool that other hosts say they have. They say so
// as soon as it changes, while Cluster is listed only now and then; and a host that keeps
// stock of a pool that the others have used up must notice at once. A pool that is too
// large to be walked does not need that.
func (a *table) countOthers(subnet netip.Prefix) {
	a.mu.Lock()
	p := a.pools[subnet]
	small := p != nil && p.dynamic().Size() <= space.Walked
	a.mu.Unlock()
	if !small {
		return
	}
	others := a.cfg.Networks.Claimed(subnet)
	a.mu.Lock()
	defer a.mu.Unlock()
	s := p.dynamic()
	p.others = 0
	for addr := range others {
		if _, own := p.claims[addr]; !own && s.Contains(addr) {
			p.others++
		}
	}
}

// spared says whether another host has addresses of the pool that no container uses.
func (a *table) spared(subnet netip.Prefix) bool {
	for addr := range a.cfg.Networks.Claimed(subnet) {
		if a.cfg.Networks.Owner(addr) == "" {
			return true
		}
	}
	return false
}
