package registry

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/registry/record"
)

// Errors of the operations on networks and endpoints. Each comes wrapped in a
// sentence.
var (
	ErrUnknown  = errors.New("unknown")
	ErrTaken    = errors.New("taken")
	ErrMismatch = errors.New("mismatch")
)

// directory finds networks, and keeps what is known of them.
type directory struct {
	*core
	*holdings
}

// Network finds a live network by weft's id or, failing that, by its name.
func (d *directory) Network(idOrName string) (overlay.Network, bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.networkLocked(idOrName)
}

func (h *holdings) networkLocked(idOrName string) (overlay.Network, bool) {
	if n, ok := h.networks[idOrName]; ok && n.Deleted.IsZero() {
		return n, true
	}
	for _, n := range h.networks {
		if idOrName != "" && n.Name == idOrName && n.Deleted.IsZero() {
			return n, true
		}
	}
	return overlay.Network{}, false
}

// NetworkOf finds the live network that has exactly this subnet.
func (d *directory) NetworkOf(p netip.Prefix) (overlay.Network, bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	for _, n := range d.networks {
		if n.Deleted.IsZero() && slices.ContainsFunc(n.Subnets, func(s overlay.Subnet) bool { return s.Prefix == p }) {
			return n, true
		}
	}
	return overlay.Network{}, false
}

// networksWhere gives the networks that are wanted, tombstones too, sorted by id. It asks
// wanted under the lock.
func (d *directory) networksWhere(wanted func(overlay.Network) bool) []overlay.Network {
	d.mu.RLock()
	defer d.mu.RUnlock()
	var out []overlay.Network
	for _, n := range d.networks {
		if wanted(n) {
			out = append(out, n)
		}
	}
	slices.SortFunc(out, func(a, b overlay.Network) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

// OfDocker finds the network that Docker knows here by its own id. It may be
// one whose tombstone has come already.
func (d *directory) OfDocker(dockerID string) (overlay.Network, bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	n, ok := d.networks[d.docker[dockerID].Network]
	return n, ok
}

// Attached says whether this host's Docker has the network.
func (d *directory) Attached(network string) bool {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.attachedLocked(network)
}

func (h *holdings) attachedLocked(network string) bool {
	return slices.ContainsFunc(slices.Collect(maps.Values(h.docker)), func(a attached) bool { return a.Network == network })
}

// Create records that Docker made a network here. With want.ID set it joins
// that network (by id or name), and makes it under that id if there is none;
// without, it makes a new one. Joining needs no store. want.Subnets must be
// complete; VNI 0 asks for any.
func (r *Registry) Create(ctx context.Context, dockerID string, want overlay.Network) (overlay.Network, error) {
	if n, ok := r.OfDocker(dockerID); ok { // Docker repeats calls whose answer it lost
		return n, sameSubnets(n, want)
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
		return overlay.Network{}, goneError(n)
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
		return first, sameSubnets(first, want)
	}
	return overlay.Network{}, err
}

// attach maps Docker's network to n, and cancels n's removal if one was asked here.
func (r *Registry) attach(ctx context.Context, dockerID string, n, want overlay.Network) error {
	if err := sameSubnets(n, want); err != nil {
		return err
	}
	defer r.change()()
	// What n was read from may have changed since.
	if now, known := r.networks[n.ID]; known && !record.Outdated(now, n) {
		n = now
	}
	if err := r.attachableLocked(dockerID, n); err != nil {
		return err
	}
	at := attached{Network: n.ID, At: time.Now()}
	docker, err := record.Put(record.StateDocker+dockerID, at)
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
	r.docker[dockerID], r.networks[n.ID] = at, n
	delete(r.remove, n.ID)
	delete(r.halfMade, n.ID)
	delete(r.unsaved, record.StateNetwork+n.ID)
	r.changedLocally()
	return nil
}

// attachableLocked says why Docker's network cannot be n.
func (h *holdings) attachableLocked(dockerID string, n overlay.Network) error {
	switch {
	case !n.Deleted.IsZero(), h.remove[n.ID] && h.mirroring[n.ID] > 0: // only a person may change his mind
		return goneError(n)
	case h.removing[n.ID]:
		return fmt.Errorf("network %q is being removed from the cluster: try again in a moment", n.Title())
	}
	for id, at := range h.docker {
		if (at.Network == n.ID) != (id == dockerID) {
			return fmt.Errorf("network %q is %w on this host by Docker's network %.12s: remove that one first", n.Title(), ErrTaken, id)
		}
	}
	return nil
}

// goneError is the sentence for a network that is no more.
func goneError(n overlay.Network) error {
	return fmt.Errorf("network %q was removed from the cluster while this host's Docker was asked for it: there is nothing to do", n.Title())
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
	at, ok := r.docker[dockerID]
	if !ok {
		return nil
	}
	ops := append(r.endpointDeletesLocked(at.Network), record.Delete(record.StateDocker+dockerID))
	n, known := r.networks[at.Network]
	// Without a name it is mirrored nowhere: nobody would miss it, nor remove it.
	everywhere = (everywhere || n.Name == "") && known && n.Deleted.IsZero()
	if everywhere {
		op, err := record.Put(record.StateRemove+at.Network, true)
		if err != nil {
			return err
		}
		ops = append(ops, op)
	}
	if err := r.commitLocked(ctx, ops...); err != nil {
		return err
	}
	delete(r.docker, dockerID)
	delete(r.rebuild.inherited, at.Network)
	maps.DeleteFunc(r.endpoints, func(_ string, e overlay.Endpoint) bool { return e.Network == at.Network })
	if everywhere {
		r.remove[at.Network] = true
	}
	r.changedLocally()
	return nil
}

// sameSubnets says whether Docker's idea of a network is the cluster's.
func sameSubnets(n, want overlay.Network) error {
	has := func(p netip.Prefix) bool {
		return slices.ContainsFunc(n.Subnets, func(s overlay.Subnet) bool { return s.Prefix == p })
	}
	for _, s := range want.Subnets {
		if !has(s.Prefix) {
			return fmt.Errorf("subnet %s is a %w: network %q has %s; create it with --ipam-opt weft.id=%s", s.Prefix, ErrMismatch, n.Title(), record.Subnets(n), n.ID)
		}
	}
	return nil
}
