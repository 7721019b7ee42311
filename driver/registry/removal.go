package registry

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/weft-net/weft/driver/format"
	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/registry/peers"
	"github.com/weft-net/weft/driver/registry/record"
	"github.com/weft-net/weft/kvstore"
)

// remover settles what is to become of networks in the store: removals, networks that
// were not made to their end, and records that the store has lost.
type remover struct {
	*directory
	peers *peers.Peers
	said  map[string]string // by network id: why it was passed over, as the log has it
}

// settleRemovals carries out, or gives up, the removals that were asked here,
// and takes back tombstones of networks that this host uses. With lateWrites a write that
// seemed to fail may still be carried out.
func (r *remover) settleRemovals(ctx context.Context, lateWrites bool) error {
	r.mu.RLock()
	asked := r.networks.Removals()
	var revive []string
	for n := range r.networks.All() {
		if !n.Deleted.IsZero() && r.endpoints.In(n.ID) {
			revive = append(revive, n.ID)
		}
	}
	r.mu.RUnlock()
	if err := r.settleHalfMade(ctx, lateWrites); err != nil {
		return err
	}
	for _, id := range asked {
		err := r.settleRemoval(ctx, id)
		if format.AsFault(err) != nil {
			r.log.WithError(err).Warn("A network that was removed on this host stays in the cluster and comes back here.")
			err = r.dropRemoval(ctx, id)
		}
		if err != nil {
			return err
		}
	}
	for _, id := range revive {
		if err := r.revive(ctx, id); err != nil && !r.skips(id, err) {
			return err
		}
	}
	return nil
}

// skips says whether err is about one network's record, which this weft cannot use or may
// not write. That network is passed over, and looked at again with the next change.
func (r *remover) skips(id string, err error) bool {
	fault := format.AsFault(err)
	if fault == nil {
		return false
	}
	if r.said[id] != fault.Why {
		r.log.WithError(err).WithField("id", id).Warn("What has become of a network cannot be recorded in the store; everything else goes on.")
	}
	r.said[id] = fault.Why
	return true
}

func (r *remover) settleRemoval(ctx context.Context, id string) error {
	n, revision, err := r.readNetwork(ctx, id)
	lacks := errors.Is(err, kvstore.ErrNotFound)
	if err != nil && !lacks {
		return fmt.Errorf("remove network %q from the store: %w", id, err)
	}
	// If the store has lost the record, or has it as it was before, hosts that know it
	// better would bring the network back.
	if here, known := r.networkRecord(id); known && (lacks || record.Outdated(n, here)) {
		n, lacks = here, false
	}
	if lacks || !n.Deleted.IsZero() {
		return r.dropRemoval(ctx, id)
	}
	if users := r.users(id); len(users) > 0 {
		r.log.WithFields(map[string]any{"network": n.Name, "id": n.ID, "hosts": users}).
			Warn("A network was removed on this host while other hosts use it; it stays theirs and comes back here.")
		return r.dropRemoval(ctx, id)
	}
	n.Deleted = time.Now().UTC()
	n.Version++
	ops, err := r.removalOps(ctx, n, revision)
	if err != nil {
		return fmt.Errorf("remove network %q from the store: %w", n.Title(), err)
	}
	if !r.beginRemoval(id) {
		return nil // Docker has it again
	}
	switch _, err := r.cluster.Txn(ctx, ops...); {
	case errors.Is(err, kvstore.ErrConflict):
		r.endRemoval(id)
		return fmt.Errorf("remove network %q from the store: its record changed meanwhile: %w", n.Title(), err)
	case err != nil: // it may be carried out yet
		return fmt.Errorf("remove network %q from the store: %w", n.Title(), err)
	}
	r.log.WithFields(map[string]any{"network": n.Name, "id": n.ID}).Info("Network removed from the cluster.")
	if err := r.learn(ctx, n); err != nil {
		return err
	}
	return r.dropRemoval(ctx, id)
}

// removalOps give the transaction that writes n's tombstone over revision, and takes
// its name, VNI and pools out of the store.
func (r *remover) removalOps(ctx context.Context, n overlay.Network, revision uint64) ([]kvstore.Op, error) {
	write, err := record.WriteNetwork(n, revision)
	if err != nil {
		return nil, err
	}
	own, err := r.restoreKeys(ctx, n)
	if err != nil {
		return nil, err
	}
	pools, err := r.addresses.PoolOps(ctx, record.Prefixes(n))
	return slices.Concat([]kvstore.Op{write}, own, pools), err
}

