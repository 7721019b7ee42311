package ipam

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"github.com/weft-net/weft/ipam/claim"
)

// orphanTime is how long an address in use must have had no endpoint, in every
// look, before it is freed. Docker makes the endpoint at once, and may repeat a
// release for 15 s.
const (
	orphanTime = time.Minute
	orphanLook = 30 * time.Second
)

// orphan is an address in use without an endpoint: when it was first seen so, and since
// when it is in use. The latter is only compared for equality, since the host's clock may
// have jumped.
type orphan struct{ seen, inUse time.Time }

// freeOrphans puts addresses back into stock that Docker asked for and then made no
// endpoint with, because Docker or weft died in between.
func (a *Allocator) freeOrphans(ctx context.Context, p *pool) error {
	a.mu.Lock()
	used := p.claims.In(claim.InUse)
	a.mu.Unlock()
	used = slices.DeleteFunc(used, func(addr netip.Addr) bool { return a.cfg.Networks.Owner(addr) != "" })

	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.cfg.Now()
	p.looked = now
	seen := map[netip.Addr]orphan{}
	for _, addr := range used {
		c := p.claims[addr]
		o, again := p.orphans[addr]
		switch {
		case c.State != claim.InUse:
		case !again || !o.inUse.Equal(c.At):
			seen[addr] = orphan{now, c.At}
		case now.Sub(o.seen) < orphanTime:
			seen[addr] = o
		default:
			a.cfg.Log.WithField("address", addr).Warn("An address was handed out, but no endpoint ever had it: it is free again.")
			if err := a.freeLocked(ctx, p, []netip.Addr{addr}, now); err != nil {
				return err
			}
		}
	}
	p.orphans = seen
	return nil
}
