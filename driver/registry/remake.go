package registry

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/registry/epoch"
	"github.com/weft-net/weft/driver/registry/networks"
	"github.com/weft-net/weft/driver/registry/record"
	"github.com/weft-net/weft/kvstore"
)

// Remake records a network again that nobody has a record of, as this host's
// Docker and kernel have it. Without an id the network gets a new one, without a VNI any.
// If another host has recorded it meanwhile, that record is learned. Remake fails
// with ErrFrozen as long as somebody may know the network better: if it is not in this
// host's kernel, until new claims are allowed, and for epoch.SettleTime if no
// host has said that it has lost its records.
func (r *Registry) Remake(ctx context.Context, n overlay.Network) error {
	check, err := r.maker.mayRemake(n)
	if err != nil {
		return err
	}
	n.Host, n.Rebuilt = r.Self().Name, true
	if n.ID == "" {
		n.ID = newID()
	}
	chosen := n.VNI != 0
	for range kvstore.Attempts(ctx) {
		if !chosen {
			n.VNI = record.FirstVNI + rand.Uint32N(record.LastVNI-record.FirstVNI+1)
		}
		write, err := record.WriteNetwork(n, 0)
		if err != nil {
			return fmt.Errorf("record network %q again: %w", n.Name, err)
		}
		_, err = r.cluster.Txn(ctx,
			kvstore.Op{Kind: kvstore.CAS, Key: record.NameKey(n.Name), Value: []byte(n.ID)},
			write,
			kvstore.Op{Kind: kvstore.CAS, Key: record.VNIKey(n.VNI), Value: []byte(n.ID)},
			check,
		)
		var conflict *kvstore.ConflictError
		switch {
		case err == nil:
			r.log.WithFields(map[string]any{"network": n.Name, "id": n.ID, "vni": n.VNI}).
				Warn("Nobody had a record of a network any more: it is recorded again as this host's Docker and kernel have it.")
			return r.learn(ctx, n)
		case errors.As(err, &conflict) && conflict.Key == record.VNIKey(n.VNI) && !chosen:
		case errors.As(err, &conflict) && conflict.Key == record.NameKey(n.Name):
			if done, err := r.maker.beaten(ctx, n); done || err != nil {
				return err
			}
		case errors.As(err, &conflict) && conflict.Key == record.NetworkKey(n.ID):
			return fmt.Errorf("network %q cannot be recorded again: its id %s is %w by another network of the cluster; remove this one with `docker network rm` and create it again", n.Name, n.ID, ErrTaken)
		case errors.As(err, &conflict) && conflict.Key == record.VNIKey(n.VNI):
			return fmt.Errorf("network %q cannot be recorded again: %w", n.Name, r.vniTaken(ctx, n.VNI))
		default:
			return fmt.Errorf("record network %q again: %w", n.Name, err)
		}
	}
	return fmt.Errorf("record network %q again: %w", n.Name, kvstore.ErrConflict)
}

// mayRemake gives the condition under which n may be recorded.
func (m maker) mayRemake(n overlay.Network) (kvstore.Op, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	for old := range m.networks.All() {
		if !old.Deleted.IsZero() && (old.ID == n.ID || old.Name == n.Name && n.Created.Before(old.Deleted) && networks.SamePrefixes(old, n)) {
			return kvstore.Op{}, fmt.Errorf("network %q was removed from the cluster while this host did not hear of it: remove it here with `docker network rm %s`", n.Name, n.Name)
		}
	}
	here := slices.ContainsFunc(m.rebuild.remains, func(k overlay.Remains) bool { return k.ID == n.ID })
	if !m.claims.epochs.MayRemake(m.claims.epochs.viewLocked(), here, time.Now()) {
		return kvstore.Op{}, fmt.Errorf("network %q, which nobody has a record of, is recorded again once no other host can know it better, after %v at most: %w", n.Name, epoch.SettleTime, ErrFrozen)
	}
	return m.claims.epochs.Check(), nil
}

// beaten learns the network that has n's name if it is the same one, and frees the
// name if that network is no more.
func (m maker) beaten(ctx context.Context, n overlay.Network) (done bool, err error) {
	err = m.freeStaleName(ctx, n.Name)
	var taken *NameTakenError
	if !errors.As(err, &taken) {
		return false, err
	}
	first, _, err := m.readNetwork(ctx, taken.By)
	if err != nil {
		return false, fmt.Errorf("read network %q: %w", n.Name, err)
	}
	if !networks.SamePrefixes(first, n) {
		return false, fmt.Errorf("network %q of this host's Docker cannot be recorded again, since host %s has recorded one of that name with %s: disconnect its containers and remove it with `docker network rm`", n.Name, first.Host, record.Subnets(first))
	}
	return true, m.learn(ctx, first)
}
