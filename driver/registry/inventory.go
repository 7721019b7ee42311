package registry

import (
	"slices"
	"time"

	"github.com/weft-net/weft/driver/overlay"
)

// Inventory is all that this host knows of networks at one moment. Its parts are
// read together: a removal between two reads would show a network that lives and
// that Docker lacks, and mirroring would bring it back.
type Inventory struct {
	// Live are the live networks of the cluster but those whose removal was
	// asked here and is not settled yet, sorted by id.
	Live []overlay.Network
	// Gone are the tombstones, sorted by id.
	Gone []overlay.Network
	// Docker has the networks of this host's Docker by Docker's id, tombstones
	// too. One that is unknown has its id alone.
	Docker map[string]InDocker

	Lost    bool              // records of this host may be lost
	Remains []overlay.Remains // what the kernel had of networks then, as long as Lost
	Epoch   time.Time         // since when the store has its data
	Frozen  bool              // nothing new is claimed at the moment
}

// InDocker is a network that Docker has here.
type InDocker struct {
	overlay.Network
	Earlier bool // an earlier process has recorded that
}

// Inventory reads all of it under one lock.
func (r *Registry) Inventory() Inventory {
	r.mu.RLock()
	defer r.mu.RUnlock()
	_, _, err := r.claims.admitLocked()
	v := Inventory{
		Docker: map[string]InDocker{},
		Lost:   r.rebuild.lost, Remains: slices.Clone(r.rebuild.remains),
		Epoch: r.epochs.Epoch.At, Frozen: err != nil,
	}
	for id, at := range r.networks.Docker() {
		n, _ := r.networks.Record(at.Network)
		n.ID = at.Network
		v.Docker[id] = InDocker{Network: n, Earlier: at.Earlier}
	}
	v.Gone = r.networks.Where(func(n overlay.Network) bool { return !n.Deleted.IsZero() })
	v.Live = r.networks.Where(func(n overlay.Network) bool { return n.Deleted.IsZero() && !r.networks.IsRemoval(n.ID) })
	return v
}
