package registry

import (
	"context"
	"time"
)

// Bury is what a host does with old tombstones at the time now, had it found the same
// a day before.
func (r *Registry) Bury(ctx context.Context, now time.Time) error {
	return r.bury(ctx, r.oldTombstones(now), now)
}
