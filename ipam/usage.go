package ipam

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/weft-net/weft/ipam/claim"
)

// Event is what happened to an address.
type Event string

// The events. The first three are how an address came to be handed out to
// Docker; in an outage of the store only the first goes on.
const (
	FromStock Event = "stock" // it had been claimed ahead
	Waited    Event = "store" // the stock was empty: it was claimed while Docker waited
	Named     Event = "named" // the user chose it
	Lost      Event = "lost"  // in use here, it turned out to be another host's
)

// Usage is how much of a pool is whose.
type Usage struct {
	Subnet  netip.Prefix
	Network string // weft's id; empty: no network of the cluster has the pool
	Name    string // of the network
	Size    uint64 // addresses that are handed out to whoever asks for any; an IPv6 pool's may have more
	Free    uint64 // of them that no host had when last looked, and that are not the network's own
	Used    int    // by this host's containers
	Stock   int    // claimed by this host ahead of use, and can be handed out
	Target  int    // the stock that there should be now; 0: none is wanted
	Lost    int    // in use on this host, but another host's
}

// Usage gives how much of each pool that this host's Docker has is whose,
// sorted by subnet.
func (a *Allocator) Usage() []Usage {
	a.mu.Lock()
	subnets := make([]netip.Prefix, 0, len(a.pools))
	for subnet := range a.pools {
		subnets = append(subnets, subnet)
	}
	a.mu.Unlock()
	slices.SortFunc(subnets, func(a, b netip.Prefix) int {
		return cmp.Or(a.Addr().Compare(b.Addr()), a.Bits()-b.Bits())
	})
	out := make([]Usage, 0, len(subnets))
	for _, subnet := range subnets {
		v := a.view(subnet) // not under the lock
		a.mu.Lock()
		if p := a.pools[subnet]; p != nil && p.wantedLocked(v, a.cfg.Now()) {
			out = append(out, a.usageLocked(p, v))
		}
		a.mu.Unlock()
	}
	return out
}

func (a *Allocator) usageLocked(p *pool, v view) Usage {
	s := p.dynamic()
	u := Usage{Subnet: p.subnet, Size: s.Size(), Free: s.Free(p.taken), Target: a.stockWantedLocked(p, v)}
	if v.live {
		u.Network, u.Name = v.network.ID, v.network.Name
	}
	stocked := p.stocked(v)
	for addr, c := range p.claims {
		switch {
		case c.State == claim.InUse && c.Lost != "":
			u.Lost++
		case c.State == claim.InUse:
			u.Used++
		case stocked(addr, c):
			u.Stock++
		}
	}
	return u
}

// stockWantedLocked is the target of a pool that Run keeps a stock for.
func (a *Allocator) stockWantedLocked(p *pool, v view) int {
	now := a.cfg.Now()
	if now.Before(p.chooseUntil) {
		return 0
	}
	return a.targetLocked(p, v, now)
}
