package ipam

import (
	"context"
	"net/netip"
	"time"

	"github.com/weft-net/weft/ipam/claim"
	"github.com/weft-net/weft/ipam/space"
)

// Missed puts the addresses of an endpoint back into stock whose end Docker did not tell.
// made is when the endpoint was made. An address that has another owner by now, or that
// Docker has asked for again since, is left alone.
func (a *Allocator) Missed(ctx context.Context, addrs []netip.Addr, made time.Time) error {
	for _, addr := range addrs {
		if a.cfg.Networks.Owner(addr) != "" {
			continue
		}
		if id, ok := a.usedSince(addr, made); ok {
			if err := a.ReleaseAddress(ctx, id, addr); err != nil {
				return err
			}
		}
	}
	return nil
}

// usedSince finds the pool in which the address has been in use since then or
// longer.
func (a *Allocator) usedSince(addr netip.Addr, then time.Time) (space.PoolID, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for subnet, p := range a.pools {
		if c := p.claims[addr]; subnet.Contains(addr) && c.State == claim.InUse && !c.At.After(then) {
			return space.PoolID{Subnet: subnet}, true
		}
	}
	return space.PoolID{}, false
}
