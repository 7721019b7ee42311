package registry

import (
	"net/netip"
	"slices"

	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/registry/record"
)

// # Which network Docker means
//
// Docker tells a driver a new network's subnets and options, but neither its name nor why
// it is made. weft itself has Docker make the networks of the cluster. Such a network is
// known by its VNI, which stands in the option that Docker's own overlay uses, and by
// being expected: at any other time a person who asks for a subnet or VNI that is taken
// is refused. Compose accepts such a network as its own; it would not if the network had
// an option of weft's.

// Mirroring says that this host's Docker is about to be asked for the network,
// until done is called.
func (r *Registry) Mirroring(id string) (done func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mirroring[id]++
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.mirroring[id]--; r.mirroring[id] == 0 {
			delete(r.mirroring, id)
		}
	}
}

// Mirrored finds the live network that Docker is being asked for and that has
// exactly this subnet.
func (d *directory) Mirrored(p netip.Prefix) (overlay.Network, bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	for id := range d.mirroring {
		if n, ok := d.networks[id]; ok && n.Deleted.IsZero() && slices.Contains(record.Prefixes(n), p) {
			return n, true
		}
	}
	return overlay.Network{}, false
}

// Recorded finds the cluster's network that Create would join, if there is one.
// mirrored: this host's Docker asks because weft has it do so, or asks again.
func (r *Registry) Recorded(dockerID string, want overlay.Network) (n overlay.Network, mirrored bool) {
	if n, ok := r.OfDocker(dockerID); ok {
		return n, true
	}
	if n, ok := r.Network(want.ID); ok {
		r.mu.RLock()
		defer r.mu.RUnlock()
		return n, r.mirroring[n.ID] > 0
	}
	for _, s := range want.Subnets {
		if n, ok := r.Mirrored(s.Prefix); ok && want.ID == "" && n.VNI == want.VNI {
			return n, true
		}
	}
	return r.goneMeanwhile(want)
}

// goneMeanwhile finds the network that Docker is being asked for, by its id or its
// VNI, and that was removed since: it must not come back as a new one.
func (r *Registry) goneMeanwhile(want overlay.Network) (overlay.Network, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for id := range r.mirroring {
		n, known := r.networks[id]
		same := want.ID == id || want.ID == "" && n.VNI == want.VNI
		if known && !n.Deleted.IsZero() && same && sameSubnets(n, want) == nil {
			return n, true
		}
	}
	return overlay.Network{}, false
}
