package registry

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"time"

	"github.com/weft-net/weft/driver/registry/peers"
	"github.com/weft-net/weft/kvstore"
)

// flushAfter is how long pushed documents wait for more before they are
// written to this host's state: what a crash loses is asked for again.
const flushAfter = 100 * time.Millisecond

// flusher makes copies of other hosts' records durable.
type flusher struct {
	*core
	peers *peers.Peers
}

// keepLocked has flusher make a copy of other hosts' records durable, sooner or later: a
// full disk is no reason not to know what the others have.
func (c *core) keepLocked(ops ...kvstore.Op) {
	for _, op := range ops {
		if kvstore.CheckOps([]kvstore.Op{op}) != nil {
			continue // no state takes it; the next process asks again
		}
		c.unsaved[op.Key] = op
		wakeUp(c.flushes)
	}
}

// run makes other hosts' records durable until ctx ends. What could not be
// written is tried again.
func (f flusher) run(ctx context.Context) error {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-f.flushes:
		case <-ticker.C:
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(flushAfter):
		}
		if err := f.flush(ctx); err != nil && ctx.Err() == nil {
			f.log.WithError(err).Warn("What other hosts told could not be kept for the next start.")
		}
	}
}

func (f flusher) flush(ctx context.Context) error {
	if err := f.keepPushed(); err != nil {
		return err
	}
	f.save(ctx)
	return nil
}

// keepPushed puts what was pushed to what is to be saved.
func (f flusher) keepPushed() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	ops, err := f.peers.Pushed()
	if err != nil {
		return err
	}
	f.keepLocked(ops...)
	return nil
}

// save writes what was not written before.
func (f flusher) save(ctx context.Context) {
	f.writes.Lock()
	defer f.writes.Unlock()
	f.mu.RLock()
	ops := maps.Clone(f.unsaved)
	f.mu.RUnlock()
	if len(ops) == 0 {
		return
	}
	err := f.commit(ctx, slices.Collect(maps.Values(ops))...)
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case err == nil:
		maps.DeleteFunc(f.unsaved, func(key string, op kvstore.Op) bool {
			done, ok := ops[key]
			return ok && done.Kind == op.Kind && bytes.Equal(done.Value, op.Value)
		})
		if f.unwritable {
			f.log.Info("This host's state can be written again.")
		}
	case !f.unwritable && ctx.Err() == nil:
		f.log.WithError(err).Error("What other hosts have cannot be kept for the next start, and containers cannot be started until this host's state can be written: make room on its disk, or make it writable.")
	}
	f.unwritable = err != nil && (f.unwritable || ctx.Err() == nil)
}
