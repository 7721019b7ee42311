package registry

import (
	"context"
	"errors"
	"time"

	"github.com/weft-net/weft/driver/registry/record"
	"github.com/weft-net/weft/kvstore"
)

// Contact is how the store was doing when last asked.
type Contact struct {
	Since time.Time // when it became so
	Err   error     // nil: it answers
}

// contact is how this process and the store reach each other.
type contact struct {
	*core
	last         Contact
	leasesUnseen bool // the watch of the hosts' records fails
}

// Contact is how the store was doing when last asked.
func (c *contact) Contact() Contact {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.last
}

// set notes how the store is doing, and logs when that changes.
func (c *contact) set(err error) {
	c.mu.Lock()
	was := c.last
	if (was.Err == nil) != (err == nil) {
		c.last.Since = time.Now()
	}
	c.last.Err = err
	c.mu.Unlock()
	if err != nil || was.Err != nil {
		c.admission.send()
	}
	switch {
	case err != nil && was.Err == nil:
		c.log.WithError(err).Warn("The store does not answer; what this host has goes on working, and it is asked again until it does.")
	case err == nil && was.Err != nil:
		c.log.Info("The store answers.")
	}
}

// reach asks the store. That it answered when last asked says little: where
// nothing happens, that was minutes ago.
func (c *contact) reach(ctx context.Context) error {
	if err := c.Contact().Err; err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, leaveLook)
	defer cancel()
	_, err := c.cluster.Get(ctx, record.HostKey(c.Self().Name))
	if errors.Is(err, kvstore.ErrNotFound) {
		return nil
	}
	return err
}
