package registry

import (
	"context"
	"maps"
	"slices"

	"github.com/weft-net/weft/kvstore"
)

// keepLocked makes a copy of other hosts' records durable, now or later: a disk
// that is full is no reason not to know what they have.
func (r *Registry) keepLocked(ctx context.Context, ops ...kvstore.Op) {
	for _, op := range ops {
		if kvstore.CheckOps([]kvstore.Op{op}) != nil {
			continue // no state takes it; the next process asks again
		}
		r.unsaved[op.Key] = op
	}
	r.saveLocked(ctx)
}

// saveLocked writes what could not be written before.
func (r *Registry) saveLocked(ctx context.Context) {
	if len(r.unsaved) == 0 {
		return
	}
	err := r.commit(ctx, slices.Collect(maps.Values(r.unsaved))...)
	switch {
	case err == nil:
		clear(r.unsaved)
		if r.unwritable {
			r.log.Info("This host's state can be written again.")
		}
	case !r.unwritable && ctx.Err() == nil:
		r.log.WithError(err).Error("What other hosts have cannot be kept for the next start, and containers cannot be started until this host's state can be written: make room on its disk, or make it writable.")
	}
	r.unwritable = err != nil && (r.unwritable || ctx.Err() == nil)
}

// save tries again to write what could not be written.
func (r *Registry) save(ctx context.Context) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.saveLocked(ctx)
}
