package registry

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/weft-net/weft/kvstore"
)

// leaveTime is how long leaving may take.
const leaveTime = 10 * time.Second

// MayLeave refuses while containers of this host are attached, unless forced.
func (r *Registry) MayLeave(force bool) error {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if r.rebuild.lost && !force {
		return fmt.Errorf("host %q has lost its state and is finding out from Docker which containers it has: try again in a minute, or leave with --force", r.self.Name)
	}
	if n := len(r.endpoints); n > 0 && !force {
		return fmt.Errorf("host %q has %d containers attached to networks of weft's, which would lose their addresses: stop them first, or leave with --force", r.self.Name, n)
	}
	return nil
}

// Retire takes all that this host has out of the store. Call it after Run has
// ended; a new Run joins again.
func (r *Registry) Retire(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, leaveTime)
	defer cancel()
	self := r.Self()
	ops, err := r.belongings(ctx, self.Name)
	if err != nil {
		return fmt.Errorf("leave the cluster: %w", err)
	}
	gone, err := setOp(hostDocKey(self.Name), peer{Host: self, Left: true})
	if err != nil {
		return err
	}
	for some := range slices.Chunk(ops, kvstore.MaxOps) {
		if _, err := r.cluster.Txn(ctx, some...); err != nil {
			return fmt.Errorf("leave the cluster: %w", err)
		}
	}
	if _, err := r.cluster.Txn(ctx, gone, deleteOp(hostLiveKey(self.Name))); err != nil {
		return fmt.Errorf("leave the cluster: %w", err)
	}
	r.log.WithField("host", self.Name).Info("This host has left the cluster.")
	return nil
}
