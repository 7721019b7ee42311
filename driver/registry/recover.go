package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/weft-net/weft/driver/format"
	"github.com/weft-net/weft/driver/registry/epoch"
	"github.com/weft-net/weft/driver/registry/peers"
	"github.com/weft-net/weft/driver/registry/record"
	"github.com/weft-net/weft/kvstore"
)

// epochKeeper begins epochs of the store, and has this host's claims compared in them.
type epochKeeper struct {
	*core
	epochs *epochs
	place  *place
	peers  *peers.Peers
}

// run begins epochs, and has this host's claims compared in each, until ctx
// ends.
func (e epochKeeper) run(ctx context.Context) error {
	retry := newBackoff()
	for {
		err := e.tendEpoch(ctx)
		if ctx.Err() != nil {
			return nil
		}
		var again <-chan time.Time
		if err != nil {
			e.log.WithError(err).Debug("What the store has lost could not be made up for; it is tried again.")
			again = time.After(retry.NextBackOff())
		} else {
			retry.Reset()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-e.epochs.wake:
		case <-again:
		}
	}
}

func (e epochKeeper) tendEpoch(ctx context.Context) error {
	e.mu.RLock()
	suspicion, holds := e.epochs.Suspicion(e.epochs.viewLocked())
	e.mu.RUnlock()
	var err error
	if holds {
		err = e.beginEpoch(ctx, suspicion)
	}
	return errors.Join(err, e.compareClaims(ctx))
}

// beginEpoch begins the next epoch if the store has really lost something of what was
// seen.
func (e epochKeeper) beginEpoch(ctx context.Context, was epoch.Suspicion) error {
	nets, _, err := e.cluster.List(ctx, record.NetPrefix)
	if err != nil {
		return fmt.Errorf("look what the store has lost: %w", err)
	}
	hosts, _, err := e.cluster.List(ctx, record.HostPrefix)
	if err != nil {
		return fmt.Errorf("look what the store has lost: %w", err)
	}
	stored, revision, err := record.StoredEpoch(nets)
	if err != nil || slices.ContainsFunc(nets, func(p kvstore.Pair) bool { return p.Key == record.EpochKey && format.MayWrite(p.Value) != nil }) {
		return nil //nolint:nilerr // this weft can begin none after it; the watch shows when it is mended
	}
	e.mu.Lock()
	view := e.epochs.viewLocked()
	next := epoch.Next(was.Known, stored, newID(), e.peers.Names(), view, time.Now())
	begin, lost, again := e.epochs.Conclude(was, stored, slices.Concat(nets, hosts), view)
	e.epochs.tendLocked(again)
	e.mu.Unlock()
	if !begin {
		return nil
	}
	value, err := json.Marshal(next)
	if err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	_, err = e.cluster.Txn(ctx, kvstore.Op{Kind: kvstore.CAS, Key: record.EpochKey, Value: value, Revision: revision})
	if err != nil && !errors.Is(err, kvstore.ErrConflict) {
		return fmt.Errorf("begin a new epoch of the store: %w", err)
	}
	if err == nil && len(next.VTEPs) > 0 {
		e.log.WithField("vteps", next.VTEPs).
			Warnf("The store's data and this host's records are lost: both are made again from what Docker and the kernel have, and no host claims anything new until those at these addresses have done so too, or for %v.", epoch.SettleTime)
	}
	if err == nil && was.Known.ID != "" {
		e.log.WithField("records", lost).Warn("The store has lost data: a new epoch begins.")
	}
	return err // after a conflict, look again
}

// compareClaims has this host's claims compared with the store if a new epoch has
// begun, or the store may have something else than them.
func (e epochKeeper) compareClaims(ctx context.Context) error {
	if !e.place.placed() {
		return nil // it is woken then
	}
	e.mu.Lock()
	comparison, due := e.epochs.BeginComparison(e.epochs.viewLocked(), time.Now())
	if !due {
		e.epochs.settleLocked(time.Now())
	}
	e.mu.Unlock()
	if !due {
		return nil
	}
	if comparison.First() {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(rand.N(e.epochs.spread() + 1)):
		}
	}
	err := e.addresses.Verify(ctx, false)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.epochs.EndComparison(comparison, err == nil)
	if err != nil {
		return fmt.Errorf("compare this host's addresses with the store: %w", err)
	}
	e.epochs.settleLocked(time.Now())
	e.local.send()
	return nil
}
