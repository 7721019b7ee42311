package ipam

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/weft-net/weft/ipam/claim"
	"github.com/weft-net/weft/ipam/record"
	"github.com/weft-net/weft/ipam/space"
	"github.com/weft-net/weft/kvstore"
)

// compare finds what differs between this host's claims of the pool and the keys, and
// records what needs no more than this host's word: what is known to be taken, and keys
// that are this host's.
func (a *ledger) compare(
	ctx context.Context, p *pool, v view, keys claim.Entries, unread space.Set, d claim.Limits,
) (found claim.Differences, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	found = claim.Compare(a.self, p.claims, keys, unread, d)
	now := a.cfg.Now()
	p.taken = make(space.Set, len(keys)+len(unread))
	maps.Copy(p.taken, unread)
	for addr := range keys {
		p.taken[addr] = struct{}{}
	}
	p.reserveLocked(v)
	strange := make(sightings, len(found.Stranded))
	for _, addr := range found.Stranded {
		strange[addr] = now
		if seen, ok := p.stranded[addr]; ok && !v.unsure {
			strange[addr] = seen
		}
	}
	p.stranded = strange
	for _, addr := range found.Adopt {
		c := claim.Claim{State: claim.InStock, At: now, Born: keys[addr].Born()}
		if err := a.setLocked(ctx, p, []netip.Addr{addr}, &c); err != nil {
			p.taken = nil // nothing is claimed before these are recorded
			return found, err
		}
	}
	return found, a.changeLocked(ctx, p, found.Regained, func(c claim.Claim) *claim.Claim {
		c.Lost = ""
		return &c
	})
}

// limits is why this host decides less than the keys of the pool seem to say.
func (a *ledger) limits(p *pool, frozen error) claim.Limits {
	return claim.Limits{Frozen: frozen != nil, Yields: p.yield || a.cfg.Permits.Yields()}
}

// lookAt decides whose one address is.
func (a *ledger) lookAt(ctx context.Context, p *pool, addr netip.Addr) error {
	pair, err := a.cfg.Cluster.Get(ctx, record.AddrKey(p.subnet, addr))
	if errors.Is(err, kvstore.ErrNotFound) {
		a.recheck(p) // nobody's again
		return nil
	}
	if err != nil {
		return fmt.Errorf("read address %v: %w", addr, err)
	}
	h, err := record.DecodeHolder(pair)
	if err != nil {
		return nil //nolint:nilerr // whose it is is not known; the next check passes it over
	}
	by, frozen := a.ask()
	e, d := claim.Entry{Holder: h, Revision: pair.Revision}, a.limits(p, frozen)
	a.mu.Lock()
	p.taken[addr] = struct{}{}
	verdict := claim.Judge(a.self, p.claims[addr], e, true, d)
	a.mu.Unlock()
	switch verdict {
	case claim.Older:
		return a.takeBack(ctx, p, addr, e)
	case claim.Gone:
		return a.lose(ctx, p, []netip.Addr{addr}, claim.Entries{addr: e}, by)
	case claim.Agreed, claim.Regained, claim.Undecided, claim.Absent:
	}
	return nil
}

// takeBack makes an address this host's again that another host claimed while
// Cluster had lost this host's older claim. That is decided after the fence was
// built, which then holds only for as long as the decision does.
func (a *ledger) takeBack(ctx context.Context, p *pool, addr netip.Addr, from claim.Entry) error {
	fence := slices.Clone(a.cfg.Permits.Fence())
	since, err := a.cfg.Permits.NotDeadSince(ctx)
	if err != nil {
		return err
	}
	fence = append(fence, since)
	d := a.limits(p, nil)
	a.mu.Lock()
	born, verdict := p.claims[addr].Born, claim.Judge(a.self, p.claims[addr], from, true, d)
	a.mu.Unlock()
	if verdict != claim.Older {
		a.recheck(p)
		return nil
	}
	op := kvstore.Op{Kind: kvstore.CAS, Key: record.AddrKey(p.subnet, addr), Value: record.Encode(a.self.Mark(born)), Revision: from.Revision}
	if _, err := a.cfg.Cluster.Txn(ctx, append(fence, op)...); err != nil {
		a.recheck(p)
		return fmt.Errorf("take back address %v from host %s: %w", addr, from.Holder.Host, err)
	}
	a.cfg.Log.WithField("address", addr).WithField("from", from.Holder.Host).
		Error("The store had lost this host's claim of an address in use, and another host claimed it meanwhile: it is taken back, and the other host takes its container out of the network.")
	return nil
}
