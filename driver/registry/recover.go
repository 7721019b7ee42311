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
	"github.com/weft-net/weft/driver/overlay"
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
		case <-r.era.wake:
		case <-again:
		}
	}
}

func (r *Registry) tendEpoch(ctx context.Context) error {
	r.mu.RLock()
	suspected, known := r.era.suspect != nil || len(r.unawaitedLocked()) > 0, r.era.Epoch
	r.mu.RUnlock()
	var err error
	if suspected {
		err = r.beginEpoch(ctx, known)
	}
	return errors.Join(err, r.verifyClaims(ctx))
}

// beginEpoch begins the next epoch after the one known if the store has really
// lost something of what was seen.
func (r *Registry) beginEpoch(ctx context.Context, known record.Epoch) error {
	r.mu.RLock()
	signs := r.era.signs
	r.mu.RUnlock()
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
	next := record.Epoch{
		N: max(known.N, stored.N) + 1, ID: newID(), Hosts: r.peers.Names(), By: r.self.Name,
		At: time.Now().UTC().Truncate(time.Millisecond), VTEPs: r.remainingLocked(),
	}
	back := wentBack(r.era.suspect, record.Revisions(slices.Concat(nets, hosts)), "")
	where := compare(known, stored)
	if r.era.Epoch.ID == known.ID && where == newer { // somebody has noticed before; it is entered in a moment
		r.mu.Unlock()
		return nil
	}
	if r.era.Epoch.ID != known.ID || where == current && len(back) == 0 && len(r.unawaitedLocked()) == 0 {
		if r.era.signs == signs {
			r.era.suspect = nil // it has been, or there was nothing
			r.any.send()        // claims may be allowed again
		} else { // there was another sign while the store was read
			wakeUp(r.era.wake)
		}
		r.mu.Unlock()
		return nil
	}
	r.mu.Unlock()
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
			Warnf("The store's data and this host's records are lost: both are made again from what Docker and the kernel have, and no host claims anything new until those at these addresses have done so too, or for %v.", settleTime)
	}
	if err == nil && known.ID != "" {
		r.log.WithField("records", back).Warn("The store has lost data: a new epoch begins.")
	}
	return err // after a conflict, look again
}

// verifyClaims has this host's claims compared with the store if a new epoch has
// begun, or it is in doubt that the store has them.
func (r *Registry) verifyClaims(ctx context.Context) error {
	if !r.placed() {
		return nil // it is woken then
	}
	r.mu.Lock()
	e, spread := &r.era, min(spreadMost, time.Duration(r.peers.Count())*spreadEach)
	id, owes := e.Epoch.ID, r.owesLocked(time.Now())
	fresh := e.verified != e.Epoch.ID && e.revision != 0 && !owes
	doubt := e.doubt && time.Since(e.compared) >= doubtGap
	if doubt {
		e.doubt, e.compared = false, time.Now()
	}
	r.mu.Unlock()
	if !fresh && !doubt {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.settleLocked(time.Now())
		return nil
	}
	if fresh {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(rand.N(spread + 1)):
		}
	}
	if err := r.addresses.Verify(ctx, false); err != nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		if doubt {
			e.doubt, e.compared = true, time.Time{}
		}
		return fmt.Errorf("compare this host's addresses with the store: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !owes {
		r.era.verified = id
	}
	r.settleLocked(time.Now())
	r.local.send()
	return nil
}

// noteClashLocked notes that another host says that it has an address which is
// in use here.
func (r *Registry) noteClashLocked(at overlay.Attachment) {
	if len(r.endpoints) == 0 {
		return
	}
	for _, e := range at.Endpoints {
		if slices.ContainsFunc(e.Addrs, r.usesLocked) {
			r.era.doubt = true
			wakeUp(r.era.wake)
			return
		}
	}
}
