package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/weft-net/weft/driver/registry/record"
	"github.com/weft-net/weft/kvstore"
)

// How long leaving may take, and the question before it whether the store answers.
const (
	leaveTime = 10 * time.Second
	leaveLook = 5 * time.Second
)

// MayLeave refuses while the store does not answer, for leaving is a write; and
// while containers of this host are attached, unless forced.
func (d *Departure) MayLeave(ctx context.Context, force bool) error {
	if err := d.contact.reach(ctx); err != nil {
		return fmt.Errorf("host %[1]q cannot leave, since the store does not answer (%[2]w): try again when it does, or end weft and run `weft host forget %[1]s` on another host", d.Self().Name, err)
	}
	d.mu.RLock()
	defer d.mu.RUnlock()
	if d.rebuild.lost && !force {
		return fmt.Errorf("host %q has lost its state and is finding out from Docker which containers it has: try again in a minute, or leave with --force", d.self.Name)
	}
	if n := d.endpoints.Count(); n > 0 && !force {
		return fmt.Errorf("host %q has %d containers attached to networks of weft's, which would lose their addresses: stop them first, or leave with --force", d.self.Name, n)
	}
	return nil
}

// Retire takes all that this host has out of the store. Call it after Run has
// ended; a new Run joins again. The host declares itself dead first: a claim that
// the store carries out late finds the mark, and a new Run takes the mark off.
func (d *Departure) Retire(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, leaveTime)
	defer cancel()
	self := d.Self()
	fence, err := d.markSelf(ctx)
	if err != nil {
		return fmt.Errorf("leave the cluster: %w", err)
	}
	ops, err := belongings(ctx, d.core, self.Name)
	if err != nil {
		return fmt.Errorf("leave the cluster: %w", err)
	}
	gone, err := record.Put(record.HostKey(self.Name), record.HostDoc{Host: self, Left: true})
	if err != nil {
		return err
	}
	for some := range slices.Chunk(ops, kvstore.MaxOps-1) {
		if _, err := d.cluster.Txn(ctx, append([]kvstore.Op{fence}, some...)...); err != nil {
			return fmt.Errorf("leave the cluster: %w", err)
		}
	}
	if _, err := d.cluster.Txn(ctx, fence, gone, record.Delete(record.LiveKey(self.Name)), record.Delete(record.HeardKey(self.Name))); err != nil {
		return fmt.Errorf("leave the cluster: %w", err)
	}
	d.log.WithField("host", self.Name).Info("This host has left the cluster.")
	return nil
}

// markSelf makes or finds the mark of a dead host for this host, and gives the
// condition that the mark is still there.
func (d *Departure) markSelf(ctx context.Context) (kvstore.Op, error) {
	key := record.DeadKey(d.Self().Name)
	text, err := json.Marshal(record.DeadMark{By: d.Self().Name, At: time.Now().UTC()})
	if err != nil {
		return kvstore.Op{}, fmt.Errorf("encode: %w", err)
	}
	made, err := d.cluster.Txn(ctx, kvstore.Op{Kind: kvstore.CAS, Key: key, Value: text})
	if err == nil {
		return kvstore.Op{Kind: kvstore.Check, Key: key, Revision: made[0].Revision}, nil
	}
	if !errors.Is(err, kvstore.ErrConflict) {
		return kvstore.Op{}, fmt.Errorf("refuse claims from now on: %w", err)
	}
	found, err := d.cluster.Get(ctx, key)
	return kvstore.Op{Kind: kvstore.Check, Key: key, Revision: found.Revision}, err
}
