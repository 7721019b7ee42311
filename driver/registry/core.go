package registry

import (
	"context"
	"sync"

	"github.com/sirupsen/logrus"

	"github.com/weft-net/weft/driver/overlay"
	"github.com/weft-net/weft/driver/registry/record"
	"github.com/weft-net/weft/driver/skipped"
	"github.com/weft-net/weft/kvstore"
)

// core is what all parts of a Registry stand on: the two stores, the one lock, and the
// words by which one part wakes another.
type core struct {
	cluster kvstore.Store
	state   kvstore.Store
	log     logrus.FieldLogger
	skipped *skipped.List // records of the store that are passed over

	local     broadcast // own records changed
	any       broadcast // anything changed
	admission broadcast // what the admission of claims goes by has changed

	// writes is held by whoever changes what is durable, over the write to state. So what
	// the change goes by stays as it was, but for what other hosts say meanwhile.
	// Taken after documents.numbering and before mu.
	writes sync.Mutex

	// mu guards all following fields, the values of the rooms, and the fields of all parts
	// that do not say otherwise. It is held neither over writes to state, which may hang,
	// nor over calls to the cluster's store or the IPAM side: beats and snapshots need it.
	mu        sync.RWMutex
	self      overlay.Host
	addresses Addresses

	unsaved    map[string]kvstore.Op // by key in state: other hosts' records that could not be written
	unwritable bool                  // so the log has said
	flushes    chan struct{}         // something is to be saved, see keepLocked
}

// Self is this host's record.
func (c *core) Self() overlay.Host {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.self
}

// Changes gives a channel that gets a value after anything here has changed;
// several changes may share one value. Call stop when done.
func (c *core) Changes() (changes <-chan struct{}, stop func()) { return c.any.subscribe() }

// Version grows with every change here. A snapshot that is taken after it was asked for has
// all changes up to it.
func (c *core) Version() uint64 { return c.any.count() }

// LocalChanges is Changes for this host's own records.
func (c *core) LocalChanges() (changes <-chan struct{}, stop func()) { return c.local.subscribe() }

func (c *core) changedLocally() {
	c.local.send()
	c.any.send()
}

// put writes one record to this host's state, durably.
func (c *core) put(ctx context.Context, key string, v any) error {
	op, err := record.Put(key, v)
	if err != nil {
		return err
	}
	return c.commit(ctx, op)
}

// change locks for a change of what is durable: from the look at it, over the write to
// state, to the change of what is in memory. Call done at its end.
func (c *core) change() (done func()) {
	c.writes.Lock()
	c.mu.Lock()
	return func() {
		c.mu.Unlock()
		c.writes.Unlock()
	}
}

// putLocked is put for who has called change.
func (c *core) putLocked(ctx context.Context, key string, v any) error {
	c.mu.Unlock()
	defer c.mu.Lock()
	return c.put(ctx, key, v)
}

// commitLocked is commit for who has called change.
func (c *core) commitLocked(ctx context.Context, ops ...kvstore.Op) error {
	c.mu.Unlock()
	defer c.mu.Lock()
	return c.commit(ctx, ops...)
}

// commit writes to this host's state, all ops or none if one transaction has room
// for them.
func (c *core) commit(ctx context.Context, ops ...kvstore.Op) error {
	return kvstore.Record(ctx, c.state, ops...)
}

// await returns once holds is true. It asks that under the lock, now and with each
// send. It fails with ctx's error when ctx ends before.
func (c *core) await(ctx context.Context, on *broadcast, holds func() bool) error {
	changes, stop := on.subscribe()
	defer stop()
	for {
		c.mu.RLock()
		done := holds()
		c.mu.RUnlock()
		if done {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changes:
		}
	}
}

// passOver notes what a reading passes over, and says it once.
func (c *core) passOver(scope string, passed ...skipped.Record) {
	news := c.skipped.Saw(scope, passed...)
	if len(news) > 0 {
		c.log.WithField("first", news[0].Text()).
			Warnf("Records of the store cannot be used and are passed over, everything else goes on: %s; `weft doctor` says what to do.", skipped.Names(news))
	}
}
