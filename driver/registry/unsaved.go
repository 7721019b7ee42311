package registry

import (
	"bytes"
	"context"
	"maps"
	"slices"

	"github.com/weft-net/weft/kvstore"
)

// keepLocked has a copy of other hosts' records made durable by runFlusher, soon or
// later: a disk that is full is no reason not to know what they have.
func (r *Registry) keepLocked(ops ...kvstore.Op) {
	for _, op := range ops {
		if kvstore.CheckOps([]kvstore.Op{op}) != nil {
			continue // no state takes it; the next process asks again
		}
		r.unsaved[op.Key] = op
		wakeUp(r.flushes)
	}
}

// save writes what was not written before.
func (r *Registry) save(ctx context.Context) {
	r.writes.Lock()
	defer r.writes.Unlock()
	r.mu.RLock()
	ops := maps.Clone(r.unsaved)
	r.mu.RUnlock()
	if len(ops) == 0 {
		return
	}
	err := r.commit(ctx, slices.Collect(maps.Values(ops))...)
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case err == nil:
		maps.DeleteFunc(r.unsaved, func(key string, op kvstore.Op) bool {
			done, ok := ops[key]
			return ok && done.Kind == op.Kind && bytes.Equal(done.Value, op.Value)
		})
		if r.unwritable {
			r.log.Info("This host's state can be written again.")
		}
	case !r.unwritable && ctx.Err() == nil:
		r.log.WithError(err).Error("What other hosts have cannot be kept for the next start, and containers cannot be started until this host's state can be written: make room on its disk, or make it writable.")
	}
	r.unwritable = err != nil && (r.unwritable || ctx.Err() == nil)
}
