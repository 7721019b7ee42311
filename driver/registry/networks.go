package registry

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/registry/networks"
	"github.com/weft-net/weft/driver/registry/record"
)

// Errors of the operations on networks and endpoints. Each comes wrapped in a
// sentence.
var (
	ErrUnknown  = errors.New("unknown")
	ErrTaken    = networks.ErrTaken
	ErrMismatch = networks.ErrMismatch
)

// Create records that Docker made a network here. With want.ID set it joins
// that network (by id or name), and makes it under that id if there is none;
// without, it makes a new one. Joining needs no store. want.Subnets must be
// complete; VNI 0 asks for any.
func (r *Registry) Create(ctx context.Context, dockerID string, want overlay.Network) (overlay.Network, error) {
	if n, ok := r.OfDocker(dockerID); ok { // Docker repeats calls whose answer it lost
		return n, networks.SameSubnets(n, want)
	}
	if n, ok := r.Network(want.ID); ok {
		return n, r.attach(ctx, dockerID, n, want)
	}
	for _, s := range want.Subnets {
		if n, ok := r.Mirrored(s.Prefix); ok && want.ID == "" {
			if n.VNI == want.VNI {
				return n, r.attach(ctx, dockerID, n, want)
			}
			return overlay.Network{}, fmt.Errorf("subnet %v is %w by network %q (created on host %s): choose another --subnet", s.Prefix, ErrTaken, n.Title(), n.Host)
		}
	}
	if n, gone := r.goneMeanwhile(want); gone {
		return overlay.Network{}, networks.GoneError(n)
	}
	if overlay.GeneratedID(want.ID) {
		return overlay.Network{}, fmt.Errorf("network id %q is %w to this cluster: let weft mirror the network, or name one of `weft network ls` in weft.id", want.ID, ErrUnknown)
	}
	n, err := r.maker.publishNew(ctx, want)
	if err == nil {
		err = r.attach(ctx, dockerID, n, n)
	}
	if err == nil {
		return n, nil
	}
	r.maker.giveUp(n)
	if first, ok := r.OfDocker(dockerID); ok { // the call that this one repeats was still at it
		return first, networks.SameSubnets(first, want)
	}
	return overlay.Network{}, err
}

// attach maps Docker's network to n, and cancels n's removal if one was asked here.
func (r *Registry) attach(ctx context.Context, dockerID string, n, want overlay.Network) error {
	if err := networks.SameSubnets(n, want); err != nil {
		return err
	}
	defer r.change()()
	n = r.networks.Newest(n) // what n was read from may have changed since
	if err := r.networks.MayAttach(dockerID, n); err != nil {
		return err
	}
	at := time.Now()
	docker, err := record.Put(record.StateDocker+dockerID, networks.Attached{Network: n.ID, At: at})
	if err != nil {
		return err
	}
	network, err := record.Put(record.StateNetwork+n.ID, n)
	if err != nil {
		return err
	}
	if err := r.commitLocked(ctx, network, docker, record.Delete(record.StateRemove+n.ID), record.Delete(record.StateMaking+n.ID)); err != nil {
		return err
	}
	r.networks.Attach(dockerID, n, at)
	delete(r.unsaved, record.StateNetwork+n.ID)
	r.changedLocally()
	return nil
}

// Attach records that a Docker network found on this host is the network id,
// unless the removal of that was asked here.
func (r *Registry) Attach(ctx context.Context, dockerID, id string) error {
	n, ok := r.Network(id)
	if !ok {
		return fmt.Errorf("network id %q is %w", id, ErrUnknown)
	}
	defer r.Mirroring(id)()
	return r.attach(ctx, dockerID, n, n)
}

// Delete records that Docker has removed its network here: the network is to
// go everywhere, if no host has an endpoint in it. An unknown id is fine.
func (r *Registry) Delete(ctx context.Context, dockerID string) error {
	return r.detach(ctx, dockerID, true)
}

// Detach records that Docker does not have the network here, for a reason that
// is no wish to remove it from the cluster. One without a name goes all the same.
func (r *Registry) Detach(ctx context.Context, dockerID string) error {
	return r.detach(ctx, dockerID, false)
}

func (r *Registry) detach(ctx context.Context, dockerID string, everywhere bool) error {
	defer r.change()()
	network, removal, known := r.networks.Detaching(dockerID, everywhere)
	if !known {
		return nil
	}
	ops, err := r.rebuild.without(network)
	if err != nil {
		return err
	}
	ops = append(ops, record.Delete(record.StateDocker+dockerID))
	ops = append(ops, r.endpoints.DeletesIn(network)...)
	if removal {
		op, err := record.Put(record.StateRemove+network, true)
		if err != nil {
			return err
		}
		ops = append(ops, op)
	}
	if err := r.commitLocked(ctx, ops...); err != nil {
		return err
	}
	delete(r.rebuild.inherited, network)
	r.networks.Detach(dockerID, removal)
	r.endpoints.DeleteIn(network)
	r.changedLocally()
	return nil
}