// beginRemoval says whether the removal is still wanted. If so nothing cancels it
// from now on until its end: the store is asked for it.
func (r *remover) beginRemoval(id string) bool {
	defer r.change()()
	return r.networks.BeginRemoval(id)
}

func (r *remover) endRemoval(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.networks.EndRemoval(id)
}

// users lists the hosts that have an endpoint in the network.
func (r *remover) users(id string) []string {
	r.mu.RLock()
	defer r.mu.RUnlock()
	var out []string
	if r.endpoints.In(id) {
		out = append(out, r.self.Name)
	}
	for host, at := range r.peers.In(id) {
		if len(at.Endpoints) > 0 {
			out = append(out, host)
		}
	}
	slices.Sort(out)
	return out
}

func (r *remover) dropRemoval(ctx context.Context, id string) error {
	defer r.change()()
	if err := r.commitLocked(ctx, record.Delete(record.StateRemove+id)); err != nil {
		return err
	}
	r.networks.DropRemoval(id)
	r.any.send() // the mirror may bring the network back now
	return nil
}

// revive undoes a removal that raced with a container's start on this host.
func (r *remover) revive(ctx context.Context, id string) error {
	n, revision, err := r.readNetwork(ctx, id)
	if errors.Is(err, kvstore.ErrNotFound) { // the store has lost the tombstone
		n, _ = r.networkRecord(id)
		revision, err = 0, nil
	}
	if err != nil {
		return fmt.Errorf("take back the removal of network %q: %w", id, err)
	}
	if !n.Deleted.IsZero() {
		n.Deleted = time.Time{}
		n.Version++
		if err := r.restore(ctx, n, revision); err != nil {
			return err
		}
		r.log.WithFields(map[string]any{"network": n.Name, "id": n.ID}).
			Warn("A network was removed on another host while a container of this host uses it; it stays.")
	}
	return r.learn(ctx, n)
}

// reassert records again the networks of this host that the store has lost, or has only
// as they were before.
func (r *remover) reassert(ctx context.Context) error {
	r.mu.RLock()
	lost := r.networks.Absent()
	r.mu.RUnlock()
	for _, n := range lost {
		stored, revision, err := r.readNetwork(ctx, n.ID)
		switch {
		case errors.Is(err, kvstore.ErrNotFound):
		case r.skips(n.ID, err):
			continue // it is not lost
		case err != nil:
			return fmt.Errorf("look for network %s in the store: %w", n.Title(), err)
		case !record.Outdated(stored, n):
			continue // it is there by now
		}
		if err := r.restore(ctx, n, revision); errors.Is(err, kvstore.ErrConflict) || r.skips(n.ID, err) {
			continue // somebody else does so, or has to
		} else if err != nil {
			return err
		}
		r.log.WithFields(map[string]any{"network": n.Name, "id": n.ID, "deleted": !n.Deleted.IsZero()}).
			Warn("The store had lost what it had of a network; it is recorded again.")
	}
	return nil
}

// restore writes a network's record over revision, with its name and VNI where the store
// lacks them, or without them if the record is a tombstone. Another network that has taken
// the name or the VNI meanwhile keeps it, and the log says so. restore fails with a
// kvstore.ErrConflict if one of these records has changed meanwhile.
func (r *remover) restore(ctx context.Context, n overlay.Network, revision uint64) error {
	write, err := record.WriteNetwork(n, revision)
	if err != nil {
		return fmt.Errorf("record network %s in the store again: %w", n.Title(), err)
	}
	ops := []kvstore.Op{write}
	own, err := r.restoreKeys(ctx, n)
	if err != nil {
		return fmt.Errorf("record network %s in the store again: %w", n.Title(), err)
	}
	pools, err := r.leftPools(ctx, n)
	if err != nil {
		return fmt.Errorf("record network %s in the store again: %w", n.Title(), err)
	}
	if _, err := r.cluster.Txn(ctx, slices.Concat(ops, own, pools)...); err != nil {
		return fmt.Errorf("record network %s in the store again: %w", n.Title(), err)
	}
	return nil
}

// leftPools gives the deletions of the pools that a removed network has left.
func (r *remover) leftPools(ctx context.Context, n overlay.Network) ([]kvstore.Op, error) {
	if n.Deleted.IsZero() {
		return nil, nil
	}
	left := slices.DeleteFunc(record.Prefixes(n), func(s netip.Prefix) bool { _, live := r.NetworkOf(s); return live })
	return r.addresses.PoolOps(ctx, left)
}
