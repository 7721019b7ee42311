package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"github.com/weft-net/weft/driver/format"
	"github.com/weft-net/weft/driver/registry/epoch"
	"github.com/weft-net/weft/driver/registry/record"
	"github.com/weft-net/weft/kvstore"
)

// runEpoch begins epochs, and has this host's claims compared in each, until ctx
// ends.
func (r *Registry) runEpoch(ctx context.Context) error {
	retry := newBackoff()
	for {
		err := r.tendEpoch(ctx)
		if ctx.Err() != nil {
			return nil
		}
		var again <-chan time.Time
		if err != nil {
			r.log.WithError(err).Debug("What the store has lost could not be made up for; it is tried again.")
			again = time.After(retry.NextBackOff())
		} else {
			retry.Reset()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-r.epochWake:
		case <-again:
		}
	}
}

func (r *Registry) tendEpoch(ctx context.Context) error {
	r.mu.RLock()
	suspicion, holds := r.epoch.Suspicion(r.viewLocked())
	r.mu.RUnlock()
	var err error
	if holds {
		err = r.beginEpoch(ctx, suspicion)
	}
	return errors.Join(err, r.compareClaims(ctx))
}

// beginEpoch begins the next epoch if the store has really lost something of what was
// seen.
func (r *Registry) beginEpoch(ctx context.Context, was epoch.Suspicion) error {
	nets, _, err := r.cluster.List(ctx, record.NetPrefix)
	if err != nil {
		return fmt.Errorf("look what the store has lost: %w", err)
	}
	hosts, _, err := r.cluster.List(ctx, record.HostPrefix)
	if err != nil {
		return fmt.Errorf("look what the store has lost: %w", err)
	}
	stored, revision, err := record.StoredEpoch(nets)
	if err != nil || slices.ContainsFunc(nets, func(p kvstore.Pair) bool { return p.Key == record.EpochKey && format.MayWrite(p.Value) != nil }) {
		return nil //nolint:nilerr // this weft can begin none after it; the watch shows when it is mended
	}
	r.mu.Lock()
	view := r.viewLocked()
	next := epoch.Next(was.Known, stored, newID(), r.peers.Names(), view, time.Now())
	begin, lost, again := r.epoch.Conclude(was, stored, slices.Concat(nets, hosts), view)
	r.tendLocked(again)
	r.mu.Unlock()
	if !begin {
		r.any.send() // claims may be allowed again
		return nil
	}
	value, err := json.Marshal(next)
	if err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	_, err = r.cluster.Txn(ctx, kvstore.Op{Kind: kvstore.CAS, Key: record.EpochKey, Value: value, Revision: revision})
	if err != nil && !errors.Is(err, kvstore.ErrConflict) {
		return fmt.Errorf("begin a new epoch of the store: %w", err)
	}
	if err == nil && len(next.VTEPs) > 0 {
		r.log.WithField("vteps", next.VTEPs).
			Warnf("The store's data and this host's records are lost: both are made again from what Docker and the kernel have, and no host claims anything new until those at these addresses have done so too, or for %v.", epoch.SettleTime)
	}
	if err == nil && was.Known.ID != "" {
		r.log.WithField("records", lost).Warn("The store has lost data: a new epoch begins.")
	}
	return err // after a conflict, look again
}

// compareClaims has this host's claims compared with the store if a new epoch has
// begun, or the store may have something else than them.
func (r *Registry) compareClaims(ctx context.Context) error {
	if !r.placed() {
		return nil // it is woken then
	}
	r.mu.Lock()
	comparison, due := r.epoch.BeginComparison(r.viewLocked(), time.Now())
	if !due {
		r.settleLocked(time.Now())
	}
	r.mu.Unlock()
	if !due {
		return nil
	}
	if comparison.First() {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(rand.N(r.spread() + 1)):
		}
	}
	err := r.addresses.Verify(ctx, false)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.epoch.EndComparison(comparison, err == nil)
	if err != nil {
		return fmt.Errorf("compare this host's addresses with the store: %w", err)
	}
	r.settleLocked(time.Now())
	r.local.send()
	return nil
}

// remainingLocked gives the VTEPs of the hosts that have addresses in the networks of
// this host's containers, and its own, if it knows them by its kernel only; sorted.
func (r *Registry) remainingLocked() []netip.Addr {
	if len(r.rebuild.remains) == 0 {
		return nil
	}
	out := []netip.Addr{r.self.VTEP}
	for _, n := range r.rebuild.remains {
		out = append(out, n.Peers...)
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return slices.Compact(out)
}
