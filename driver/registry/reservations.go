package registry

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/registry/peers"
	"github.com/weft-net/weft/driver/registry/record"
	"github.com/weft-net/weft/kvstore"
)

// # The keys of names and VNIs
//
// No two networks have one name or one VNI, since each of these is a key that only one
// network can make. If such a key goes alone, as when somebody deletes what `weft doctor`
// names, no watch shows it, and another network could be made in its place. So one host
// looks for them.

// reservationsLook is how often.
const reservationsLook = 30 * time.Second

// reservations sees to it that each name and each VNI has its key.
type reservations struct {
	*directory
	peers *peers.Peers
	place *place
}

// run looks for the keys that are missing, until ctx ends.
func (k reservations) run(ctx context.Context) error {
	return every(ctx, reservationsLook, func() {
		if err := k.restoreMissing(ctx); err != nil && ctx.Err() == nil {
			k.log.WithError(err).Debug("It could not be looked whether the store has the names and VNIs of all networks; this is tried again.")
		}
	})
}

// restoreMissing makes the keys that are missing, if that is this host's to do.
func (k reservations) restoreMissing(ctx context.Context) error {
	k.mu.RLock()
	first := k.peers.First()
	k.mu.RUnlock()
	if !first || !k.place.placed() {
		return nil
	}
	stored := map[string]string{}
	for _, prefix := range []string{record.NamePrefix, record.VNIPrefix} {
		pairs, _, err := k.cluster.List(ctx, prefix)
		if err != nil {
			return fmt.Errorf("list %s: %w", prefix, err)
		}
		for _, p := range pairs {
			stored[p.Key] = string(p.Value)
		}
	}
	k.mu.RLock()
	keyless := k.networks.Keyless(stored)
	k.mu.RUnlock()
	for _, id := range keyless {
		if err := k.restoreKeysOf(ctx, id); err != nil {
			return err
		}
	}
	return nil
}

// restoreKeysOf makes the keys of a network that the store has.
func (k reservations) restoreKeysOf(ctx context.Context, id string) error {
	n, revision, err := k.readNetwork(ctx, id)
	if err != nil || !n.Deleted.IsZero() {
		return nil //nolint:nilerr // its record is others' care, and comes first
	}
	ops, err := k.restoreKeys(ctx, n)
	if err != nil || len(ops) == 0 {
		return err
	}
	still := kvstore.Op{Kind: kvstore.Check, Key: record.NetworkKey(id), Revision: revision}
	_, err = k.cluster.Txn(ctx, append(ops, still)...)
	if errors.Is(err, kvstore.ErrConflict) {
		return nil // somebody was quicker, or the network goes
	}
	if err == nil {
		k.log.WithFields(map[string]any{"network": n.Title(), "id": id, "vni": n.VNI}).
			Warn("The store had lost the key of a network's name or of its VNI; it is made again.")
	}
	return err
}

// restoreKeys gives the operations that the network's name and VNI need.
func (d *directory) restoreKeys(ctx context.Context, n overlay.Network) ([]kvstore.Op, error) {
	keys := []string{record.VNIKey(n.VNI)}
	if n.Name != "" {
		keys = append(keys, record.NameKey(n.Name))
	}
	var ops []kvstore.Op
	for _, key := range keys {
		op, err := d.restoreKey(ctx, n, key)
		if err != nil {
			return nil, err
		}
		ops = append(ops, op...)
	}
	return ops, nil
}

// restoreKey gives the operation, if any, that a name or a VNI needs.
func (d *directory) restoreKey(ctx context.Context, n overlay.Network, key string) ([]kvstore.Op, error) {
	pair, err := d.cluster.Get(ctx, key)
	absent := errors.Is(err, kvstore.ErrNotFound)
	if err != nil && !absent {
		return nil, err
	}
	mine := !absent && string(pair.Value) == n.ID
	switch {
	case !n.Deleted.IsZero():
		if mine {
			return []kvstore.Op{{Kind: kvstore.DeleteCAS, Key: key, Revision: pair.Revision}}, nil
		}
	case mine:
	case absent, d.ended(string(pair.Value)):
		return []kvstore.Op{{Kind: kvstore.CAS, Key: key, Value: []byte(n.ID), Revision: pair.Revision}}, nil
	default:
		d.log.WithFields(map[string]any{"network": n.Name, "id": n.ID, "key": key, "by": string(pair.Value)}).
			Error("The store had lost a network of this host, and another network has its name or VNI now.")
	}
	return nil, nil
}

// ended says whether the network is known here to be no more.
func (d *directory) ended(id string) bool {
	n, known := d.networkRecord(id)
	return known && !n.Deleted.IsZero()
}
