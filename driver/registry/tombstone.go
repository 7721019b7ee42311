package registry

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/weft-net/weft/driver/format"
	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/registry/record"
	"github.com/weft-net/weft/kvstore"
)

// A tombstone is kept for so long that every host that still had the network when it was
// removed has learned of the removal: a host that is away for longer may bring the network
// back. If tombstones had no end, the records that each host reads with every change of a
// network would grow for ever.
//
// Each host finds out by itself how old a tombstone is: it counts for how long weft has
// run here since it first saw the tombstone as it is. So a clock that is set wrong has no
// say, neither the remover's nor this host's own.
const (
	tombstoneTime = 30 * 24 * time.Hour
	tombstoneLook = time.Hour
)

// graves are how old tombstones are here. They are durable.
type graves struct {
	ran  time.Duration    // for how long weft has run on this state, as of the last look
	seen map[string]grave // by network id
}

// grave is a tombstone as it was seen at a look.
type grave struct {
	Since   time.Duration `json:"since"` // as graves.ran
	Created time.Time     `json:"created"`
	Version uint64        `json:"version"`
}

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
	for _, n := range t.networksWhere(t.isOldLocked) {
		old = append(old, n.ID)
	}
	return t.bury(ctx, old)
}

// countTombstones adds what has passed to the age of each tombstone.
func (t tombstoneKeeper) countTombstones(ctx context.Context, passed time.Duration) error {
	defer t.change()()
	t.graves.ran += passed
	seen := map[string]grave{}
	var ops []kvstore.Op
	for id, n := range t.networks {
		if n.Deleted.IsZero() {
			continue
		}
		g, known := t.graves.seen[id]
		if !known || !g.is(n) {
			g = grave{Since: t.graves.ran, Created: n.Created, Version: n.Version}
			op, err := record.Put(record.StateGrave+id, g)
			if err != nil {
				return err
			}
			ops = append(ops, op)
		}
		seen[id] = g
	}
	for id := range t.graves.seen {
		if _, still := seen[id]; !still {
			ops = append(ops, record.Delete(record.StateGrave+id))
		}
	}
	if len(seen) == 0 && len(ops) == 0 {
		return nil
	}
	ran, err := record.Put(record.StateRan, t.graves.ran)
	if err != nil {
		return err
	}
	if err := t.commitLocked(ctx, append(ops, ran)...); err != nil {
		return err
	}
	t.graves.seen = seen
	return nil
}

func (g grave) is(n overlay.Network) bool {
	return g.Version == n.Version && g.Created.Equal(n.Created)
}

// isOldLocked says whether n is a tombstone that may go, of a network of which this
// host has nothing left.
func (h *holdings) isOldLocked(n overlay.Network) bool {
	g, known := h.graves.seen[n.ID]
	return known && g.is(n) && h.graves.ran-g.Since > tombstoneTime && !n.Deleted.IsZero() && format.Writable(n.Rest) == nil &&
		!h.inUseLocked(n.ID) && !h.attachedLocked(n.ID) && !h.remove[n.ID]
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
	ids = slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return !t.isOldLocked(t.networks[id]) })
	ops := make([]kvstore.Op, 0, len(ids))
	for _, id := range ids {
		ops = append(ops, record.Delete(record.StateNetwork+id), record.Delete(record.StateGrave+id))
	}
	if err := t.commitLocked(ctx, ops...); err != nil {
		return err
	}
	for _, id := range ids {
		delete(t.networks, id)
		delete(t.graves.seen, id)
		delete(t.unsaved, record.StateNetwork+id)
	}
	return nil
}
