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

// Permits says what this host may claim, and whether what it has claimed holds. The
// registry's Claims fulfil it. Methods without a context answer from memory.
type Permits interface {
	// Fence gives what holds as long as this host may have addresses: nobody has declared
	// it dead or taken its place. It is part of every transaction that claims one.
	Fence() []kvstore.Op

	// Admit says under which conditions this host may claim what is nobody's according to
	// Cluster, and in which epoch of Cluster; or why it may not at the moment.
	Admit() (checks []kvstore.Op, epoch uint64, err error)

	// Yields says whether this host was declared dead and has not compared all its claims
	// since. Then it takes none back.
	Yields() bool

	// NotDeadSince gives a check that fails once this host has come back after having been
	// declared dead, if that is after the call.
	NotDeadSince(ctx context.Context) (kvstore.Op, error)

	// ConfirmStoreIntact reads Cluster once more after something was claimed, and fails if
	// it has lost data: then nothing comes of the claim.
	ConfirmStoreIntact(ctx context.Context) error

	// Changes is signalled after every change of what Admit answers. Several changes may
	// come as one signal.
	Changes() (changes <-chan struct{}, stop func())
}

// unrestricted is the Permits of a host that may claim at any time.
type unrestricted struct{}

func (unrestricted) Fence() []kvstore.Op                             { return nil }
func (unrestricted) Admit() ([]kvstore.Op, uint64, error)            { return nil, 0, nil }
func (unrestricted) Yields() bool                                    { return false }
func (unrestricted) ConfirmStoreIntact(context.Context) error        { return nil }
func (unrestricted) Changes() (changes <-chan struct{}, stop func()) { return nil, func() {} }

// NotDeadSince implements Permits: the check holds, since no such key exists.
func (unrestricted) NotDeadSince(context.Context) (kvstore.Op, error) {
	return kvstore.Op{Kind: kvstore.Check, Key: record.AddrPrefix + "none"}, nil
}

// permit is what claiming needs: checks that are part of the transaction, and the
// epoch of Cluster in which they hold.
type permit struct {
	checks  []kvstore.Op
	inEpoch []kvstore.Op // of them those that Admit gave: they fail in another epoch
	epoch   uint64
}

// How long somebody without a permit waits at most before asking again.
const (
	askAgain  = 500 * time.Millisecond // if Changes tells nothing
	tryAgain  = 20 * time.Millisecond  // after Cluster has refused, which may know more than this host
	lapseLook = 20 * time.Millisecond  // see lapsed
)

// door is where permits are asked for.
type door struct{ permits Permits }

// ask asks once whether this host may claim.
func (d door) ask() (permit, error) {
	checks, epoch, err := d.permits.Admit()
	if err != nil {
		return permit{}, err
	}
	return permit{checks: slices.Concat(d.permits.Fence(), checks), inEpoch: checks, epoch: epoch}, nil
}

// await waits until this host may claim; at ctx's end it fails with why not.
func (d door) await(ctx context.Context) (permit, error) {
	changes, stop := d.permits.Changes()
	defer stop()
	for {
		by, err := d.ask()
		if err == nil {
			return by, nil
		}
		again := time.NewTimer(askAgain)
		select {
		case <-ctx.Done():
		case <-changes:
		case <-again.C:
		}
		again.Stop()
		if ctx.Err() != nil {
			return by, err
		}
	}
}

// allowed does what claims something, as often as the permit for it ends meanwhile.
// The caller has no gate: who waits must not keep others from recording again
// what this host has.
func (d door) allowed(ctx context.Context, do func(permit) error) error {
	var ended error // the last error by which a permit has ended
	for {
		by, err := d.await(ctx)
		if err != nil {
			return err
		}
		switch err = do(by); {
		case by.ended(err):
			ended = err
		case ended == nil || err == nil || ctx.Err() == nil:
			return err
		}
		if pause(ctx, tryAgain) != nil {
			return d.refused(ended)
		}
	}
}

// refused says why this host may not claim, which err is a consequence of.
func (d door) refused(err error) error {
	if _, why := d.ask(); why != nil {
		return why
	}
	return fmt.Errorf("nothing new is claimed at the moment, since the store has lost data or this host was taken for dead, and that is not settled yet: try again in a moment (%w)", err)
}

// lostError is in the error of a look that found that Cluster has lost data.
type lostError struct{ error }

func (e lostError) Unwrap() error { return e.error }

// look confirms that Cluster has lost nothing. ended tells its refusal from a store that
// does not answer.
func (d door) look(ctx context.Context) error {
	err := d.permits.ConfirmStoreIntact(ctx)
	if err == nil || errors.Is(err, kvstore.ErrUnavailable) || ctx.Err() != nil {
		return err
	}
	return lostError{err}
}

// ended says whether err is that of a transaction or a look that failed because the
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

// lagTime is how long a host may still seem to have an address after its key is gone from
// Cluster: what a host says of itself comes another way.
const lagTime = time.Second

// lapsed waits until no other host says that it has the address, which according to
// Cluster is nobody's or this host's. If another host goes on saying so, Cluster has lost
// that host's claim, and the address is refused.
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
		case time.Now().After(end) || pause(ctx, lapseLook) != nil:
			return a.inUseBy(addr, host)
		}
	}
}
