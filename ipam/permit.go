package ipam

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/weft-net/weft/ipam/claim"
	"github.com/weft-net/weft/ipam/record"
	"github.com/weft-net/weft/kvstore"
)

// permit is what claiming needs: checks that are part of the transaction, and the
// epoch of Cluster in which they hold.
type permit struct {
	checks  []kvstore.Op
	settled []kvstore.Op // of them those that Admit gave: they fail in another epoch
	epoch   uint64
}

// permitLook is how often is looked whether this host may claim again.
const permitLook = 20 * time.Millisecond

// ask asks once whether this host may claim.
func (a *Allocator) ask() (permit, error) {
	checks, epoch, err := a.cfg.Admit()
	if err != nil {
		return permit{}, err
	}
	return permit{checks: slices.Concat(a.cfg.Fence(), checks), settled: checks, epoch: epoch}, nil
}

// await waits until this host may claim; at ctx's end it fails with why not.
func (a *Allocator) await(ctx context.Context) (permit, error) {
	for {
		by, err := a.ask()
		if err == nil || pause(ctx, permitLook) != nil {
			return by, err
		}
	}
}

// allowed does what claims something, as often as the permit for it ends meanwhile.
// The caller has no gate: who waits must not keep others from recording again
// what this host has.
func (a *Allocator) allowed(ctx context.Context, do func(permit) error) error {
	var ended error // the last error by which a permit has ended
	for {
		by, err := a.await(ctx)
		if err != nil {
			return err
		}
		switch err = do(by); {
		case by.ended(err):
			ended = err
		case ended == nil || err == nil || ctx.Err() == nil:
			return err
		}
		if pause(ctx, permitLook) != nil {
			return a.refused(ended)
		}
	}
}

// refused says why this host may not claim, which err is a consequence of.
func (a *Allocator) refused(err error) error {
	if _, why := a.ask(); why != nil {
		return why
	}
	return fmt.Errorf("nothing new is claimed at the moment, since the store has lost data or this host was taken for dead, and that is not settled yet: try again in a moment (%w)", err)
}

// lostError is a look's that found that Cluster has lost data.
type lostError struct{ error }

func (e lostError) Unwrap() error { return e.error }

// look is Config.Look, whose refusals ended tells from a store that does not answer.
func (a *Allocator) look(ctx context.Context) error {
	err := a.cfg.Look(ctx)
	if err == nil || errors.Is(err, kvstore.ErrUnavailable) || ctx.Err() != nil {
		return err
	}
	return lostError{err}
}

// ended says whether err is a transaction's or a look's that failed since the
// permit for it has ended.
func (p permit) ended(err error) bool {
	if lost := (lostError{}); errors.As(err, &lost) {
		return true
	}
	var conflict *kvstore.ConflictError
	return errors.As(err, &conflict) && slices.ContainsFunc(p.checks, func(op kvstore.Op) bool { return op.Key == conflict.Key })
}

// pause returns nil after d, or ctx's error if that has ended by then.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return ctx.Err() // both may be over
	}
}

// lagTime is how long after an address has come free in Cluster its last owner
// may still seem to have it: what that says comes by another way.
const lagTime = time.Second

// lapsed waits until no other host says that it has an address that is nobody's
// in Cluster, or this host's. If one goes on saying so, Cluster has lost its claim,
// and the address is refused.
func (a *Allocator) lapsed(ctx context.Context, p *pool, addr netip.Addr) error {
	for end := time.Now().Add(lagTime); ; {
		host, claimed := a.cfg.Networks.Claimed(p.subnet)[addr]
		if !claimed {
			return nil
		}
		pair, err := a.cfg.Cluster.Get(ctx, record.AddrKey(p.subnet, addr))
		if err != nil && !errors.Is(err, kvstore.ErrNotFound) {
			return fmt.Errorf("cannot claim address %v: %w", addr, err)
		}
		var h claim.Holder
		if err == nil {
			if h, err = record.DecodeHolder(pair); err != nil {
				return nil //nolint:nilerr // who has it is the transaction's to find out
			}
		}
		switch {
		case h.Host != "" && h.Host != a.cfg.Host:
			return nil // who has it is the transaction's to find out
		case time.Now().After(end) || pause(ctx, permitLook) != nil:
			return a.inUseBy(addr, host)
		}
	}
}
