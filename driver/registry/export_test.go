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

// Bury is what a host does with old tombstones at the time now, had it found the same
// a day before.
func (r *Registry) Bury(ctx context.Context, now time.Time) error {
	return r.bury(ctx, r.oldTombstones(now), now)
}

// Settling says whether the network's removal is asked here and not settled.
func (r *Registry) Settling(id string) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.remove[id]
}
