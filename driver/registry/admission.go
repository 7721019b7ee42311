package registry

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/weft-net/weft/driver/registry/record"
	"github.com/weft-net/weft/kvstore"
)

// ErrFrozen is in Admit's error.
var ErrFrozen = errors.New("nothing new is claimed at the moment")

// Admit gives the conditions under which this host may claim what is nobody's
// according to the store, and the number of the store's epoch; or a sentence that
// says why it may not now. It answers from memory.
func (c *Claims) Admit() (checks []kvstore.Op, epoch uint64, err error) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.admitLocked()
}

func (c *Claims) admitLocked() (checks []kvstore.Op, epoch uint64, err error) {
	if why := c.epochs.Refusal(c.epochs.viewLocked(), c.contact.last.Err, c.place.revision != 0, time.Now()); why != nil {
		return nil, 0, fmt.Errorf("%w, %w", ErrFrozen, why)
	}
	return []kvstore.Op{c.epochs.Check()}, c.epochs.Epoch.N, nil
}

// admitted waits until Admit gives its conditions; at ctx's end it fails with why not.
func (m maker) admitted(ctx context.Context) (checks []kvstore.Op, err error) {
	_ = m.await(ctx, &m.admission, func() bool {
		checks, _, err = m.claims.admitLocked()
		return err == nil
	})
	return checks, err
}

// Changes is signalled after every change of what Admit answers.
func (c *Claims) Changes() (changes <-chan struct{}, stop func()) { return c.admission.subscribe() }

// Fence is what a transaction that claims an address for this host must hold:
// nobody has declared this host dead, or taken its place.
func (c *Claims) Fence() []kvstore.Op {
	return []kvstore.Op{{Kind: kvstore.Check, Key: record.DeadKey(c.Self().Name)}, c.place.fence()}
}

// NotDeadSince gives a condition that holds until this host comes back after having been
// declared dead, from the call on.
func (c *Claims) NotDeadSince(ctx context.Context) (kvstore.Op, error) {
	key := record.BackKey(c.Self().Name)
	p, err := c.cluster.Get(ctx, key)
	if err != nil && !errors.Is(err, kvstore.ErrNotFound) {
		return kvstore.Op{}, fmt.Errorf("look when this host was declared dead last: %w", err)
	}
	return kvstore.Op{Kind: kvstore.Check, Key: key, Revision: p.Revision}, nil
}

// Yields says whether this host was declared dead and has not compared all its
// claims since. What another host has claimed meanwhile is that one's, whatever
// looks at it first, and although this host claimed it earlier: the mark has no
// say any more, and the store had not lost anything.
func (c *Claims) Yields() bool { return c.yields.Load() }

// ConfirmStoreIntact reads the hosts' records, and fails if they show that the store has
// lost data. Claims that were made just before are worth nothing then: the store had
// lost who else has the addresses.
func (c *Claims) ConfirmStoreIntact(ctx context.Context) error {
	c.mu.RLock()
	id, before := c.epochs.Epoch.ID, c.epochs.Seen()
	c.mu.RUnlock()
	pairs, _, err := c.cluster.List(ctx, record.HostPrefix)
	if err != nil {
		return fmt.Errorf("look whether the store has lost data: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	intact, due := c.epochs.Confirm(id, before, pairs)
	c.epochs.tendLocked(due)
	if !intact {
		return fmt.Errorf("%w, since the store has lost data", ErrFrozen)
	}
	return nil
}
