package registry

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/weft-net/weft/driver/format"
	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/kvstore"
)

// A tombstone is kept for so long that every host that still had the network when
// it was removed has learned of it: one that is away for longer may bring it back.
// Without an end the records that each host reads with every change of a network
// would grow for ever.
const (
	tombstoneTime = 30 * 24 * time.Hour // by the clock of the host that removed the network
	tombstoneLook = 24 * time.Hour
)

// runTombstones removes old tombstones until ctx ends. One has to be old in two
// looks, a day apart: a clock that is far off may have dated it.
func (r *Registry) runTombstones(ctx context.Context) error {
	ticker := time.NewTicker(tombstoneLook)
	defer ticker.Stop()
	var before []string
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		now := time.Now()
		old := r.oldTombstones(now)
		again := slices.DeleteFunc(slices.Clone(old), func(id string) bool { return !slices.Contains(before, id) })
		if err := r.bury(ctx, again, now); err != nil && ctx.Err() == nil {
			r.log.WithError(err).Warn("Records of networks that were removed long ago are still kept; their removal is tried again tomorrow.")
		}
		before = old
	}
}

// oldTombstones are the ids of networks that were removed long ago and of which
// this host has nothing left.
func (r *Registry) oldTombstones(now time.Time) []string {
	var old []string
	for _, n := range r.those(func(n overlay.Network) bool { return r.isOldLocked(n, now) }) {
		old = append(old, n.ID)
	}
	return old
}

func (r *Registry) isOldLocked(n overlay.Network, now time.Time) bool {
	return !n.Deleted.IsZero() && format.Writable(n.Rest) == nil && now.Sub(n.Deleted) > tombstoneTime &&
		!r.inUseLocked(n.ID) && !r.attachedLocked(n.ID) && !r.remove[n.ID]
}

// bury removes the networks' tombstones, in the store and then here. What is none
// any more stays.
func (r *Registry) bury(ctx context.Context, ids []string, now time.Time) error {
	if len(ids) == 0 {
		return nil
	}
	stored, err := r.storedTombstones(ctx)
	if err != nil {
		return err
	}
	for some := range slices.Chunk(ids, kvstore.MaxOps) {
		var ops []kvstore.Op
		for _, id := range some {
			if revision := stored[id]; revision > 0 { // else another host was first
				ops = append(ops, kvstore.Op{Kind: kvstore.DeleteCAS, Key: networkKey(id), Revision: revision})
			}
		}
		var err error
		if len(ops) > 0 {
			_, err = r.cluster.Txn(ctx, ops...)
		}
		switch {
		case errors.Is(err, kvstore.ErrConflict):
			continue // somebody else is at it: what is left is tomorrow's
		case err != nil:
			return fmt.Errorf("remove old records of networks: %w", err)
		}
		if err := r.forgetTombstones(ctx, some, now); err != nil {
			return err
		}
	}
	return nil
}

// storedTombstones gives the revisions of the store's tombstones by network id.
func (r *Registry) storedTombstones(ctx context.Context) (map[string]uint64, error) {
	pairs, _, err := r.cluster.List(ctx, netPrefix)
	if err != nil {
		return nil, fmt.Errorf("read the networks' records: %w", err)
	}
	out := map[string]uint64{}
	for _, p := range pairs {
		if p.Key == netEpoch {
			continue
		}
		n, err := decodeNetwork(p)
		if err == nil && !n.Deleted.IsZero() {
			out[n.ID] = p.Revision
		}
	}
	return out, nil
}

func (r *Registry) forgetTombstones(ctx context.Context, ids []string, now time.Time) error {
	defer r.change()()
	ids = slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return !r.isOldLocked(r.networks[id], now) })
	ops := make([]kvstore.Op, 0, len(ids))
	for _, id := range ids {
		ops = append(ops, deleteOp(stateNetwork+id))
	}
	if err := r.commitLocked(ctx, ops...); err != nil {
		return err
	}
	for _, id := range ids {
		delete(r.networks, id)
		delete(r.unsaved, stateNetwork+id)
	}
	return nil
}
