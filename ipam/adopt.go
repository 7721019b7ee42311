package ipam

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"github.com/weft-net/weft/ipam/claim"
	"github.com/weft-net/weft/ipam/record"
	"github.com/weft-net/weft/ipam/space"
)

// adopt makes State hold what it should according to the networks' records: the
// pools of the networks that Docker has here, and the addresses of this host's
// endpoints as in use. Docker asks for a pool before it makes a network of it,
// and for an address before it makes an endpoint with it, so something is
// missing only if State, or a part of it, was lost. What Cluster says of the
// addresses is the next check's business.
//
// State also knew when this host claimed each address. An adopted address counts as
// claimed in the present epoch, at an unknown moment. So a host that got the address
// after this one was declared dead keeps it. While nothing may be claimed, because
// Cluster has lost its data too, an adopted address counts as older than every later
// claim.
func (a *Allocator) adopt(ctx context.Context) error {
	by, _ := a.ask() // epoch 0 if nothing may be claimed
	a.adopting.Lock()
	defer a.adopting.Unlock()
	a.mu.Lock()
	a.released = space.Set{}
	a.mu.Unlock()
	defer func() {
		a.mu.Lock()
		a.released = nil
		a.mu.Unlock()
	}()
	for subnet, addrs := range a.cfg.Networks.Held() {
		if err := a.adoptPool(ctx, subnet, addrs, claim.Birth{Epoch: by.epoch}); err != nil {
			return err
		}
	}
	return nil
}

func (a *Allocator) adoptPool(ctx context.Context, subnet netip.Prefix, addrs []netip.Addr, born claim.Birth) error {
	v := a.view(subnet)
	if !v.attached {
		return nil // it is going at this moment
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.cfg.Now()
	p := a.poolLocked(subnet)
	if !p.recorded() {
		h := record.Held{Pool: recordOf(v.network, v.subnet), Count: 1, Attached: true, At: now}
		if err := a.holdLocked(ctx, p, h); err != nil {
			return err
		}
		a.cfg.Log.WithField("pool", subnet).Warn("This host's state had lost a pool that Docker has; it is taken over.")
	}
	lost := slices.DeleteFunc(slices.Clone(addrs), func(addr netip.Addr) bool { return p.claims[addr].State == claim.InUse || a.released.Has(addr) })
	if len(lost) == 0 {
		return nil
	}
	if err := a.setLocked(ctx, p, lost, &claim.Claim{State: claim.InUse, At: now, Born: born}); err != nil {
		return err
	}
	p.checked, p.lateUntil = time.Time{}, now.Add(a.cfg.lateWrites) // now, and after a check that is under way
	a.cfg.Log.WithField("pool", subnet).WithField("addresses", lost).
		Warn("This host's state had lost addresses that its containers have; they are taken over.")
	return nil
}
