package ipam

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/weft-net/weft/ipam/space"
	"github.com/weft-net/weft/kvstore"
)

// differences are the claims of this host that Cluster does not have as its.
type differences struct {
	absent []netip.Addr // that are nobody's there, those in use first
	young  []netip.Addr // in use here, and claimed there by another host later than here
	gone   []netip.Addr // that are another host's, or were leaving and are nobody's
}

// compare brings State up to what Cluster says, and gives what it cannot decide.
func (a *Allocator) compare(
	ctx context.Context, p *pool, v view, holders map[netip.Addr]holder, revisions map[netip.Addr]uint64, unread space.Set, frozen bool,
) (found differences, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.cfg.Now()
	p.taken = make(space.Set, len(holders)+len(unread))
	maps.Copy(p.taken, unread)
	strange := sightings{}
	var adopt []netip.Addr
	for addr, h := range holders {
		p.taken[addr] = struct{}{}
		if _, known := p.claims[addr]; known || h.Host != a.cfg.Host {
			continue
		}
		if h.Incarnation == a.cfg.Incarnation {
			adopt = append(adopt, addr)
			continue
		}
		strange[addr] = now
		if seen, ok := p.strange[addr]; ok && !v.unsure {
			strange[addr] = seen
		}
	}
	p.strange = strange
	p.reserveLocked(v)
	slices.SortFunc(adopt, netip.Addr.Compare)
	for _, addr := range adopt {
		c := claim{State: inStock, At: now, Born: holders[addr].born(revisions[addr])}
		err := a.setLocked(ctx, p, []netip.Addr{addr}, &c)
		if err != nil {
			p.taken = nil // nothing is claimed before these are recorded
			return found, err
		}
	}
	var stock []netip.Addr
	for addr, c := range p.claims {
		if unread.Has(addr) {
			continue // whose it is there is not known, so it stays what it is here
		}
		h, held := holders[addr]
		mine := held && h.Host == a.cfg.Host
		var err error
		switch {
		case mine && c.Lost != "":
			c.Lost = ""
			err = a.setLocked(ctx, p, []netip.Addr{addr}, &c)
		case mine:
		case held && frozen && c.State == inUse: // its holder may be about to let go of it
		case held && a.older(p, addr, h.born(revisions[addr])):
			found.young = append(found.young, addr)
		case held, c.State == leaving:
			found.gone = append(found.gone, addr)
		case c.State == inUse:
			found.absent = append(found.absent, addr)
		default:
			stock = append(stock, addr)
		}
		if err != nil {
			return found, err
		}
	}
	found.absent = append(found.absent, stock...)
	return found, nil
}

// older says whether this host has the address in use and claimed it before the
// one who has it in Cluster: that one got it only since Cluster had lost this
// host's claim.
func (a *Allocator) older(p *pool, addr netip.Addr, than birth) bool {
	c := p.claims[addr]
	return c.State == inUse && c.Lost == "" && !a.yields(p) && c.Born.before(than)
}

// yields says whether another host keeps what it has of this one's.
func (a *Allocator) yields(p *pool) bool { return p.yield || a.cfg.Yield != nil && a.cfg.Yield() }

// lookAt settles whose one address is.
func (a *Allocator) lookAt(ctx context.Context, p *pool, addr netip.Addr) error {
	pair, err := a.cfg.Cluster.Get(ctx, addrKey(p.subnet, addr))
	if errors.Is(err, kvstore.ErrNotFound) {
		a.recheck(p) // nobody's again
		return nil
	}
	if err != nil {
		return fmt.Errorf("read address %v: %w", addr, err)
	}
	h, err := decodeHolder(pair)
	if err != nil {
		return nil //nolint:nilerr // whose it is is not known; the next check passes it over
	}
	a.mu.Lock()
	p.taken[addr] = struct{}{}
	c, older := p.claims[addr], a.older(p, addr, h.born(pair.Revision))
	a.mu.Unlock()
	by, frozen := a.ask()
	switch {
	case h.Host == a.cfg.Host, frozen != nil && !a.yields(p) && c.State == inUse:
		return nil
	case older:
		return a.takeBack(ctx, p, addr, h, pair.Revision)
	}
	return a.lose(ctx, p, []netip.Addr{addr}, map[netip.Addr]holder{addr: h}, map[netip.Addr]uint64{addr: pair.Revision}, by)
}

// takeBack makes an address this host's again that another host claimed while
// Cluster had lost this host's older claim. That is decided after the fence was
// built, which then holds only for as long as the decision does.
func (a *Allocator) takeBack(ctx context.Context, p *pool, addr netip.Addr, from holder, revision uint64) error {
	fence := slices.Clone(a.cfg.Fence())
	if a.cfg.Tenure != nil {
		tenure, err := a.cfg.Tenure(ctx)
		if err != nil {
			return err
		}
		fence = append(fence, tenure)
	}
	a.mu.Lock()
	born, older := p.claims[addr].Born, a.older(p, addr, from.born(revision))
	a.mu.Unlock()
	if !older {
		a.recheck(p)
		return nil
	}
	op := kvstore.Op{Kind: kvstore.CAS, Key: addrKey(p.subnet, addr), Value: a.mark(born), Revision: revision}
	if _, err := a.cfg.Cluster.Txn(ctx, append(fence, op)...); err != nil {
		a.recheck(p)
		return fmt.Errorf("take back address %v from host %s: %w", addr, from.Host, err)
	}
	a.cfg.Log.WithField("address", addr).WithField("from", from.Host).
		Error("The store had lost this host's claim of an address in use, and another host claimed it meanwhile: it is taken back, and the other host takes its container out of the network.")
	return nil
}
