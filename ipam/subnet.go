package ipam

import (
	"net/netip"

	"github.com/weft-net/weft/driver/overlay"
)

// Stock lists the addresses of the subnet that this host has claimed and not
// handed out, sorted.
func (a *Allocator) Stock(subnet netip.Prefix) []netip.Addr {
	var out []netip.Addr
	for _, c := range a.Claims(subnet) {
		if !c.Used {
			out = append(out, c.Addr)
		}
	}
	return out
}

// Subnet is what is known of the pool with which this host's Docker makes a network:
// the --ip-range that it asked for, if any, and whether a person has named the
// subnet. false: Docker holds no such pool of weft's here.
func (a *Allocator) Subnet(pool netip.Prefix) (overlay.Subnet, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	p := a.pools[pool]
	if p == nil || p.held.Count == 0 {
		return overlay.Subnet{}, false
	}
	return overlay.Subnet{Prefix: pool, Range: p.held.Pool.Range, Chosen: p.held.Pool.Chosen}, true
}
