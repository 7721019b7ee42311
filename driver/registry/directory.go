package registry

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/registry/endpoints"
	"github.com/weft-net/weft/driver/registry/networks"
	"github.com/weft-net/weft/driver/registry/record"
)

// directory is where networks and this host's endpoints are looked up, and where records of
// networks come from the store.
type directory struct {
	*core
	networks  *networks.Networks
	endpoints *endpoints.Endpoints
}

// Network finds a live network by weft's id or, failing that, by its name.
func (d *directory) Network(idOrName string) (overlay.Network, bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.networks.Find(idOrName)
}

// NetworkOf finds the live network that has exactly this subnet.
func (d *directory) NetworkOf(p netip.Prefix) (overlay.Network, bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.networks.OfSubnet(p)
}

// Mirrored finds the live network that Docker is being asked for and that has
// exactly this subnet.
func (d *directory) Mirrored(p netip.Prefix) (overlay.Network, bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.networks.Mirrored(p)
}

// OfDocker finds the network that Docker knows here by its own id. It may be
// one whose tombstone has come already.
func (d *directory) OfDocker(dockerID string) (overlay.Network, bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.networks.OfDocker(dockerID)
}

// Attached says whether this host's Docker has the network.
func (d *directory) Attached(network string) bool {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.networks.IsHere(network)
}

// networkRecord gives a network's record, or tombstone, as it is here.
func (d *directory) networkRecord(id string) (n overlay.Network, known bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.networks.Record(id)
}

// readNetwork reads the record from the cluster's store. A format.Fault in the error
// says why it cannot be used.
func (d *directory) readNetwork(ctx context.Context, id string) (overlay.Network, uint64, error) {
	p, err := d.cluster.Get(ctx, record.NetworkKey(id))
	if err != nil {
		return overlay.Network{}, 0, err
	}
	n, err := record.DecodeNetwork(p)
	if err != nil {
		return n, p.Revision, fmt.Errorf("its record %s %w: see `weft doctor`", p.Key, err)
	}
	return n, p.Revision, nil
}

// learn takes a network's record into the replica, unless the store has told a
// later one meanwhile.
func (d *directory) learn(ctx context.Context, n overlay.Network) error {
	defer d.change()()
	if d.networks.Outdated(n) {
		return nil
	}
	if err := d.putLocked(ctx, record.StateNetwork+n.ID, n); err != nil {
		return err
	}
	d.networks.Learn(n)
	delete(d.unsaved, record.StateNetwork+n.ID)
	d.changedLocally()
	return nil
}

// vniTaken is the sentence for a VNI that somebody has.
func (d *directory) vniTaken(ctx context.Context, vni uint32) error {
	by := "another network"
	if p, err := d.cluster.Get(ctx, record.VNIKey(vni)); err == nil {
		by = fmt.Sprintf("network %.60q", p.Value)
		if n, ok := d.Network(string(p.Value)); ok {
			by = fmt.Sprintf("network %q (created on host %s)", n.Title(), n.Host)
		}
	}
	return fmt.Errorf("VNI %d is %w by %s: choose another weft.vni, or leave it out", vni, ErrTaken, by)
}
