package ipam

import "net/netip"

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

// Range is the --ip-range with which this host's Docker asked for the pool,
// invalid if it named none. false: Docker holds no such pool of weft's here.
func (a *Allocator) Range(subnet netip.Prefix) (netip.Prefix, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	p := a.pools[subnet]
	if p == nil || p.held.Count == 0 {
		return netip.Prefix{}, false
	}
	return p.held.Pool.Range, true
}
