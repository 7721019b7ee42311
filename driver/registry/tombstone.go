package registry

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/registry/record"
	"github.com/weft-net/weft/kvstore"
)

// tombstoneLook is how often the age of tombstones is looked at, see package networks.
const tombstoneLook = time.Hour

// tombstoneKeeper removes tombstones that are old.
type tombstoneKeeper struct{ *directory }

// run removes old tombstones until ctx ends.
func (t tombstoneKeeper) run(ctx context.Context) error {
	ticker := time.NewTicker(tombstoneLook)
	defer ticker.Stop()
	for last := time.Now(); ; {
		now := time.Now()
		err := t.tendTombstones(ctx, now.Sub(last)) // by the monotonic clock
		if err != nil && ctx.Err() == nil {
			t.log.WithError(err).Warn("Records of networks that were removed long ago are still kept; their removal is tried again in an hour.")
		}
		last = now
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// tendTombstones looks at the tombstones when so much time has passed since the last
// look, and removes the old ones.
func (t tombstoneKeeper) tendTombstones(ctx context.Context, passed time.Duration) error {
	if err := t.countTombstones(ctx, passed); err != nil {
		return err
	}
	var old []string
	t.mu.RLock()
	for _, n := range t.networks.Where(t.isOldLocked) {
		old = append(old, n.ID)
	}
	t.mu.RUnlock()
	return t.bury(ctx, old)
}

// countTombstones adds what has passed to the age of each tombstone.
func (t tombstoneKeeper) countTombstones(ctx context.Context, passed time.Duration) error {
	defer t.change()()
	now, ops, err := t.networks.Count(passed)
	if err != nil || len(ops) == 0 {
		return err
	}
	if err := t.commitLocked(ctx, ops...); err != nil {
		return err
	}
	t.networks.Counted(now)
	return nil
}

// isOldLocked says whether n is a tombstone that may go, of a network of which this
// host has nothing left.
func (t tombstoneKeeper) isOldLocked(n overlay.Network) bool {
	return t.networks.IsOld(n) && !t.endpoints.In(n.ID)
}

// bury removes the networks' tombstones, in the store and then here. What is none
// any more stays.
func (t tombstoneKeeper) bury(ctx context.Context, ids []string) error {
	if len(ids) == 0 {
		return nil
	}
	stored, err := t.storedTombstones(ctx)
	if err != nil {
		return err
	}
	for some := range slices.Chunk(ids, kvstore.MaxOps) {
		var ops []kvstore.Op
		for _, id := range some {
			if revision := stored[id]; revision > 0 { // else another host was first
				ops = append(ops, kvstore.Op{Kind: kvstore.DeleteCAS, Key: record.NetworkKey(id), Revision: revision})
			}
		}
		var err error
		if len(ops) > 0 {
			_, err = t.cluster.Txn(ctx, ops...)
		}
		switch {
		case errors.Is(err, kvstore.ErrConflict):
			continue // somebody else is at it: what is left is the next look's
		case err != nil:
			return fmt.Errorf("remove old records of networks: %w", err)
		}
		if err := t.forgetTombstones(ctx, some); err != nil {
			return err
		}
	}
	return nil
}

// storedTombstones gives the revisions of the store's tombstones by network id.
func (t tombstoneKeeper) storedTombstones(ctx context.Context) (map[string]uint64, error) {
	pairs, _, err := t.cluster.List(ctx, record.NetPrefix)
	if err != nil {
		return nil, fmt.Errorf("read the networks' records: %w", err)
	}
	out := map[string]uint64{}
	for _, p := range pairs {
		if p.Key == record.EpochKey {
			continue
		}
		n, err := record.DecodeNetwork(p)
		if err == nil && !n.Deleted.IsZero() {
			out[n.ID] = p.Revision
		}
	}
	return out, nil
}

func (t tombstoneKeeper) forgetTombstones(ctx context.Context, ids []string) error {
	defer t.change()()
	ids = slices.DeleteFunc(slices.Clone(ids), func(id string) bool {
		n, _ := t.networks.Record(id)
		return !t.isOldLocked(n)
	})
	ops := make([]kvstore.Op, 0, len(ids))
	for _, id := range ids {
		ops = append(ops, record.Delete(record.StateNetwork+id), record.Delete(record.StateGrave+id))
	}
	if err := t.commitLocked(ctx, ops...); err != nil {
		return err
	}
	for _, id := range ids {
		t.networks.Bury(id)
		delete(t.unsaved, record.StateNetwork+id)
	}
	return nil
}
