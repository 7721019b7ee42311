package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/kvstore"
)

// VNIs that are given out by themselves begin above those that Docker's Swarm
// uses (from 4096 up), since both may share a host's UDP port.
const (
	firstVNI = 1 << 16
	lastVNI  = 1<<24 - 1
)

// createTries is how often a randomly chosen VNI may turn out to be taken.
const createTries = 8

// publishNew makes the network's record in the cluster, with a VNI of its own.
func (r *Registry) publishNew(ctx context.Context, n overlay.Network) (overlay.Network, error) {
	r.mu.RLock()
	n.Host, n.Created = r.self.Name, time.Now().UTC().Truncate(time.Millisecond)
	r.mu.RUnlock()
	if n.ID == "" {
		n.ID = newID()
	}
	chosen := n.VNI != 0
	for range createTries {
		if !chosen {
			n.VNI = firstVNI + rand.Uint32N(lastVNI-firstVNI+1)
		}
		if err := r.put(ctx, stateMaking+n.ID, n); err != nil {
			return n, err
		}
		err := r.tryPublish(ctx, n)
		var conflict *kvstore.ConflictError
		switch {
		case err == nil:
			return n, nil
		case errors.As(err, &conflict) && conflict.Key == vniKey(n.VNI):
			if chosen {
				return n, r.vniTaken(ctx, n.VNI)
			}
		case errors.As(err, &conflict):
			return n, fmt.Errorf("network id %q is being created on another host at this moment: try again", n.ID)
		default:
			return n, fmt.Errorf("record network %s in the store: %w", title(n), err)
		}
	}
	return n, fmt.Errorf("find a free VNI for network %s: %d in a row were %w", title(n), createTries, ErrTaken)
}

// tryPublish writes the record and its VNI in one transaction. A tombstone
// under a user-chosen id is overwritten.
func (r *Registry) tryPublish(ctx context.Context, n overlay.Network) error {
	var revision uint64
	old, err := r.cluster.Get(ctx, networkKey(n.ID))
	switch {
	case err == nil:
		var was overlay.Network
		if err := json.Unmarshal(old.Value, &was); err != nil {
			return fmt.Errorf("decode %s: %w", old.Key, err)
		}
		if !was.Deleted.IsZero() {
			revision = old.Revision
		}
	case !errors.Is(err, kvstore.ErrNotFound):
		return err
	}
	record, err := json.Marshal(n)
	if err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	_, err = r.cluster.Txn(ctx,
		kvstore.Op{Kind: kvstore.CAS, Key: networkKey(n.ID), Value: record, Revision: revision},
		kvstore.Op{Kind: kvstore.CAS, Key: vniKey(n.VNI), Value: []byte(n.ID)},
	)
	return err
}

// vniTaken is the sentence for a VNI that somebody has.
func (r *Registry) vniTaken(ctx context.Context, vni uint32) error {
	by := "another network"
	if p, err := r.cluster.Get(ctx, vniKey(vni)); err == nil {
		by = fmt.Sprintf("network %q", p.Value)
		if n, ok := r.Network(string(p.Value)); ok {
			by = fmt.Sprintf("network %s (created on host %s)", title(n), n.Host)
		}
	}
	return fmt.Errorf("VNI %d is %w by %s: choose another weft.vni, or leave it out", vni, ErrTaken, by)
}
