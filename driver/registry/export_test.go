package registry

import (
	"context"
	"time"

	"github.com/weft-net/weft/driver/overlay"
)

// Networks are the live networks.
func (r *Registry) Networks() []overlay.Network { return r.Inventory().Live }

// Tombstones are the others.
func (r *Registry) Tombstones() []overlay.Network { return r.Inventory().Gone }

// Bury is what a host does with tombstones when so much time has passed since it last
// looked at them.
func (r *Registry) Bury(ctx context.Context, passed time.Duration) error {
	return tombstoneKeeper{r.directory}.tendTombstones(ctx, passed)
}

// RunTombstones does so each hour until ctx ends.
func (r *Registry) RunTombstones(ctx context.Context) error {
	return tombstoneKeeper{r.directory}.run(ctx)
}

// RestoreReservations is what a host does each half minute for the keys of names and VNIs.
func (r *Registry) RestoreReservations(ctx context.Context) error {
	return reservations{directory: r.directory, peers: r.peers, place: r.place}.restoreMissing(ctx)
}

// Settling says whether the network's removal is asked here and not settled.
func (r *Registry) Settling(id string) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.networks.IsRemoval(id)
}
