package registry

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/registry/record"
	"github.com/weft-net/weft/kvstore"
)

// giveUp has a network taken back that Docker does not have. It was published, or may
// have been, or the write may come late.
func (m maker) giveUp(n overlay.Network) {
	m.mu.Lock()
	if n.ID != "" {
		m.networks.GiveUp(n)
		m.published.reread = true // the write may come late
	}
	m.mu.Unlock()
	m.local.send()
}

// settleHalfMade takes back the networks that were published here without
// becoming Docker's, since a call failed or the process died between the two.
// Nobody else would: they have no name, so no host mirrors them.
func (r *remover) settleHalfMade(ctx context.Context, lateWrites bool) error {
	r.mu.RLock()
	all := r.networks.HalfMade()
	r.mu.RUnlock()
	for id, made := range all {
		if err := r.takeBack(ctx, made, lateWrites); err != nil && !r.skips(id, err) {
			return fmt.Errorf("take back network %q, which was not made to its end: %w", id, err)
		}
	}
	return nil
}

func (r *remover) takeBack(ctx context.Context, made overlay.Network, lateWrites bool) error {
	n, revision, err := r.readNetwork(ctx, made.ID)
	switch {
	case errors.Is(err, kvstore.ErrNotFound):
		if lateWrites {
			return nil // it may come yet
		}
		return r.forgetHalfMade(ctx, made.ID)
	case err != nil:
		return err
	case n.Host != made.Host || !n.Created.Equal(made.Created) || n.Name != "" || !n.Deleted.IsZero() || r.Attached(made.ID):
		return r.forgetHalfMade(ctx, made.ID) // it is another, or whole, or gone
	}
	n.Deleted = time.Now().UTC()
	n.Version++
	write, err := record.WriteNetwork(n, revision)
	if err != nil {
		return err
	}
	// Its pool is Docker's to release, or the IPAM side's.
	if _, err := r.cluster.Txn(ctx, write, record.Delete(record.VNIKey(n.VNI))); err != nil {
		return err
	}
	r.log.WithField("id", n.ID).Warn("A network that was not made to its end on this host is taken back.")
	if err := r.learn(ctx, n); err != nil {
		return err
	}
	return r.forgetHalfMade(ctx, n.ID)
}

func (r *remover) forgetHalfMade(ctx context.Context, id string) error {
	defer r.change()()
	if err := r.commitLocked(ctx, record.Delete(record.StateMaking+id)); err != nil {
		return err
	}
	r.networks.DropHalfMade(id)
	return nil
}
