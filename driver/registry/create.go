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

// maker makes records of networks that the store does not have.
type maker struct {
	*directory
	claims    *Claims
	published *publication
	rebuild   *rebuild
}

// publishNew makes the network's record in the cluster, with a VNI of its own.
// Docker waits for it, for kvstore.Patience at most.
func (m maker) publishNew(ctx context.Context, n overlay.Network) (overlay.Network, error) {
	err := kvstore.Patiently(ctx, func(ctx context.Context) (err error) {
		n, err = m.publish(ctx, n)
		return err
	})
	return n, err
}

func (m maker) publish(ctx context.Context, n overlay.Network) (overlay.Network, error) {
	m.mu.RLock()
	n.Host, n.Created = m.self.Name, time.Now().UTC().Truncate(time.Millisecond)
	m.mu.RUnlock()
	if n.ID == "" {
		n.ID = newID()
	}
	chosen, tries := n.VNI != 0, 0
	for range kvstore.Attempts(ctx) {
		tries++
		if !chosen {
			n.VNI = record.FirstVNI + rand.Uint32N(record.LastVNI-record.FirstVNI+1)
		}
		tombstone, err := m.succeed(ctx, &n)
		if err != nil {
			return n, fmt.Errorf("record network %q in the store: %w", n.Title(), err)
		}
		if err := m.put(ctx, record.StateMaking+n.ID, n); err != nil {
			return n, err
		}
		err = m.tryPublish(ctx, n, tombstone)
		var conflict *kvstore.ConflictError
		switch {
		case err == nil:
			return n, nil
		case errors.As(err, &conflict) && conflict.Key == record.EpochKey: // a new epoch has begun
		case errors.As(err, &conflict) && conflict.Key == record.VNIKey(n.VNI):
			if chosen {
				return n, m.vniTaken(ctx, n.VNI)
			}
		case errors.As(err, &conflict):
			return n, fmt.Errorf("network id %q is being created on another host at this moment: try again", n.ID)
		default:
			return n, fmt.Errorf("record network %q in the store: %w", n.Title(), err)
		}
	}
	return n, fmt.Errorf("find a free VNI for network %q: %d in a row were %w", n.Title(), tries, ErrTaken)
}

// succeed gives the revision of the tombstone under n's id, if there is one. It makes n
// newer than the network whose tombstone it replaces, whatever the clocks of the two
// hosts say: of two networks with one id the one created first is outdated.
func (m maker) succeed(ctx context.Context, n *overlay.Network) (tombstone uint64, err error) {
	m.mu.RLock()
	here, _ := m.networks.Record(n.ID) // the store may have lost it
	m.mu.RUnlock()
	was := []overlay.Network{here}
	stored, revision, err := m.readNetwork(ctx, n.ID)
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
func (m maker) tryPublish(ctx context.Context, n overlay.Network, tombstone uint64) error {
	checks, err := m.admitted(ctx)
	if err != nil {
		return err
	}
	write, err := record.WriteNetwork(n, tombstone)
	if err != nil {
		return err
	}
	_, err = m.cluster.Txn(ctx, append(checks, write,
		kvstore.Op{Kind: kvstore.CAS, Key: record.VNIKey(n.VNI), Value: []byte(n.ID)},
	)...)
	return err
}
