package registry

import (
	"context"
	"errors"
	"fmt"

	"github.com/weft-net/weft/driver/format"
	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/registry/record"
	"github.com/weft-net/weft/driver/skipped"
	"github.com/weft-net/weft/kvstore"
)

// Naming is what only Docker's API tells about a network.
type Naming struct {
	Name       string
	Labels     map[string]string
	Attachable bool
	IPv6       bool
	Swarm      bool // of Swarm's scope
}

// NameTakenError says that another network of the cluster has the name.
type NameTakenError struct {
	Name string
	By   string // its id
}

// Error implements error.
func (e *NameTakenError) Error() string {
	return fmt.Sprintf("the name %q is taken by network id %s", e.Name, e.By)
}

// Is makes errors.Is(err, ErrTaken) hold.
func (e *NameTakenError) Is(target error) bool { return target == ErrTaken }

// Name publishes what Docker's API told about the network id, unless it is
// known already. From then on the network is mirrored to every host, unless it
// is Swarm's. It fails with a NameTakenError if another live network has the name,
// and with ErrFrozen while nothing new is claimed.
func (r *Registry) Name(ctx context.Context, id string, naming Naming) error {
	if n, ok := r.Network(id); !ok || n.Name != "" {
		return nil
	}
	if kvstore.CheckKey(record.NameKey(naming.Name)) != nil {
		return fmt.Errorf("publish the name %.60q: no network of the cluster can have it: create the network with another name", naming.Name)
	}
	for range kvstore.Attempts(ctx) {
		err := r.maker.tryName(ctx, id, naming)
		var conflict *kvstore.ConflictError
		switch {
		case errors.As(err, &conflict) && conflict.Key == record.NameKey(naming.Name):
			if err := r.freeStaleName(ctx, naming.Name); err != nil {
				return err
			}
		case errors.As(err, &conflict): // the record moved on: read again
		case err != nil:
			return fmt.Errorf("publish the name %q: %w", naming.Name, err)
		default:
			return nil
		}
	}
	return fmt.Errorf("publish the name %q: %w", naming.Name, kvstore.ErrConflict)
}

func (m maker) tryName(ctx context.Context, id string, naming Naming) error {
	checks, _, err := m.claims.Admit()
	if err != nil {
		return err
	}
	n, revision, err := m.readNetwork(ctx, id)
	if err != nil || n.Name != "" || !n.Deleted.IsZero() {
		return err
	}
	n.Name, n.Labels = naming.Name, naming.Labels
	n.Attachable, n.IPv6, n.Swarm = naming.Attachable, naming.IPv6, naming.Swarm
	n.Version++
	write, err := record.WriteNetwork(n, revision)
	if err != nil {
		return err
	}
	if _, err := m.cluster.Txn(ctx, append(checks,
		kvstore.Op{Kind: kvstore.CAS, Key: record.NameKey(n.Name), Value: []byte(id)}, write,
	)...); err != nil {
		return err
	}
	return m.learn(ctx, n)
}

// freeStaleName removes the name if the network that has it is no more, and
// fails with a NameTakenError if it lives.
func (d *directory) freeStaleName(ctx context.Context, name string) error {
	p, err := d.cluster.Get(ctx, record.NameKey(name))
	if errors.Is(err, kvstore.ErrNotFound) {
		d.passOver(record.NameKey(name))
		return nil
	}
	if err != nil {
		return fmt.Errorf("look up who has the name %q: %w", name, err)
	}
	if !overlay.ValidID(string(p.Value)) {
		fault := format.Faultf(format.Senseless, "names no network")
		passed, _ := skipped.Of(p.Key, fault)
		d.passOver(p.Key, passed)
		return fmt.Errorf("the store's record %s %w, so the name is nobody's to take: see `weft doctor`", p.Key, fault)
	}
	d.passOver(p.Key)
	holder, _, err := d.readNetwork(ctx, string(p.Value))
	if err == nil && holder.Deleted.IsZero() && holder.Name == name {
		return &NameTakenError{Name: name, By: holder.ID}
	}
	if err != nil && !errors.Is(err, kvstore.ErrNotFound) {
		return fmt.Errorf("look up who has the name %q: %w", name, err)
	}
	_, err = d.cluster.Txn(ctx, kvstore.Op{Kind: kvstore.DeleteCAS, Key: p.Key, Revision: p.Revision})
	if err != nil && !errors.Is(err, kvstore.ErrConflict) {
		return fmt.Errorf("free the stale name %q: %w", name, err)
	}
	return nil
}
