package registry

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/registry/record"
	"github.com/weft-net/weft/kvstore"
)

// createTries is how often a randomly chosen VNI may turn out to be taken.
const createTries = 8

// publishNew makes the network's record in the cluster, with a VNI of its own.
// Docker waits for it, for kvstore.Patience at most.
func (r *Registry) publishNew(ctx context.Context, n overlay.Network) (overlay.Network, error) {
	err := kvstore.Patiently(ctx, func(ctx context.Context) (err error) {
		n, err = r.publish(ctx, n)
		return err
	})
	return n, err
}

func (r *Registry) publish(ctx context.Context, n overlay.Network) (overlay.Network, error) {
	r.mu.RLock()
	n.Host, n.Created = r.self.Name, time.Now().UTC().Truncate(time.Millisecond)
	r.mu.RUnlock()
	if n.ID == "" {
		n.ID = newID()
	}
	chosen := n.VNI != 0
	for range createTries {
		if !chosen {
			n.VNI = record.FirstVNI + rand.Uint32N(record.LastVNI-record.FirstVNI+1)
		}
		tombstone, err := r.succeed(ctx, &n)
		if err != nil {
			return n, fmt.Errorf("record network %q in the store: %w", n.Title(), err)
		}
		if err := r.put(ctx, record.StateMaking+n.ID, n); err != nil {
			return n, err
		}
		err = r.tryPublish(ctx, n, tombstone)
		var conflict *kvstore.ConflictError
		switch {
		case err == nil:
			return n, nil
		case errors.As(err, &conflict) && conflict.Key == record.EpochKey: // a new epoch has begun
		case errors.As(err, &conflict) && conflict.Key == record.VNIKey(n.VNI):
			if chosen {
				return n, r.vniTaken(ctx, n.VNI)
			}
		case errors.As(err, &conflict):
			return n, fmt.Errorf("network id %q is being created on another host at this moment: try again", n.ID)
		default:
			return n, fmt.Errorf("record network %q in the store: %w", n.Title(), err)
		}
	}
	return n, fmt.Errorf("find a free VNI for network %q: %d in a row were %w", n.Title(), createTries, ErrTaken)
}

// succeed gives the revision of the tombstone under n's id, if there is one, and
// sees to it that n was created after what that was of, whatever the clocks of the
// two hosts say: the one created first is outdated.
func (r *Registry) succeed(ctx context.Context, n *overlay.Network) (tombstone uint64, err error) {
	r.mu.RLock()
	was := []overlay.Network{r.networks[n.ID]} // the store may have lost it
	r.mu.RUnlock()
	stored, revision, err := r.readNetwork(ctx, n.ID)
	switch {
	case errors.Is(err, kvstore.ErrNotFound):
	case err != nil:
		return 0, err
	case !stored.Deleted.IsZero():
		was, tombstone = append(was, stored), revision
	}
	for _, old := range was {
		if !n.Created.After(old.Created) {
			n.Created = old.Created.Add(time.Millisecond)
		}
	}
	return tombstone, nil
}

// tryPublish writes the record, over its tombstone if there is one, and its VNI in
// one transaction. It waits while nothing new is claimed, and fails with ErrFrozen at
// ctx's end.
func (r *Registry) tryPublish(ctx context.Context, n overlay.Network, tombstone uint64) error {
	checks, err := r.admitted(ctx)
	if err != nil {
		return err
	}
	write, err := record.WriteNetwork(n, tombstone)
	if err != nil {
		return err
	}
	_, err = r.cluster.Txn(ctx, append(checks, write,
		kvstore.Op{Kind: kvstore.CAS, Key: record.VNIKey(n.VNI), Value: []byte(n.ID)},
	)...)
	return err
}

// vniTaken is the sentence for a VNI that somebody has.
func (r *Registry) vniTaken(ctx context.Context, vni uint32) error {
	by := "another network"
	if p, err := r.cluster.Get(ctx, record.VNIKey(vni)); err == nil {
		by = fmt.Sprintf("network %.60q", p.Value)
		if n, ok := r.Network(string(p.Value)); ok {
			by = fmt.Sprintf("network %q (created on host %s)", n.Title(), n.Host)
		}
	}
	return fmt.Errorf("VNI %d is %w by %s: choose another weft.vni, or leave it out", vni, ErrTaken, by)
}
